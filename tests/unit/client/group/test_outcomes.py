"""Outcomes: what an exception, or a returned steer, says of a message."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.client import errors
from shardmq.client.group.outcomes import Discard, Failure, Retry, failure_of, steered, timed_out
from support.reading import Consumer


@pytest.fixture(scope="module")
def message() -> Any:
    consumer = Consumer()
    consumer.store(b"a")
    consumer.assign(0)
    [found] = consumer.reader.collect(1, consumer.wired.now)
    return found


def failed(message: Any, error: Exception) -> Failure:
    failure = failure_of(message, error)
    assert failure is not None
    return failure


def raised(error: Exception) -> Exception:
    def listener() -> None:
        raise error

    try:
        listener()
    except Exception as caught:
        return caught
    raise AssertionError("it raises")


def test_an_exception_is_told_with_its_cause_and_its_trace(message: Any) -> None:
    failure = failed(message, raised(ValueError("no such flight")))
    assert failure.cause == "ValueError: no such flight"
    assert "in listener" in failure.detail
    assert "in raised" not in failure.detail, "the frames of the consumer say nothing"
    assert (failure.delay_ms, failure.dead) == (None, False)


def test_retry_and_discard_steer_when_raised(message: Any) -> None:
    assert failed(message, Retry("busy", delay=1.5)).delay_ms == 1_500
    assert failed(message, Retry()).delay_ms is None
    assert failure_of(message, Discard("never")) is None, "it is done"
    dead = failed(message, Discard("never", dead_letter=True))
    assert (dead.dead, dead.cause, dead.detail) == (True, "Discard: never", "")


def test_they_steer_when_returned_too_and_nothing_else_does(message: Any) -> None:
    later, dead = steered(message, Retry(delay=2)), steered(message, Discard(dead_letter=True))
    assert steered(message, Discard) is None
    assert later is not None
    assert dead is not None
    assert (later.delay_ms, dead.dead) == (2_000, True)
    assert steered(message, "done") is None
    assert steered(message, ValueError) is None


def test_a_long_trace_keeps_its_end(message: Any) -> None:
    failure = failed(message, raised(ValueError("x" * 20_000 + "end")))
    assert len(failure.detail) == 8 * 1024
    assert failure.detail.endswith("end\n")
    assert len(failure.cause) == 1_000


def test_a_timeout_says_how_long(message: Any) -> None:
    assert "1.5 s" in timed_out(message, 1_500.0).cause


def test_a_delay_is_a_duration() -> None:
    with pytest.raises(errors.InvalidArgument, match="delay"):
        Retry(delay=-1)


def test_a_delay_beyond_what_a_broker_schedules_is_refused_at_once() -> None:
    assert Retry(delay=366 * 86_400).delay_ms == 366 * 86_400_000
    with pytest.raises(errors.InvalidArgument, match="at most 366 days"):
        Retry(delay=400 * 86_400)


def test_texts_that_cannot_be_encoded_are_told_as_far_as_they_can(message: Any) -> None:
    failure = failed(message, raised(ValueError("file \udcff missing")))
    assert failure.cause == "ValueError: file ? missing"
    assert failure.detail.encode().endswith(b"file ? missing\n")


def test_texts_are_bounded_in_bytes_too(message: Any) -> None:
    failure = failed(message, raised(ValueError("\U0001f600" * 20_000)))
    assert len(failure.cause.encode()) <= 2_000
    assert len(failure.detail.encode()) <= 16 * 1024


def test_an_exception_whose_text_raises_is_told_by_its_type(message: Any) -> None:
    class Bad(Exception):
        def __str__(self) -> str:
            raise SystemExit("str fails")

    failure = failed(message, raised(Bad()))
    assert failure.cause == "Bad, whose text raised SystemExit"
    assert "Bad" in failure.detail


def test_an_own_kind_of_retry_that_leaves_out_its_constructor_is_still_one(message: Any) -> None:
    class Busy(Retry):
        def __init__(self) -> None:
            Exception.__init__(self, "busy")

    assert failed(message, Busy()).delay_ms is None
