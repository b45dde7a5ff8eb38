"""Options of a member are checked when it is made, and become its wish."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shardmq.client import PushConsumer, aio, errors
from shardmq.client.group.options import PushOptions, checked_expression, checked_group, start_of


def test_good_options_become_a_wish() -> None:
    options = checked_group("g", "me", "latest", lease=2, strategy="average", commit_interval=0.5)
    topic, tags = checked_expression("t", " b||a ")
    wish = options.wish({topic: tags})
    assert (wish.group, wish.member, wish.lease_ms, wish.strategy) == ("g", "me", 2_000, "average")
    assert [(one.topic, one.expression) for one in wish.subscriptions] == [("t", "a || b")]
    assert options.commit_ms == 500


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"group": "no group"}, "a group name"),
        ({"group": "%x"}, "a group name"),
        ({"name": "a b"}, "a member name"),
        ({"start_from": "middle"}, "start_from"),
        ({"commit_interval": 0}, "commit_interval"),
        ({"lease": 0.1}, "lease is 1 to 600 s"),
        ({"strategy": "random"}, "strategy is one of sticky"),
        ({"model": "x"}, "model is one of clustering"),
    ],
)
def test_bad_options_are_refused_by_name(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=match):
        checked_group(**{"group": "g", "name": "me", "start_from": "latest", **changes})


@pytest.mark.parametrize(("topic", "expression"), [("no topic", "*"), ("t", "a | b"), ("t", 5)])
def test_bad_subscriptions_are_refused(topic: str, expression: Any) -> None:
    with pytest.raises(errors.InvalidArgument):
        checked_expression(topic, expression)


def test_starts_are_said_as_the_wire_has_them() -> None:
    assert start_of("earliest").at == "earliest"
    assert start_of("latest").at == "latest"
    assert start_of(datetime(2020, 1, 1, tzinfo=UTC)).time_ms == 1_577_836_800_000
    assert start_of(12.5).at == "time"


@pytest.mark.parametrize("kind", [PushConsumer, aio.PushConsumer])
@pytest.mark.parametrize("model", ["work", "work_fifo"])
def test_a_push_consumer_of_a_work_group_is_refused_and_told_of_the_simple_consumer(
    kind: Any, model: str
) -> None:
    match = f"model is clustering or broadcasting, not '{model}'"
    with pytest.raises(errors.InvalidArgument, match=match) as refused:
        kind(group="g", model=model)
    assert "SimpleConsumer" in str(refused.value.hint)


def test_a_model_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(errors.InvalidArgument, match="clustering or broadcasting, not 'x'"):
        PushConsumer(group="g", model="x")


@pytest.mark.parametrize("kind", [PushConsumer, aio.PushConsumer])
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"retry_delays": []}, "retry_delays has 1 to 1000 entries, not 0"),
        ({"retry_delays": [1] * 1_001}, "not 1001"),
        ({"retry_delays": 5}, "retry_delays is a list of durations, not 5"),
        ({"retry_delays": "12"}, "retry_delays is a list"),
        ({"retry_delays": [1, -1]}, r"retry_delays\[1\] is a duration of 0 or more"),
        ({"retry_delays": [timedelta(days=367)]}, r"retry_delays\[0\] is at most 366 days"),
        ({"retry_delays": [1], "ordered": True}, "waits `suspend`"),
        ({"retry_delays": [1], "model": "broadcasting"}, "broadcasting retries nothing"),
    ],
)
def test_delays_that_cannot_be_are_refused(kind: Any, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=match):
        kind(group="g", **changes)


def test_after_the_last_delay_it_stays_the_last() -> None:
    options = PushOptions(False, 16, 1_000.0, None, (100, 2_000))
    assert [options.retry_delay_ms(attempt) for attempt in (1, 2, 3, 16)] == [
        100, 2_000, 2_000, 2_000,
    ]  # fmt: skip
    assert options._replace(retry_delays_ms=()).retry_delay_ms(1) is None
