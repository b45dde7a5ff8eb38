"""Group commit."""

from __future__ import annotations

from shardmq.actors.kernel.ports import Now
from shardmq.shards.log.flush import Flush
from shardmq.shards.log.segment import SegmentFiles
from support.disk import SimDisk
from support.journals import options


def test_a_sync_covers_every_file_that_was_written_and_the_directory_after_a_roll() -> None:
    io = SimDisk().io()
    io.make_directory("/log")
    files = SegmentFiles(io, options())
    files.roll(0, 0, 1)
    files.roll(2048, 0, 1)
    flush = Flush(io, options(), files)
    assert not flush.due
    flush.wrote(0, files.file(0))
    flush.rolled()
    flush.wrote(2048, files.file(2048))
    assert flush.due
    assert files.pinned == {0, 2048}
    io.recording = True
    job = flush.begin(3000, 5, Now(10.0, 0))
    assert not flush.due
    flush.wrote(2048, files.file(2048))
    job.run()
    assert [call.name for call in io.calls] == ["fdatasync", "fdatasync", "fsync_dir"]
    flush.finish(job, Now(14.0, 0))
    assert files.pinned == {2048}, "it was written again meanwhile"
    assert (flush.syncs, flush.ms_last, flush.ms_total, flush.records_total) == (1, 4.0, 4.0, 5)
    flush.begin(3500, 8, Now(20.0, 0)).run()
    assert [call.name for call in io.calls][3:] == ["fdatasync"]
    assert flush.records_total == 8
