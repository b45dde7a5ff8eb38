"""Bytes that recovery takes out of the log, and damages that were accepted."""

from __future__ import annotations

import msgspec
import pytest

from shardmq.shards.log import setaside
from shardmq.shards.log.logscan import LogScan, scan_log
from shardmq.shards.log.record import BATCH, MARK
from support.disk import SimDisk, SimIO
from support.journals import batch_of
from support.logbytes import LogBytes


def _torn_over_a_roll() -> tuple[SimIO, LogBytes, LogBytes, LogScan]:
    """A tail that begins with a torn record in one segment and goes on in the next."""
    first = LogBytes()
    first.header()
    first.durable = first.end
    first.add(MARK)
    first.add(BATCH, batch_of(b"torn"), queue=2, base_offset=7)
    first.add(BATCH, batch_of(b"whole"), queue=1, base_offset=40)
    second = LogBytes(first.end, chain=first.chain)
    second.header()
    second.add(BATCH, batch_of(b"a", b"b"), queue=1, base_offset=41, count=2)
    first.data[first.starts[2] + 128] ^= 1
    io = SimDisk().io()
    io.make_directory("/log")
    for log in (first, second):
        io.close(log.put(io, f"/log/{log.base:020d}.log", free=99 if log is second else 0))
    return io, first, second, scan_log(io, "/log", 71)


def test_everything_behind_the_end_is_copied_with_its_positions() -> None:
    io, first, second, found = _torn_over_a_roll()
    assert found.end == first.starts[2]
    setaside.set_aside(io, "/log", found, 5)
    (path,) = [one for one in io.disk.paths() if "set-aside" in one]
    assert path == f"/log/set-aside/{found.end:020d}-{5:010d}-{found.durable:020d}.log.pending"
    assert io.disk.read(path) == bytes(first.data[found.end :] + second.data)
    durable = io.disk.power_cut(keep=[])
    assert path in durable.paths()
    assert io.open_files == 0


def test_its_floors_are_pending_until_they_are_settled() -> None:
    io, _, _, found = _torn_over_a_roll()
    setaside.set_aside(io, "/log", found, 5)
    (one,) = setaside.pending(io, "/log")
    assert one.floors == {1: 43, 2: 8}, "a sound prefix tells the offsets of a torn batch, too"
    assert one.records == 3
    setaside.settle(io, "/log", [one])
    assert setaside.pending(io, "/log") == []
    assert io.disk.power_cut(keep=[]).paths()[-1].endswith(".log")


def test_a_second_attempt_leaves_what_the_first_one_saw() -> None:
    io, _, second, found = _torn_over_a_roll()
    setaside.set_aside(io, "/log", found, 5)
    assert setaside.durable_before(io, "/log") == found.durable > 0
    (before,) = setaside.pending(io, "/log")
    io.unlink(f"/log/{second.base:020d}.log")
    found.bases.remove(second.base)
    setaside.set_aside(io, "/log", found, 5)
    assert setaside.pending(io, "/log") == [before]


def test_zeros_are_not_worth_a_file() -> None:
    io, _, _, found = _torn_over_a_roll()
    found.end = found.scans[-1].end
    setaside.set_aside(io, "/log", found, 5)
    assert not [one for one in io.disk.paths() if "set-aside" in one]


def test_a_draft_that_a_crash_left_is_removed() -> None:
    io = SimDisk().io()
    io.make_directory("/log/set-aside")
    io.close(io.open("/log/set-aside/1-1.log.tmp", create=True))
    assert setaside.pending(io, "/log") == []
    assert io.disk.paths() == []


def test_accepted_damages_add_up_and_are_durable() -> None:
    io = SimDisk().io()
    io.make_directory("/log")
    assert setaside.accepted(io, "/log") == []
    setaside.accept(io, "/log", [(5, 9)])
    setaside.accept(io, "/log", [(1, 2), (5, 9)])
    after = io.disk.power_cut(keep=[]).io()
    assert setaside.accepted(after, "/log") == [(1, 2), (5, 9)]


def test_a_file_that_says_something_else_is_refused() -> None:
    io = SimDisk().io()
    io.make_directory("/log")
    file = io.open("/log/accepted.json", create=True)
    io.writev(file, [b'{"format": 1, "damages": "all"}'], 0)
    with pytest.raises(msgspec.ValidationError):
        setaside.accepted(io, "/log")
