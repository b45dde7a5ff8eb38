"""The pace of a resend, on a clock that only the test moves."""

from __future__ import annotations

import pytest

from shardmq.router.cli.resending import Pace


@pytest.mark.parametrize(("per_second", "batch"), [(1, 1), (9, 1), (100, 10), (1_000, 100)])
def test_a_batch_is_a_tenth_of_a_seconds_worth(per_second: int, batch: int) -> None:
    assert Pace(per_second, 0.0).batch == batch


def test_each_batch_waits_for_the_time_of_the_one_before() -> None:
    pace = Pace(100, 0.0)
    assert pace.wait(10, 0.0) == 0.0
    assert pace.wait(10, 0.02) == pytest.approx(0.08)
    assert pace.wait(5, 0.11) == pytest.approx(0.09)


def test_a_pause_is_not_made_up_for() -> None:
    pace = Pace(100, 0.0)
    pace.wait(10, 0.0)
    assert pace.wait(10, 60.0) == 0.0
    assert pace.wait(10, 60.0) == pytest.approx(0.1)
