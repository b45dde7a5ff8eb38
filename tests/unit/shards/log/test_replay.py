"""State and index from the log: live equals replayed."""

from __future__ import annotations

from shardmq.shards.log.record import BATCH, MARK, SNAPSHOT
from shardmq.shards.log.report import RecoveryReport
from support.disk import SimDisk, SimIO
from support.journals import Ledger, Model, batch_of, open_journal, options, run_jobs
from support.logbytes import LogBytes


def test_the_replayed_state_equals_the_live_one_wherever_it_stops() -> None:
    disk, model = SimDisk(), Model()
    io = disk.io()
    journal, ledger = open_journal(io, options(), model.now())
    for turn in range(40):
        model.turn(journal, ledger, turn)
        copy = disk.clone()
        _, replayed = open_journal(copy.io(), options(), model.now())
        assert replayed.digest() == ledger.digest(), f"after turn {turn}"


def test_replay_begins_at_the_newest_whole_snapshot() -> None:
    disk, model = SimDisk(), Model()
    model.work(disk.io(), options(), 40, close=True)
    disk.kill()
    journal, _ = open_journal(disk.io(), options())
    report: RecoveryReport = journal.report
    assert 0 < report.segments_scanned <= 2 < report.segments
    assert report.replay_from > 0


def _batches(damage: int, *, tail: bool = False) -> tuple[SimIO, LogBytes]:
    """Three queues with a batch each; byte `damage` of the middle one is wrong. Queue 2 goes on."""
    log = LogBytes()
    log.header()
    for queue in range(3):
        log.add(BATCH, batch_of(b"a", b"b"), queue=queue, base_offset=10, count=2)
    log.add(BATCH, batch_of(b"c"), queue=2, base_offset=12)
    log.durable = log.end
    log.add(MARK)
    log.data[log.starts[2] + damage] ^= 1
    io = SimDisk().io()
    io.make_directory("/log")
    io.close(log.put(io, f"/log/{0:020d}.log", free=500))
    return io, log


def test_the_offsets_of_a_damaged_body_stay_taken() -> None:
    io, _ = _batches(damage=130)
    journal, ledger = open_journal(io, options())
    assert not journal.read_only
    assert [ledger.next_offset(queue) for queue in range(3)] == [12, 12, 13]
    (span,) = journal.spans(1, 0, 1 << 20, journal.end)
    assert (span.base_offset, span.count) == (10, 2)


def test_when_a_prefix_is_lost_queues_without_later_records_leap() -> None:
    io, _ = _batches(damage=20)
    journal, ledger = open_journal(io, options())
    assert not journal.read_only, "the batch behind the prefix is whole, so it was no state"
    assert ledger.next_offset(0) > 12 + 65_536
    assert ledger.next_offset(2) == 13, "it went on behind the damage"
    journal.close(Model().now())
    again, replayed = open_journal(io, options())
    assert replayed.next_offset(0) == ledger.next_offset(0), "one leap is enough"
    assert again.report.lost


def test_a_projection_that_is_gone_is_noted_and_a_new_one_starts_empty() -> None:
    log = LogBytes()
    log.header()
    log.add(SNAPSHOT, b"\x94\xa3old\0\x04\x80", base_offset=log.end, flags=1)
    log.durable = log.end
    log.add(MARK)
    io = SimDisk().io()
    io.make_directory("/log")
    io.close(log.put(io, f"/log/{0:020d}.log", free=500))
    journal, ledger = open_journal(io, options())
    assert "'old'" in journal.report.lines()[0]
    assert ledger.digest() == Ledger().digest()
    run_jobs(journal, Model().now())
