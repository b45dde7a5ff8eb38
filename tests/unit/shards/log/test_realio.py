"""The real LogIO, and that the simulated one behaves the same."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from shardmq.shards.log import realio
from shardmq.shards.log.io import LogIO
from shardmq.shards.log.realio import RealLogIO
from support.disk import SimDisk


@pytest.fixture(params=["real", "simulated"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[LogIO, str]]:
    if request.param == "real":
        yield RealLogIO(), str(tmp_path / "a" / "b")
    else:
        yield SimDisk().io(), "/a/b"


def test_bytes_come_back_from_where_they_were_written(disk: tuple[LogIO, str]) -> None:
    io, directory = disk
    io.make_directory(directory)
    io.make_directory(directory)
    file = io.open(f"{directory}/x", create=True)
    io.fallocate(file, 4096)
    io.writev(file, [b"abc", b"", b"defg"], 10)
    assert io.pread(file, 9, 9) == b"\0abcdefg\0"
    assert io.size(file) == 4096
    assert io.pread(file, 100, 4090) == bytes(6)
    io.truncate(file, 12)
    io.fdatasync(file)
    assert io.pread(file, 100, 0) == bytes(10) + b"ab"
    io.close(file)


def test_names_are_listed_renamed_and_removed(disk: tuple[LogIO, str]) -> None:
    io, directory = disk
    assert io.listdir(directory) == []
    io.make_directory(directory)
    for name in ("b", "a"):
        io.close(io.open(f"{directory}/{name}", create=True))
    io.rename(f"{directory}/a", f"{directory}/c")
    io.unlink(f"{directory}/b")
    io.fsync_dir(directory)
    assert io.listdir(directory) == ["c"]
    with pytest.raises(FileNotFoundError):
        io.open(f"{directory}/a")
    assert io.free_bytes(directory) > 0


def test_a_lock_is_held_by_one(disk: tuple[LogIO, str]) -> None:
    io, directory = disk
    io.make_directory(directory)
    first = io.open(f"{directory}/LOCK", create=True)
    assert io.lock(first)
    other = RealLogIO() if isinstance(io, RealLogIO) else io.disk.io()  # type: ignore[attr-defined]
    second = other.open(f"{directory}/LOCK", create=True)
    assert not other.lock(second)
    io.close(first)
    assert other.lock(second)
    other.close(second)


def test_free_space_is_skipped_and_data_is_not(disk: tuple[LogIO, str]) -> None:
    io, directory = disk
    io.make_directory(directory)
    file = io.open(f"{directory}/x", create=True)
    io.fallocate(file, 1 << 20)
    assert io.next_data(file, 0) <= 1 << 20
    io.writev(file, [b"x"], 700_000)
    assert io.next_data(file, 0) <= 700_000
    assert io.next_data(file, 700_001) > 700_000
    io.close(file)


def test_more_buffers_than_the_system_takes_are_written_in_parts(tmp_path: Path) -> None:
    io = RealLogIO()
    file = io.open(str(tmp_path / "x"), create=True)
    buffers = [b"%04d" % number for number in range(3_000)]
    io.writev(file, buffers, 5)
    assert io.pread(file, 12_000, 5) == b"".join(buffers)
    io.close(file)


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_writev, whole_write, whole_read = os.pwritev, os.pwrite, os.pread

    def short_writev(file: int, buffers: Sequence[bytes], offset: int) -> int:
        return whole_writev(file, [b"".join(buffers)[:3]], offset)

    def short_write(file: int, data: bytes, offset: int) -> int:
        return whole_write(file, data[:2], offset)

    def short_read(file: int, size: int, offset: int) -> bytes:
        return whole_read(file, min(size, 4), offset)

    monkeypatch.setattr(realio.os, "pwritev", short_writev)
    monkeypatch.setattr(realio.os, "pwrite", short_write)
    monkeypatch.setattr(realio.os, "pread", short_read)
    io = RealLogIO()
    file = io.open(str(tmp_path / "x"), create=True)
    io.writev(file, [b"0123", b"456789"], 0)
    assert io.pread(file, 100, 0) == b"0123456789"
    io.close(file)


def test_the_holder_of_a_lock_is_named_by_process_and_host() -> None:
    assert RealLogIO().identity().startswith(f"pid {os.getpid()} on ")
