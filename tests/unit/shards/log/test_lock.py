"""The lock of a directory."""

from __future__ import annotations

import pytest

from shardmq.shards.log.errors import DirectoryInUse
from shardmq.shards.log.lock import take_lock
from support.disk import SimDisk


def test_the_second_one_is_told_who_holds_it() -> None:
    disk = SimDisk()
    first, second = disk.io(), disk.io()
    first.make_directory("/log")
    take_lock(first, "/log")
    with pytest.raises(DirectoryInUse, match="pid 1 on simulated") as refused:
        take_lock(second, "/log")
    assert refused.value.holder == "pid 1 on simulated"
    assert second.open_files == 0


def test_it_is_gone_with_its_holder() -> None:
    disk = SimDisk()
    first, second = disk.io(), disk.io()
    first.make_directory("/log")
    first.close(take_lock(first, "/log"))
    take_lock(second, "/log")
    disk.kill()
    take_lock(disk.io(), "/log")


def test_a_longer_line_of_an_earlier_holder_leaves_nothing_behind() -> None:
    disk = SimDisk()
    io = disk.io()
    io.make_directory("/log")
    file = io.open("/log/LOCK", create=True)
    io.writev(file, [b"x" * 100], 0)
    io.close(file)
    take_lock(io, "/log")
    assert disk.read("/log/LOCK") == b"pid 1 on simulated\n"
