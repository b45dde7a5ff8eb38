"""The files of a log and their descriptors."""

from __future__ import annotations

import errno

import pytest

from shardmq.shards.log.segment import SegmentFiles
from support.disk import Call, SimDisk, SimIO, disk_error
from support.journals import options


def _files(io: SimIO, count: int, **changes: int) -> SegmentFiles:
    io.make_directory("/log")
    files = SegmentFiles(io, options(**changes))
    for number in range(count):
        files.roll(number * 1_000, 0, number)
        files.active.end = (number + 1) * 1_000
    return files


def test_a_roll_uses_what_was_prepared_and_is_one_rename() -> None:
    io = SimDisk().io()
    files = _files(io, 1)
    files.allocate_next(2048)
    io.recording = True
    files.roll(1_000, 100, 7)
    assert [call.name for call in io.calls] == ["rename"]
    assert (files.active.base, files.active.first_stored_ms) == (1_000, 7)
    assert (files.active_bytes, files.prepared_bytes) == (2048, 0)


def test_a_record_longer_than_a_segment_gets_a_longer_one() -> None:
    files = _files(SimDisk().io(), 1)
    files.allocate_next(2048)
    files.roll(1_000, 9_000, 7)
    assert files.active_bytes == 9_000


def test_every_lsn_is_in_its_segment() -> None:
    files = _files(SimDisk().io(), 5)
    for lsn in range(0, 5_000, 250):
        assert files.segment_of(lsn).base == lsn // 1_000 * 1_000


def test_few_descriptors_stay_open_but_those_that_must() -> None:
    io = SimDisk().io()
    files = _files(io, 3, files_open_max=2)
    files.pinned = {0}
    first = files.file(0)
    for base in (1_000, 2_000, 1_000, 2_000):
        files.file(base)
    assert files.file(0) == first
    assert io.open_files <= 4
    files.close()
    assert io.open_files == 0


def test_on_a_full_disk_state_gets_a_short_segment_and_nothing_is_left_behind() -> None:
    disk = SimDisk(capacity_bytes=2_500)
    files = _files(disk.io(), 1)
    files.roll(1_000, 100, 0)
    assert files.active_bytes == 256
    with pytest.raises(OSError, match="No space"):
        files.roll(2_000, 600, 0)
    assert not [path for path in disk.paths() if path.endswith(".tmp")]


def test_another_error_is_not_taken_for_a_full_disk() -> None:
    io = SimDisk().io()
    files = _files(io, 1)

    def broken(call: Call) -> None:
        if call.name == "fallocate":
            raise disk_error(errno.EIO)

    io.before = broken
    with pytest.raises(OSError, match="Input/output"):
        files.roll(1_000, 0, 0)


def test_the_oldest_is_forgotten_and_the_active_one_stays() -> None:
    io = SimDisk().io()
    files = _files(io, 2)
    assert files.forget_oldest().base == 0
    assert io.open_files == 1
    with pytest.raises(AssertionError):
        files.forget_oldest()
