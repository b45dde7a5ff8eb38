"""Durations and times: seconds or the types of datetime, nothing doubtful."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shardmq.client.errors import InvalidArgument
from shardmq.client.times import datetime_of, epoch_ms_of, ms_of


def test_durations_are_seconds_or_timedeltas() -> None:
    assert ms_of(1.5, "x") == 1_500
    assert ms_of(timedelta(seconds=2), "x") == 2_000
    assert ms_of(0, "x") == 0


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), "3", None, True])
def test_other_durations_are_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="linger"):
        ms_of(bad, "linger")


def test_times_are_datetimes_with_a_zone_or_epoch_seconds() -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert datetime_of(epoch_ms_of(when, "x")) == when
    assert epoch_ms_of(when.timestamp(), "x") == epoch_ms_of(when, "x")


@pytest.mark.parametrize("bad", [datetime(2026, 1, 2), "now", True, 1e300])
def test_other_times_are_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="when"):
        epoch_ms_of(bad, "when")
