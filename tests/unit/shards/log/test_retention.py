"""Which segments may go."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.shards.log.retention import may_drop_oldest
from shardmq.shards.log.segment import Segment
from support.journals import options

SEGMENTS = [Segment(0, 1000, 0), Segment(1000, 2000, 10_000), Segment(2000, 2500, 20_000)]


def _goes(settings: dict[str, Any], **changes: Any) -> bool:
    facts = {"end": 2500, "keep_from_lsn": 2100, "wall_ms": 25_000, "disk_tight": False}
    return may_drop_oldest(SEGMENTS, options(**settings), **{**facts, **changes})


def test_without_bounds_nothing_goes() -> None:
    assert not _goes({})


@pytest.mark.parametrize(("retention_ms", "goes"), [(14_999, True), (15_000, False)])
def test_a_segment_goes_when_its_last_record_is_too_old(retention_ms: int, goes: bool) -> None:
    # Its last record is not younger than the first one of the segment behind it.
    assert _goes({"retention_ms": retention_ms}) is goes


@pytest.mark.parametrize(("retention_bytes", "goes"), [(2499, True), (2500, False)])
def test_a_segment_goes_when_the_log_is_too_long(retention_bytes: int, goes: bool) -> None:
    assert _goes({"retention_bytes": retention_bytes}) is goes


def test_a_segment_goes_when_the_disk_gets_tight() -> None:
    assert _goes({}, disk_tight=True)


def test_nothing_goes_that_the_newest_whole_snapshot_needs() -> None:
    assert not _goes({"retention_bytes": 1}, keep_from_lsn=999)
    assert _goes({"retention_bytes": 1}, keep_from_lsn=1000)


def test_the_active_segment_stays() -> None:
    assert not may_drop_oldest(
        SEGMENTS[-1:], options(retention_bytes=1), end=2500, keep_from_lsn=2500, wall_ms=1 << 40,
        disk_tight=True,
    )  # fmt: skip
