"""Crash states: from a workload under way to every disk that a power cut could leave.

Owns which subsets and tears are tried, and the recovery that each is put through. What must hold is
`journals.Model`'s business.

At each call that the workload makes on the disk, the machine may die. What then is on the platter:
the synced operations, and any subset of the others. Tried are all of them, none, all but one, all
but two, each one alone, some random subsets, and each write torn at sector borders and at odd
places. Recovery is a workload, too: at each of its calls the machine may die once more.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import combinations

from shardmq.shards.log.options import JournalOptions
from support.disk import Call, SimDisk, SimIO
from support.journals import Model, open_journal, run_jobs

__all__ = ["DEPTH", "CrashStates", "Tally"]

DEPTH = int(os.environ.get("CRASH_DEPTH", "1"))
"""1 for a run in CI; each step more tries about ten times as many states."""

SECTOR_BYTES = 512


class Tally:
    """How many states were tried, so that a test can say that it tried any."""

    def __init__(self) -> None:
        self.states = 0
        self.recoveries = 0
        self.set_aside = 0


class CrashStates:
    """Puts the states of one workload through recovery.

    Args:
        seed: of the random subsets and tears.
        every: the machine dies at each `every`-th call only.
        pairs_max: of all pairs of omissions, at most so many at each call.
        nested: crash states tried of each recovery, too.
    """

    def __init__(
        self, settings: JournalOptions, *, seed: int = 1, every: int = 1, pairs_max: int = 12,
        nested: int = 0,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.random = random.Random(seed)
        self.every = every
        self.pairs_max = pairs_max * 10 ** (DEPTH - 1)
        self.nested = nested
        self.tally = Tally()

    def watch(self, io: SimIO, model: Model) -> None:
        """From now on, try every state that a power cut could leave at each call of `io`."""
        calls = 0

        def before(call: Call) -> None:
            nonlocal calls
            calls += 1
            if calls % self.every == 0 and call.name not in ("pread", "listdir"):
                for disk in self.states(io.disk):
                    self.recover(disk, model.copy(), self.nested)

        io.before = before

    def states(self, disk: SimDisk) -> Iterator[SimDisk]:
        """Disks that a power cut now could leave."""
        self_random = self.random
        serials = disk.unsynced()
        yield disk.power_cut(keep=[])
        yield disk.power_cut()
        everything = set(serials)
        for one in serials:
            yield disk.power_cut(keep=everything - {one})
            yield disk.power_cut(keep=[one])
        pairs = list(combinations(serials, 2))
        if len(pairs) > self.pairs_max:
            pairs = self_random.sample(pairs, self.pairs_max)
        for pair in pairs:
            yield disk.power_cut(keep=everything.difference(pair))
        for _ in range(2 * DEPTH):
            some = [one for one in serials if self_random.random() < 0.5]
            yield disk.power_cut(keep=some)
        for serial, size in disk.write_sizes().items():
            places = {size // 2, self_random.randrange(size + 1), self_random.randrange(size + 1)}
            places.update(range(SECTOR_BYTES, size, SECTOR_BYTES))
            for at in sorted(places):
                yield disk.power_cut(cut={serial: at})

    def recover(self, disk: SimDisk, model: Model, nested: int) -> None:
        """Recover `disk`, check everything, recover again: the second time nothing may change."""
        self.tally.states += 1
        io = disk.io()
        if nested and self.random.random() < nested / 100:
            inner = CrashStates(self.settings, seed=self.random.randrange(1 << 30), pairs_max=2)
            inner.tally = self.tally
            inner.nested = nested // 10
            model.learn_floors(disk, self.settings)
            inner.watch(io, model)
        journal, ledger = open_journal(io, self.settings, model.now())
        io.before = None
        self.tally.recoveries += 1
        self.tally.set_aside += len(journal.report.set_aside)
        model.opened(io, journal, ledger)
        model.append(journal, ledger, 1, _PROBE)
        journal.write()
        run_jobs(journal, model.now(), most=2)
        model.durable = journal.durable
        assert model.durable > model.records[-1].lsn, "a record after recovery becomes durable"
        disk.kill()
        io = disk.io()
        again, ledger = open_journal(io, self.settings, model.now())
        assert not again.report.set_aside, "what one recovery settled is settled"
        assert not again.report.lost
        model.opened(io, again, ledger)


def _probe() -> bytes:
    from support.journals import batch_of

    return batch_of(b"probe", sequence=1 << 40)


_PROBE = _probe()
