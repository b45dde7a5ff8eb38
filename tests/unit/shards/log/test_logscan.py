"""Scanning a directory, and deciding what its damages mean."""

from __future__ import annotations

from shardmq.shards.log.decide import Action
from shardmq.shards.log.logscan import LogScan, scan_log, segment_bases
from shardmq.shards.log.record import MARK, SNAPSHOT, STATE
from support.disk import SimDisk, SimIO
from support.logbytes import LogBytes

SLICE = b"\x94\xa0\0\0\x80"
HEADER_BYTES = 71


def _segments(*logs: LogBytes, free: int = 300) -> SimIO:
    io = SimDisk().io()
    io.make_directory("/log")
    for log in logs:
        is_last = log is logs[-1]
        io.close(log.put(io, f"/log/{log.base:020d}.log", free=free if is_last else 0))
    return io


def _two() -> tuple[LogBytes, LogBytes]:
    """Two segments, each with a whole snapshot; everything up to the last state is durable."""
    first = LogBytes()
    first.header()
    first.add(SNAPSHOT, SLICE, base_offset=first.end, flags=1)
    first.states(3)
    second = LogBytes(first.end, chain=first.chain, epoch=first.epoch)
    second.header()
    second.states(1)
    second.add(SNAPSHOT, SLICE, base_offset=second.end, flags=1)
    second.states(2)
    second.durable = second.starts[-1]
    second.add(MARK)
    return first, second


def _scan(io: SimIO, *accepted: tuple[int, int], everything: bool = False) -> LogScan:
    return scan_log(io, "/log", HEADER_BYTES, accepted, everything=everything)


def test_nothing_there_is_an_empty_log() -> None:
    io = _segments()
    found = _scan(io)
    assert (found.bases, found.end, found.durable, found.replay_from) == ([], 0, 0, 0)


def test_only_as_far_back_as_the_newest_whole_snapshot_and_d() -> None:
    first, second = _two()
    io = _segments(first, second)
    found = _scan(io)
    assert segment_bases(io, "/log") == [0, second.base] == found.bases
    assert [one.base for one in found.scans] == [second.base]
    assert found.replay_from == second.starts[2]
    assert (found.end, found.durable) == (second.end, second.durable)
    assert found.set_aside is None
    assert len(_scan(io, everything=True).scans) == 2


def test_without_a_whole_series_in_the_newest_segment_the_one_before_is_needed() -> None:
    first, second = _two()
    second.data[second.starts[2] - second.base + 30] ^= 1
    found = _scan(_segments(first, second))
    assert len(found.scans) == 2
    assert found.replay_from == first.starts[1]


def test_damage_above_d_ends_the_log_and_sets_aside_what_follows() -> None:
    first, second = _two()
    at = second.end
    second.states(3)
    second.data[at - second.base + 30] ^= 1
    found = _scan(_segments(first, second))
    assert found.end == at
    assert found.set_aside is not None
    assert found.findings == []


def test_damage_below_d_is_left_out_and_a_state_waits_for_the_operator() -> None:
    first, second = _two()
    second.data[second.starts[3] - second.base + 30] ^= 1
    io = _segments(first, second)
    found = _scan(io)
    ((damage, row),) = found.findings
    assert (damage.start, damage.end) == (second.starts[3], second.starts[4])
    assert row.action is Action.READ_ONLY
    assert found.read_only
    assert found.end == second.end
    again = _scan(io, (damage.start, damage.end))
    assert not again.read_only
    assert [one.row.action for one in again.findings] == [Action.QUARANTINE]


def test_damage_that_the_snapshot_covers_needs_no_decision() -> None:
    first, second = _two()
    second.data[second.starts[1] - second.base + 30] ^= 1
    found = _scan(_segments(first, second))
    assert [one.row.label for one in found.findings] == ["rot in data"]


def test_segments_that_do_not_follow_each_other_are_noticed() -> None:
    first, second = _two()
    stranger = LogBytes(epoch=0)
    stranger.header()
    stranger.add(STATE, b"y" * (first.end - stranger.end - 64))
    assert stranger.end == first.end
    found = _scan(_segments(stranger, second), everything=True)
    (lost,) = [one.damage for one in found.findings]
    assert (lost.start, lost.end) == (stranger.starts[-1], second.base)


def test_a_missing_segment_is_a_hole() -> None:
    first, second = _two()
    third = LogBytes(second.end, chain=second.chain)
    third.header()
    third.durable = third.end
    third.add(MARK)
    found = _scan(_segments(first, third), everything=True)
    ((damage, row),) = found.findings
    assert (damage.start, damage.end) == (first.end, third.base)
    assert row.action is Action.READ_ONLY


def test_a_log_whose_beginning_is_gone_without_a_snapshot_waits_for_the_operator() -> None:
    _, second = _two()
    second.data[second.starts[2] - second.base + 30] ^= 1
    found = _scan(_segments(second))
    assert found.read_only
    assert found.findings[0].damage.start == 0
