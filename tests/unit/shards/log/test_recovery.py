"""Recovery, step by step. What crashes leave in all their forms is in tests/crash."""

from __future__ import annotations

import pytest

from shardmq.shards.log.errors import DirectoryInUse, LogError, OtherFormat, OtherOwner
from shardmq.shards.log.record import BATCH, MARK, STATE
from shardmq.shards.log.recovery import recover, segment_header
from support.disk import SimDisk
from support.journals import Ledger, Model, batch_of, open_journal, options, run_jobs
from support.logbytes import LogBytes

SEGMENT_0 = f"/log/{0:020d}.log"


def _worked(rounds: int = 20, *, close: bool = True) -> tuple[SimDisk, Model]:
    disk, model = SimDisk(), Model()
    model.work(disk.io(), options(), rounds, close=close)
    disk.kill()
    return disk, model


def test_an_empty_directory_is_made_and_is_an_empty_log() -> None:
    disk = SimDisk()
    recovered = recover(disk.io(), options("/a/b/c"), [])
    assert (recovered.end, recovered.epoch, recovered.files.segments) == (0, 0, [])
    assert "/a/b/c/LOCK" in disk.paths()


def test_one_writer_at_a_time() -> None:
    disk, _ = _worked()
    recover(disk.io(), options(), [Ledger()])
    with pytest.raises(DirectoryInUse):
        recover(disk.io(), options(), [Ledger()])


def test_the_log_of_another_actor_is_refused_and_left_as_it_is() -> None:
    disk, _ = _worked()
    before = {path: disk.read(path) for path in disk.paths() if path != "/log/LOCK"}
    with pytest.raises(OtherOwner, match="'test'"):
        recover(disk.io(), options(owner="shard-1"), [Ledger()])
    disk.kill()
    assert before == {path: disk.read(path) for path in disk.paths() if path != "/log/LOCK"}
    recover(disk.io(), options(), [Ledger()])


def test_another_format_is_refused() -> None:
    log = LogBytes()
    log.add(5, b"\x92\x02\xa4test")
    io = SimDisk().io()
    io.make_directory("/log")
    io.close(log.put(io, SEGMENT_0))
    with pytest.raises(OtherFormat, match="log format 2"):
        recover(io, options(), [Ledger()])
    assert segment_header("test") == b"\x92\x01\xa4test"


def test_a_file_that_does_not_begin_as_a_segment_is_refused() -> None:
    log = LogBytes()
    log.add(STATE, b"x")
    io = SimDisk().io()
    io.make_directory("/log")
    io.close(log.put(io, SEGMENT_0))
    with pytest.raises(LogError, match="does not begin"):
        recover(io, options(), [Ledger()])


def test_what_is_kept_above_d_is_written_again_and_synced() -> None:
    disk, _ = _worked(8, close=False)
    io = disk.io()
    io.recording = True
    journal, _ = open_journal(io, options())
    report = journal.report
    assert report.durable < report.end
    base = max(one for one in (int(p[5:25]) for p in disk.paths() if p.endswith(".log")))
    writes = [
        call.detail + base for call in io.calls if call.name == "writev" and ".log" in call.path
    ]
    assert writes[0] <= max(report.durable, base)
    names = [call.name for call in io.calls]
    assert "fdatasync" in names[names.index("writev") :]


def test_leftovers_are_removed_and_indexes_of_sealed_segments_stay() -> None:
    disk, _ = _worked()
    io = disk.io()
    kept = [path for path in disk.paths() if path.endswith(".idx")]
    assert kept
    for name in ("next.tmp", "x.idx.tmp", f"{77:020d}.idx"):
        io.close(io.open(f"/log/{name}", create=True))
    open_journal(io, options())
    assert [path for path in disk.paths() if path.endswith((".idx", ".tmp"))] == kept


def test_read_only_changes_nothing_at_all() -> None:
    disk, model = _worked()
    newest = max(path for path in disk.paths() if path.endswith(".log"))
    state = [one for one in model.records if one.kind == STATE][-1]
    base = int(newest[5:25])
    assert state.lsn > base
    disk.rot(newest, state.lsn - base + 70, b"\xee")
    before = {path: disk.read(path) for path in disk.paths()}
    journal, _ = open_journal(disk.io(), options())
    assert journal.read_only
    assert journal.end == journal.report.durable
    journal.tick(model.now())
    run_jobs(journal, model.now())
    journal.write()
    journal.close(model.now())
    assert before == {path: disk.read(path) for path in disk.paths()}


def test_d_outlives_the_records_that_named_it() -> None:
    """Rot below D, a torn tail whose records alone name D, and a crash while it is taken out."""
    log = LogBytes()
    log.header()
    log.add(BATCH, batch_of(b"rots"))
    log.add(BATCH, batch_of(b"durable"), base_offset=1)
    end = log.end
    log.durable = end
    log.add(MARK)
    log.data[log.starts[1] + 128] ^= 1
    io = SimDisk().io()
    for directory in ("/log", "/log/set-aside"):
        io.make_directory(directory)
    io.close(log.put(io, SEGMENT_0, free=500))
    io.disk.rot(SEGMENT_0, end, bytes(64))  # as after the cut, before the new epoch
    pending = f"/log/set-aside/{end:020d}-{1:010d}-{end:020d}.log.pending"
    io.close(io.open(pending, create=True))
    journal, ledger = open_journal(io, options())
    assert journal.report.end == end
    assert [one.label for one in journal.report.lost] == ["rot in data"]
    assert ledger.next_offset(0) == 2


def test_a_segment_that_shrank_gets_its_room_back() -> None:
    disk, _ = _worked()
    newest = max(path for path in disk.paths() if path.endswith(".log"))
    disk.cut_file(newest, len(disk.read(newest).rstrip(b"\0")))
    open_journal(disk.io(), options())
    assert len(disk.read(newest)) >= 2048


def test_a_copy_of_a_running_log_is_a_log() -> None:
    """What copying the files of a running broker is worth: everything up to some moment."""
    disk, model = _worked(17, close=False)
    copy = disk.clone()
    io = copy.io()
    journal, ledger = open_journal(io, options())
    model.opened(io, journal, ledger)
