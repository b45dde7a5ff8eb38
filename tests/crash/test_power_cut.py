"""Power cuts: whatever subset of unsynced writes is lost, nothing that was durable is.

Owns the workloads that are cut: append, roll, seal, retention, recovery, recovery of a recovery.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from shardmq.shards.log.errors import FatalLogError
from support.crashes import DEPTH, CrashStates
from support.disk import Call, SimDisk, SimIO, disk_error
from support.journals import Model, batch_of, open_journal, options, run_jobs


def test_append_roll_and_seal_survive_a_power_cut_at_every_call() -> None:
    disk = SimDisk()
    io, model, crash = disk.io(), Model(), CrashStates(options())
    crash.watch(io, model)
    model.work(io, options(), 36 * DEPTH)
    assert crash.tally.states > 2_000
    assert crash.tally.set_aside > 50, "torn tails were among them"


def test_retention_survives_a_power_cut_at_every_call() -> None:
    settings = options(retention_bytes=4096)
    disk = SimDisk()
    io, model = disk.io(), Model()
    crash = CrashStates(settings, pairs_max=4, every=2)
    crash.watch(io, model)
    model.work(io, settings, 60 * DEPTH)
    assert crash.tally.states > 2_000
    assert model.dropped > 0, "segments were dropped"


@pytest.mark.parametrize("rounds", [4, 8, 12, 16])
def test_recovery_survives_a_power_cut_at_every_call(rounds: int) -> None:
    disk = SimDisk()
    model = Model()
    model.work(disk.io(), options(), rounds)
    tails = CrashStates(options(), seed=rounds, pairs_max=2)
    crash = CrashStates(options(), seed=rounds, pairs_max=4)
    for after in tails.states(disk):
        io, known = after.io(), model.copy()
        known.learn_floors(after, options())
        crash.watch(io, known)
        journal, ledger = open_journal(io, options(), known.now())
        io.before = None
        known.opened(io, journal, ledger)
    assert crash.tally.states > 500


@pytest.mark.parametrize("seed", range(2 * DEPTH))
def test_a_tail_over_several_segments_is_taken_out_whole_however_often_that_is_cut_short(
    seed: int,
) -> None:
    settings = options(segment_bytes=1024, segment_records=8, unsynced_bytes_max=1 << 20)
    disk, model = SimDisk(), Model()
    io = disk.io()
    journal, ledger = open_journal(io, settings, model.now())
    model.opened(io, journal, ledger)
    for number in range(24):
        model.append(journal, ledger, number % 3, batch_of(b"x" * number, sequence=number))
        journal.write()
        if number == 4 + seed:
            run_jobs(journal, model.now())
            model.durable = journal.durable
    tails = CrashStates(settings, seed=seed, pairs_max=2)
    crash = CrashStates(settings, seed=seed, pairs_max=3)
    for after in list(tails.states(disk))[:: max(1, 40 // DEPTH)]:
        io, known = after.io(), model.copy()
        known.learn_floors(after, settings)
        crash.watch(io, known)
        journal, ledger = open_journal(io, settings, known.now())
        io.before = None
        known.opened(io, journal, ledger)
    assert crash.tally.states > 200
    assert crash.tally.set_aside > 10


def test_a_recovery_cut_short_again_and_again_comes_to_the_same() -> None:
    disk = SimDisk()
    model = Model()
    model.work(disk.io(), options(), 8)
    crash = CrashStates(options(), seed=5, pairs_max=2)
    for after in list(crash.states(disk))[:: max(1, 8 // DEPTH)]:
        crash.recover(after, model.copy(), nested=100)  # of these crash states, one in ten nests
    assert crash.tally.states > 1_000


def test_after_a_kill_what_is_kept_is_synced_before_it_counts() -> None:
    for rounds in (4, 8, 12, 16, 20):
        disk, model = SimDisk(), Model()
        model.work(disk.io(), options(), rounds)
        disk.kill()
        io, crash = disk.io(), CrashStates(options(), pairs_max=4)
        crash.watch(io, model)
        model.work(io, options(), 2)
        assert crash.tally.states > 50


def test_after_a_failed_sync_pages_that_are_called_clean_are_written_again() -> None:
    for number in range(2, 30):
        disk, model = SimDisk(), Model()
        io = disk.io()
        io.before = _failing_sync(disk, number)
        with pytest.raises(FatalLogError):
            model.work(io, options(), 40)
        disk.kill()
        io = disk.io()
        journal, ledger = open_journal(io, options(), model.now())
        model.opened(io, journal, ledger)
        CrashStates(options()).recover(disk.power_cut(keep=[]), model.copy(), 0)


def _failing_sync(disk: SimDisk, number: int) -> Callable[[Call], None]:
    left = number

    def before(call: Call) -> None:
        nonlocal left
        left -= call.name == "fdatasync"
        if left == 0:
            disk.fail_sync(call.path)
            raise disk_error(errno.EIO, call.path)

    return before


class _NoSync(SimIO):
    """A disk that acknowledges syncs and does nothing."""

    def fdatasync(self, file: int) -> None:
        self._call("fdatasync", "")


class _NoDirectorySync(SimIO):
    """A log that forgets to sync its directory would behave like this."""

    def fsync_dir(self, path: str) -> None:
        self._call("fsync_dir", path)


@pytest.mark.parametrize("broken", [_NoSync, _NoDirectorySync])
def test_the_harness_sees_a_missing_sync(broken: type[SimIO]) -> None:
    io, model, crash = broken(SimDisk()), Model(), CrashStates(options())
    crash.watch(io, model)
    with pytest.raises(AssertionError):
        model.work(io, options(), 24)


def test_the_harness_sees_a_sync_that_comes_too_early() -> None:
    """As if `durable` counted bytes that were written while the sync was already under way."""
    disk = SimDisk()
    io, model, crash = disk.io(), Model(), CrashStates(options())
    journal, ledger = open_journal(io, options(), model.now())
    model.append(journal, ledger, 1, b"x" * 16 + b"\1\0\0\0" + b"x" * 80)
    journal.write()
    job = journal.begin_job(model.now())
    assert job is not None
    job.run()
    model.append(journal, ledger, 1, b"y" * 16 + b"\1\0\0\0" + b"y" * 80)
    journal.write()
    journal.finish_job(job, model.now())
    model.durable = journal.end
    with pytest.raises(AssertionError, match="durable"):
        crash.recover(disk.power_cut(keep=[]), model.copy(), 0)
    run_jobs(journal, model.now())


def test_a_recorded_run_syncs_the_directory_after_each_rename_before_it_counts() -> None:
    disk = SimDisk()
    io, model = disk.io(), Model()
    io.recording = True
    model.work(io, options(), 24, close=True)
    renamed = 0
    for at, call in enumerate(io.calls):
        if call.name == "rename" and call.path.endswith(".log"):
            behind = [one.name for one in io.calls[at:]]
            assert "fsync_dir" in behind[: behind.index("fdatasync") + 3]
            renamed += 1
    assert renamed > 1
    assert Call("fsync_dir", "/log") in io.calls
