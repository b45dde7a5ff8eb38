"""A journal driven by hand: a small workload, a ledger as its state, what must hold after a crash.

Owns the workload and the checks that all storage tests share. Runs on any LogIO.

`Model` is what the outside world knows: every record that was appended, in order, and how far the
journal had said `durable`. After any crash and a recovery:

* what is there is a prefix of what was appended, byte for byte, and holds all that was durable;
* the state is the fold over exactly that prefix;
* no offset that can still be read anywhere is given again.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from shardmq.actors.kernel.ports import Now, Record
from shardmq.actors.protocol.batch import encode_batch
from shardmq.actors.protocol.checksum import crc32c, extend
from shardmq.actors.protocol.columns import Columns
from shardmq.shards.log import setaside
from shardmq.shards.log.io import LogIO
from shardmq.shards.log.journal import Journal
from shardmq.shards.log.logscan import segment_bases
from shardmq.shards.log.options import JournalOptions
from shardmq.shards.log.reader import iterate
from shardmq.shards.log.record import BATCH, FLOOR, STATE, LogRecord
from support.disk import SimDisk

__all__ = [
    "DIRECTORY",
    "Ledger",
    "Model",
    "batch_of",
    "open_journal",
    "options",
    "records_of",
    "run_jobs",
]

DIRECTORY = "/log"
BUCKETS = 4
WALL_MS = 1_700_000_000_000


def batch_of(*bodies: bytes, sequence: int = 1) -> bytes:
    """A small batch, one message a body."""
    return encode_batch(
        Columns(bodies), producer_id=7, first_sequence=sequence, first_born_ms=1, last_born_ms=2
    )


def options(directory: str = DIRECTORY, **changes: Any) -> JournalOptions:
    """Options so small that everything happens within a few dozen records."""
    small: dict[str, Any] = {
        "segment_bytes": 2048,
        "segment_records": 64,
        "reserve_bytes": 256,
        "free_bytes_min": 0,
        "free_bytes_retain": 0,
        "slice_bytes": 16,
        "slice_every_ms": 0.0,
        "scrub_every_ms": 0.0,
        "owner": "test",
    }
    return JournalOptions(directory=directory, **{**small, **changes})


class Ledger:
    """A projection that notices every lost, doubled, changed or reordered record.

    Per bucket: a checksum chain over its records, their number, and the next offset of each queue.
    """

    def __init__(self, name: str = "ledger") -> None:
        self.name = name
        self.buckets = BUCKETS
        self.chains = [0] * BUCKETS
        self.counts = [0] * BUCKETS
        self.next: list[dict[int, int]] = [{} for _ in range(BUCKETS)]

    def bucket_of(self, record: Record) -> int:
        return record.queue % BUCKETS

    def apply(self, record: Record) -> None:
        bucket, queue = record.queue % BUCKETS, record.queue
        offsets = self.next[bucket]
        if record.kind in (BATCH, FLOOR):
            offsets[queue] = max(offsets.get(queue, 0), record.base_offset + record.count)
        if record.kind in (BATCH, STATE):
            named = b"%d %d %d " % (record.lsn, record.kind, record.base_offset)
            self.chains[bucket] = extend(
                crc32c(b"%d" % self.chains[bucket]), named + record.payload
            )
            self.counts[bucket] += 1

    def snapshot(self, bucket: int) -> Any:
        if not self.counts[bucket] and not self.next[bucket]:
            return None
        return [self.chains[bucket], self.counts[bucket], self.next[bucket]]

    def restore(self, bucket: int, state: Any) -> None:
        self.chains[bucket], self.counts[bucket], self.next[bucket] = state

    def digest(self) -> int:
        return hash(
            (tuple(self.chains), tuple(self.counts), str([sorted(n.items()) for n in self.next]))
        )

    def next_offset(self, queue: int) -> int:
        return self.next[queue % BUCKETS].get(queue, 0)


def open_journal(
    io: LogIO, settings: JournalOptions | None = None, now: Now | None = None
) -> tuple[Journal, Ledger]:
    """A journal with a fresh ledger."""
    ledger = Ledger()
    return Journal.open(io, settings or options(), [ledger], now or Now(0.0, WALL_MS)), ledger


def run_jobs(journal: Journal, now: Now, most: int = 20) -> None:
    """Run what is due beside the loop, until nothing is."""
    for _ in range(most):
        job = journal.begin_job(now)
        if job is None:
            return
        job.run()
        journal.finish_job(job, now)


class Model:
    """What was appended, and what was promised."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self.durable = 0
        self.mono_ms = 0.0
        self.serial = 0
        self.epoch = -1
        self.floors: dict[int, int] = {}
        """Offsets that were once readable behind the end of the log: none may be given again."""
        self.dropped = 0
        """Segments that retention removed."""

    def now(self, step_ms: float = 30.0) -> Now:
        self.mono_ms += step_ms
        return Now(self.mono_ms, WALL_MS + int(self.mono_ms))

    def copy(self) -> Model:
        """What is known now, to check one of the ways in which it may go on."""
        twin = Model()
        twin.records, twin.durable = list(self.records), self.durable
        twin.mono_ms, twin.serial, twin.epoch = self.mono_ms, self.serial, self.epoch
        twin.floors = dict(self.floors)
        return twin

    def learn_floors(self, disk: SimDisk, settings: JournalOptions) -> None:
        """Whatever recovery may be cut short on `disk` later, these offsets stay taken."""
        journal, _ = open_journal(disk.clone().io(), settings, self.now(0))
        for one in journal.report.set_aside:
            for queue, floor in one.floors.items():
                self.floors[queue] = max(floor, self.floors.get(queue, 0))

    def work(
        self, io: LogIO, settings: JournalOptions, rounds: int, *, close: bool = False
    ) -> None:
        """Open, append for some rounds, with syncs, rolls, seals and marks in between."""
        journal, ledger = open_journal(io, settings, self.now())
        self.opened(io, journal, ledger)
        for turn in range(rounds):
            self.turn(journal, ledger, turn)
        self.dropped = journal.stats().segments_dropped
        if close:
            journal.close(self.now())
            self.durable = journal.durable

    def turn(self, journal: Journal, ledger: Ledger, turn: int) -> None:
        for queue in range(turn % 3 + 1):
            self.serial += 1
            body = b"%d" % self.serial * (turn % 4 + 1)
            batch = batch_of(*[body] * (turn % 2 + 1), sequence=self.serial)
            self.append(journal, ledger, queue, batch)
        if turn % 3 == 0:
            self.records.append(journal.append_state(b"state %d" % turn, self.now(0), queue=turn))
        journal.write()
        journal.tick(self.now())
        for _ in range(0 if turn % 4 == 3 else 2):
            run_jobs(journal, self.now(1), most=1)
            self.durable = journal.durable

    def append(self, journal: Journal, ledger: Ledger, queue: int, batch: bytes) -> None:
        offset = ledger.next_offset(queue)
        self.records.append(journal.append_batch(queue, offset, batch, self.now(0)))

    def opened(self, io: LogIO, journal: Journal, ledger: Ledger) -> None:
        """Check a recovered journal against what was appended, and go on from it."""
        assert not journal.read_only, journal.report
        found = {one.lsn: one for one in records_of(io, journal) if one.kind in (BATCH, STATE)}
        stays = []
        for record in self.records:
            if record.lsn >= journal.oldest and found.pop(record.lsn, None) != record:
                break
            stays.append(record)
        assert not found, "what stays is not a prefix of what was appended"
        lost = self.records[len(stays) :]
        assert all(one.end > self.durable for one in lost), "a durable record was cut off"
        expected = Ledger()
        for record in stays:
            expected.apply(record)
        assert ledger.chains == expected.chains, "the state is not the fold over what stayed"
        assert ledger.counts == expected.counts
        for record in stays:
            if record.kind == BATCH:
                next_offset = record.base_offset + record.count
                assert ledger.next_offset(record.queue) >= next_offset, "an offset is given again"
        for queue, floor in self.floors.items():
            assert ledger.next_offset(queue) >= floor, "an offset that was readable is given again"
        folder = f"{journal.directory}/set-aside"
        for name in io.listdir(folder):
            for queue, floor in setaside.describe(io, f"{folder}/{name}").floors.items():
                assert ledger.next_offset(queue) >= floor, "a set-aside offset is given again"
        assert journal.epoch > self.epoch, "an epoch that was in use comes again"
        self.epoch = journal.epoch
        self.records = stays
        self.durable = journal.durable
        self.check_reads(journal)

    def check_reads(self, journal: Journal) -> None:
        """Every batch that stayed can be found and read, and nothing else."""
        wanted: dict[int, list[bytes]] = {}
        for record in self.records:
            if record.kind == BATCH and record.lsn >= journal.oldest:
                wanted.setdefault(record.queue, []).append(record.payload)
        for queue in range(3):
            spans = journal.spans(queue, 0, 1 << 30, journal.durable)
            found = [record[64:] for record in journal.read(spans)]
            assert found == wanted.get(queue, []), f"queue {queue} is not what was appended"


def records_of(io: LogIO, journal: Journal) -> list[LogRecord]:
    """Every record that is really on the disk, up to where recovery ended the log."""
    found: list[LogRecord] = []
    directory = journal.directory
    bases = segment_bases(io, directory)
    for base, stop in pairwise([*bases, max(journal.end, bases[-1])]):
        file = io.open(f"{directory}/{base:020d}.log")
        found += iterate(io, file, base, base, min(stop, journal.written))
        io.close(file)
    return found
