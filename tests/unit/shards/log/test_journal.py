"""The journal: the way of a record."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from shardmq.actors.kernel.ports import Now, QueueLog, Refusal
from shardmq.shards.log.errors import DamagedRecord, FatalLogError, ReadOnlyLog
from shardmq.shards.log.journal import Journal
from shardmq.shards.log.options import JournalOptions
from shardmq.shards.log.record import BATCH, FLOOR, MARK, PREFIX, SEGMENT, SNAPSHOT, STATE
from support.disk import Call, SimDisk, SimIO, disk_error
from support.journals import (
    WALL_MS,
    Ledger,
    Model,
    batch_of,
    open_journal,
    options,
    records_of,
    run_jobs,
)

EVERYTHING = 1 << 40


def _open(**changes: Any) -> tuple[SimIO, Journal, Ledger]:
    io = SimDisk().io()
    journal, ledger = open_journal(io, options(**{"segment_bytes": 8192, **changes}))
    return io, journal, ledger


def _at(mono_ms: float) -> Now:
    return Now(mono_ms, WALL_MS + int(mono_ms))


def _kinds(io: SimIO, journal: Journal) -> list[int]:
    return [one.kind for one in records_of(io, journal)]


def test_a_journal_is_a_queue_log() -> None:
    log: QueueLog = _open()[1]
    assert log.epoch == 0


def test_an_append_is_applied_at_once_written_later_and_durable_after_a_sync() -> None:
    io, journal, ledger = _open()
    end = journal.end
    io.recording = True
    record = journal.append_batch(1, 0, batch_of(b"a", b"b"), _at(1))
    assert (record.lsn, record.kind, record.count, record.end) == (end, BATCH, 2, journal.end)
    assert ledger.next_offset(1) == 2
    assert io.calls == []
    assert journal.written == end
    journal.write()
    journal.write()
    assert [call.name for call in io.calls] == ["writev"], "one write for all that is buffered"
    assert (journal.written, journal.durable) == (journal.end, end)
    run_jobs(journal, _at(2))
    assert journal.durable == journal.end


def test_a_sync_covers_what_was_written_when_it_began() -> None:
    _, journal, _ = _open()
    journal.append_state(b"one", _at(1))
    job = journal.begin_job(_at(1))
    assert job is not None
    covered = journal.end
    journal.append_state(b"two", _at(1))
    journal.write()
    job.run()
    journal.finish_job(job, _at(2))
    assert journal.durable == covered < journal.end
    with pytest.raises(AssertionError):
        journal.finish_job(job, _at(2))


def test_one_job_at_a_time() -> None:
    _, journal, _ = _open()
    journal.append_state(b"one", _at(1))
    assert journal.begin_job(_at(1)) is not None
    with pytest.raises(AssertionError):
        journal.begin_job(_at(1))


def test_a_mark_follows_the_last_append_and_asks_for_no_mark() -> None:
    io, journal, _ = _open(housekeeping_every_ms=1e9)
    for turn in range(6):  # the first snapshot series, and its mark
        journal.tick(_at(turn * 100))
        run_jobs(journal, _at(turn * 100))
    assert _kinds(io, journal)[-1] == MARK
    journal.append_state(b"x", _at(1_000))
    assert journal.wake_at_ms is not None
    run_jobs(journal, _at(1_001))
    assert journal.wake_at_ms == 1_050
    journal.tick(_at(1_049))
    run_jobs(journal, _at(1_049))
    assert _kinds(io, journal)[-1] == STATE
    journal.tick(_at(1_050))
    run_jobs(journal, _at(1_050))
    last = records_of(io, journal)[-1]
    assert last.kind == MARK
    data = io.disk.read(f"/log/{0:020d}.log")[last.lsn :]
    assert PREFIX.unpack_from(data)[5] == last.lsn, "it names all that stands in front as durable"
    journal.tick(_at(5_000))
    run_jobs(journal, _at(5_000))
    assert records_of(io, journal)[-1] == last


def test_stamps_never_fall_though_the_wall_clock_does() -> None:
    _, journal, _ = _open()
    first = journal.append_state(b"x", Now(1, WALL_MS + 5_000))
    second = journal.append_state(b"x", Now(2, WALL_MS))
    assert second.stored_at_ms == first.stored_at_ms == WALL_MS + 5_000


def test_a_roll_begins_a_segment_with_its_header_and_a_snapshot() -> None:
    io, journal, _ = _open(segment_bytes=2048)
    for turn in range(60):
        journal.append_state(b"x" * 50, _at(turn))
        journal.write()
        journal.tick(_at(turn))
        run_jobs(journal, _at(turn))
    kinds: dict[int, list[int]] = {}
    bases = sorted(int(path[5:25]) for path in io.disk.paths() if path.endswith(".log"))
    for one in records_of(io, journal):
        kinds.setdefault(max(base for base in bases if base <= one.lsn), []).append(one.kind)
    assert len(kinds) > 2
    assert all(each[0] == SEGMENT for each in kinds.values())
    assert all(SNAPSHOT in each for each in kinds.values())


def test_a_snapshot_counts_only_when_it_is_durable() -> None:
    io, journal, _ = _open(slice_bytes=1 << 16)
    journal.append_state(b"x", _at(1))
    job = journal.begin_job(_at(1))
    assert job is not None
    journal.tick(_at(1))
    journal.write()
    job.run()
    journal.finish_job(job, _at(1))
    assert journal.keep_from == 0, "the sync had begun before the slice was written"
    run_jobs(journal, _at(2))
    (one,) = [one for one in records_of(io, journal) if one.kind == SNAPSHOT]
    assert journal.keep_from == one.lsn


def test_a_segment_is_bounded_in_records_too() -> None:
    _, journal, _ = _open(segment_bytes=1 << 20, segment_records=16)
    for turn in range(100):
        journal.append_state(b"x", _at(turn))
    assert journal.stats().segments > 5


def test_a_record_longer_than_a_segment_is_taken() -> None:
    _, journal, _ = _open(segment_bytes=2048)
    body = b"x" * 10_000
    journal.append_batch(1, 0, batch_of(body), _at(1))
    run_jobs(journal, _at(1))
    (record,) = journal.read(journal.spans(1, 0, 1, journal.durable))
    assert record.endswith(body)


def test_unsynced_bytes_are_bounded() -> None:
    _, journal, _ = _open(unsynced_bytes_max=1_000)
    assert journal.refusal(5_000) is None, "with nothing unsynced one batch always fits"
    journal.append_state(b"x" * 600, _at(1))
    assert journal.refusal(100) is None
    assert journal.refusal(500) is Refusal.BUSY
    run_jobs(journal, _at(2))
    assert journal.refusal(500) is None


def test_user_data_is_refused_below_the_watermark_and_taken_again() -> None:
    io, journal, _ = _open(free_bytes_min=50_000)
    assert journal.refusal(100) is None
    io.disk.capacity_bytes = 40_000
    journal.tick(_at(2_000))
    assert journal.refusal(100) is Refusal.DISK_FULL
    assert journal.refusal_to_finish(100) is None
    journal.append_state(b"ack", _at(2_001))
    run_jobs(journal, _at(2_001))
    assert journal.durable == journal.end
    io.disk.capacity_bytes = 20_000
    journal.tick(_at(3_100))
    assert journal.refusal_to_finish(100) is Refusal.DISK_FULL
    io.disk.capacity_bytes = None
    journal.tick(_at(4_200))
    assert journal.refusal(100) is None


def test_a_damaged_batch_is_named_exactly_and_never_served() -> None:
    io, journal, _ = _open()
    for number in range(3):
        journal.append_batch(9, number * 2, batch_of(b"a", b"b"), _at(1))
    run_jobs(journal, _at(1))
    spans = journal.spans(9, 0, EVERYTHING, journal.durable)
    io.disk.rot(f"/log/{0:020d}.log", spans[1].lsn + 130, b"\xee")
    with pytest.raises(DamagedRecord) as damaged:
        journal.read(spans)
    error = damaged.value
    assert (error.queue, error.base_offset, error.count, error.lsn) == (9, 2, 2, spans[1].lsn)
    assert len(journal.read([spans[0], spans[2]])) == 2
    assert journal.stats().damaged_records == 1


def test_each_start_takes_a_new_epoch_durably() -> None:
    disk = SimDisk()
    for epoch in range(4):
        journal, _ = open_journal(disk.io(), options())
        assert journal.epoch == epoch
        disk = disk.power_cut(keep=[])


def test_a_floor_record_keeps_set_aside_offsets_taken() -> None:
    disk, model = SimDisk(), Model()
    io = disk.io()
    journal, ledger = open_journal(io, options(segment_bytes=8192), model.now())
    model.append(journal, ledger, 1, batch_of(b"kept"))
    run_jobs(journal, model.now())
    model.append(journal, ledger, 1, batch_of(b"torn"))
    model.append(journal, ledger, 2, batch_of(b"behind"))
    journal.write()
    torn = model.records[-2]
    disk.rot(f"/log/{0:020d}.log", torn.lsn + 3, b"\xee")
    disk.kill()
    io = disk.io()
    journal, ledger = open_journal(io, options(segment_bytes=8192), model.now())
    (aside,) = journal.report.set_aside
    assert aside.floors == {2: 1}
    assert ledger.next_offset(2) == 1
    assert FLOOR in _kinds(io, journal)
    journal.close(model.now())
    _, again = open_journal(io, options(segment_bytes=8192), model.now())
    assert again.next_offset(2) == 1


def test_closing_makes_everything_durable_and_gives_the_directory_back() -> None:
    io, journal, _ = _open()
    journal.append_state(b"x", _at(1))
    journal.close(_at(2))
    assert journal.durable == journal.end
    assert io.open_files == 0
    after = io.disk.power_cut(keep=[])
    again, _ = open_journal(after.io(), options(segment_bytes=8192))
    assert again.report.durable >= journal.end - 64, "the mark says so"


def test_a_read_only_journal_refuses_and_says_why() -> None:
    io, journal, _ = _open()
    record = journal.append_state(b"granted", _at(1))
    journal.close(_at(2))
    io.disk.rot(f"/log/{0:020d}.log", record.lsn + 66, b"\xee")
    journal, _ = open_journal(io, options(segment_bytes=8192))
    assert journal.read_only
    assert journal.refusal(1) is Refusal.READ_ONLY
    assert journal.wake_at_ms is None
    with pytest.raises(ReadOnlyLog, match="--accept-damage"):
        journal.append_state(b"x", _at(3))


@pytest.mark.parametrize("name", ["writev", "rename"])
def test_a_write_that_fails_is_fatal(name: str) -> None:
    io, journal, _ = _open(segment_bytes=2048)

    def broken(call: Call) -> None:
        if call.name == name:
            raise disk_error(errno.EIO)

    def work() -> None:
        for _ in range(40):
            journal.append_state(b"x" * 60, _at(1))
            if name == "writev":
                journal.write()

    io.before = broken
    with pytest.raises(FatalLogError):
        work()


def test_an_io_error_while_opening_is_fatal() -> None:
    io = SimDisk().io()

    def broken(call: Call) -> None:
        if call.name == "fdatasync":
            raise disk_error(errno.EIO)

    io.before = broken
    with pytest.raises(FatalLogError, match="epoch"):
        open_journal(io)


def test_large_buffers_are_written_as_they_are_and_small_ones_joined() -> None:
    sizes: list[int] = []

    class Watch(SimIO):
        def writev(self, file: int, buffers: Any, offset: int) -> None:
            sizes.append(len(buffers))
            super().writev(file, buffers, offset)

    io = Watch(SimDisk())
    settings: JournalOptions = options(segment_bytes=1 << 20)
    journal, _ = open_journal(io, settings)
    sizes.clear()
    for _ in range(10):
        journal.append_batch(1, 0, batch_of(b"x"), _at(1))
    journal.write()
    journal.append_batch(1, 0, batch_of(b"x" * 50_000), _at(1))
    journal.append_batch(1, 0, batch_of(b"x" * 50_000), _at(1))
    journal.write()
    assert sizes == [1, 4]


def test_ten_thousand_queues_cost_no_file_and_open_quickly() -> None:
    io, journal, _ = _open(segment_bytes=1 << 22, segment_records=1 << 17)
    batch = batch_of(b"x")
    for queue in range(10_000):
        journal.append_batch(queue, 0, batch, _at(1))
    journal.write()
    assert io.open_files <= 3
    assert len(io.disk.paths()) <= 3
    assert len(journal.spans(9_999, 0, 1, journal.end)) == 1
    journal.close(_at(2))


def test_figures_are_plain_values() -> None:
    _, journal, _ = _open()
    journal.append_state(b"x", _at(1))
    run_jobs(journal, _at(10))
    stats = journal.stats()
    assert (stats.end, stats.durable, stats.segments) == (journal.end, journal.end, 1)
    assert stats.syncs == 2
    assert stats.records == 3
    assert stats.bytes == journal.end
    assert not stats.read_only
