"""What a user may choose: bounds, and texts that the wire can carry."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shardmq.actors.protocol.limits import INVISIBLE_MS_MAX, RECEIVE_MESSAGES_MAX
from shardmq.client import errors
from shardmq.client.work import options


def work(**changes: Any) -> options.WorkSettings:
    chosen: dict[str, Any] = {
        "fifo": False, "max_attempts": 16, "lease": None, "timeout": 10.0, "credentials": None,
    }  # fmt: skip
    return options.checked_work("g", "me", "latest", **{**chosen, **changes})


def test_the_model_says_whether_queues_keep_their_order() -> None:
    assert work().member.wish({}).model == "work"
    assert work(fifo=True).member.wish({}).model == "work_fifo"
    assert work().member.retries, "there is a topic for dead letters"


@pytest.mark.parametrize(
    "changes", [{"max_attempts": 0}, {"lease": 0.1}, {"timeout": -1}, {"max_attempts": True}]
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidArgument):
        work(**changes)


def test_a_consumer_needs_a_group_and_knows_no_credentials_yet() -> None:
    with pytest.raises(errors.InvalidArgument, match="group"):
        options.checked_work(
            None, "me", "latest", fifo=False, max_attempts=1, lease=None, timeout=1,
            credentials=None,
        )  # fmt: skip
    with pytest.raises(errors.NotSupported):
        work(credentials="x")


def test_what_a_call_wants_is_checked() -> None:
    assert options.checked_receive(5, timedelta(minutes=1), None) == (5, 60_000, float("inf"))
    for arguments in (
        (0, 30, 10), (RECEIVE_MESSAGES_MAX + 1, 30, 10), (True, 30, 10), (1, 0, 10),
        (1, INVISIBLE_MS_MAX / 1000 + 1, 10), (1, 30, -1), (1, "x", 1),
    ):  # fmt: skip
        with pytest.raises(errors.InvalidArgument):
            options.checked_receive(*arguments)


def test_a_failure_says_when_it_comes_again_or_that_it_does_not() -> None:
    assert options.checked_nack(None, None, False) == ("nack", None, False, "", "")
    assert options.checked_nack(2.5, "no ink", False) == ("nack", 2_500, False, "no ink", "")
    assert options.checked_nack(None, None, True).dead
    for arguments in ((1, None, True), (-1, None, False), (1e9, None, False), (None, 5, False)):
        with pytest.raises(errors.InvalidArgument):
            options.checked_nack(*arguments)


def test_an_exception_is_a_cause_with_its_stack() -> None:
    try:
        raise ValueError("no ink\ud800")
    except ValueError as error:
        act = options.checked_nack(None, error, False)
    assert act.cause.startswith("ValueError: no ink")
    assert "test_options.py" in act.detail
    act.cause.encode()
    assert len(options.checked_nack(None, "x" * 100_000, False).cause) == 1_000


def test_a_message_stays_for_a_time_that_is_not_nothing() -> None:
    assert options.checked_invisible(60) == ("invisible", 60_000, False, "", "")
    for seconds in (0, 0.0001, INVISIBLE_MS_MAX / 1000 + 1):
        with pytest.raises(errors.InvalidArgument, match="seconds"):
            options.checked_invisible(seconds)


def test_to_wait_for_ever_has_one_name() -> None:
    assert options.checked_receive(1, 1, None).wait_ms == float("inf")
    with pytest.raises(errors.InvalidArgument) as caught:
        options.checked_receive(1, 1, float("inf"))
    assert caught.value.hint == "use None to wait for ever"


def test_a_dead_letter_is_one_or_is_not() -> None:
    with pytest.raises(errors.InvalidArgument, match="True or False"):
        options.checked_nack(None, None, "no ink")
