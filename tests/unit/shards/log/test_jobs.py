"""Disk work that runs beside the loop."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable

import pytest

from shardmq.shards.log.errors import FatalLogError
from shardmq.shards.log.indexfile import open_index
from shardmq.shards.log.jobs import DropJob, PrepareJob, ScrubJob, SealJob, SyncJob
from support.disk import Call, SimDisk, SimIO, disk_error
from support.logbytes import LogBytes

ROWS = {1: array("Q", [0, 0, 200 | 1 << 32, 5])}


def _disk() -> tuple[SimDisk, SimIO]:
    disk = SimDisk()
    io = disk.io()
    io.make_directory("/log")
    return disk, io


def _failing(io: SimIO, name: str, number: int) -> None:
    def before(call: Call) -> None:
        if call.name == name:
            raise disk_error(number, call.path)

    io.before = before


def test_a_sync_makes_files_and_directory_durable() -> None:
    disk, io = _disk()
    file = io.open("/log/x", create=True)
    io.writev(file, [b"abc"], 0)
    SyncJob(io, [file], "/log", 3, 0.0).run()
    assert disk.unsynced() == []


def test_a_prepared_segment_is_allocated_and_synced() -> None:
    disk, io = _disk()
    job = PrepareJob(io, "/log/next.tmp", 4096)
    job.run()
    assert not job.disk_full
    assert len(disk.read("/log/next.tmp")) == 4096
    assert io.open_files == 0


@pytest.mark.parametrize("name", ["open", "fallocate"])
def test_a_full_disk_while_preparing_is_said_and_leaves_nothing(name: str) -> None:
    disk, io = _disk()
    _failing(io, name, errno.ENOSPC)
    job = PrepareJob(io, "/log/next.tmp", 4096)
    job.run()
    assert job.disk_full
    assert disk.paths() == []
    assert io.open_files == 0


def test_sealing_writes_the_index_and_cuts_the_free_space() -> None:
    disk, io = _disk()
    file = io.open("/log/x.log", create=True)
    io.fallocate(file, 4096)
    io.close(file)
    SealJob(io, "/log", "/log/x.log", "/log/x.idx", 100, 1100, 9, ROWS).run()
    assert open_index(disk.read("/log/x.idx"), 100, 1100, 9) is not None
    assert len(disk.read("/log/x.log")) == 1000
    assert disk.unsynced()[1:] == [], "all but the creation of the log itself is synced"


def test_a_full_disk_while_sealing_is_said() -> None:
    _, io = _disk()
    io.close(io.open("/log/x.log", create=True))
    _failing(io, "writev", errno.ENOSPC)
    job = SealJob(io, "/log", "/log/x.log", "/log/x.idx", 0, 1000, 9, ROWS)
    job.run()
    assert job.disk_full


def test_dropping_removes_files_durably() -> None:
    disk, io = _disk()
    for name in ("a", "b"):
        io.close(io.open(f"/log/{name}", create=True))
    DropJob(io, "/log", ["/log/a", "/log/b"]).run()
    assert disk.power_cut(keep=[]).paths() == []


def test_a_scrub_step_reports_damage_and_where_to_go_on() -> None:
    _, io = _disk()
    log = LogBytes(500)
    log.states(30)
    log.data[log.starts[2] - 500 + 40] ^= 1
    io.close(log.put(io, "/log/x.log"))
    job = ScrubJob(io, "/log/x.log", 500, log.end, 500, 800)
    job.run()
    assert [one.start for one in job.damages] == [log.starts[2]]
    assert 500 < job.next_lsn < log.end
    rest = ScrubJob(io, "/log/x.log", 500, log.end, job.next_lsn, 1 << 20)
    rest.run()
    assert rest.damages == []
    assert rest.next_lsn == log.end


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("fdatasync", lambda io, file: SyncJob(io, [file], None, 0, 0.0)),
        ("fsync_dir", lambda io, file: SyncJob(io, [], "/log", 0, 0.0)),
        ("fdatasync", lambda io, file: PrepareJob(io, "/log/next.tmp", 100)),
        ("rename", lambda io, file: SealJob(io, "/log", "/log/x", "/log/i", 0, 9, 9, ROWS)),
        ("unlink", lambda io, file: DropJob(io, "/log", ["/log/x"])),
    ],
)
def test_any_other_error_ends_the_process(name: str, make: Callable[[SimIO, int], SyncJob]) -> None:
    _, io = _disk()
    file = io.open("/log/x", create=True)
    job = make(io, file)
    _failing(io, name, errno.EIO)
    with pytest.raises(FatalLogError):
        job.run()
