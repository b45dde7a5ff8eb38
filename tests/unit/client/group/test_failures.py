"""FailureLog: what is said of a message that failed, and how much at most."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.kernel.ports import Now
from shardmq.client.group.failures import FailureLog
from shardmq.client.group.outcomes import Failure, Retry, failure_of
from support.reading import Consumer

AT = Now(5_000.0, 0)


@pytest.fixture(scope="module")
def message() -> Any:
    consumer = Consumer()
    consumer.store(b"secret", queue_id=2)
    consumer.assign(2)
    [found] = consumer.reader.collect(1, consumer.wired.now)
    return found


def failure(message: Any, error: Exception) -> Failure:
    found = failure_of(message, error)
    assert found is not None
    return found


def test_a_failure_is_told_with_its_place_its_attempt_and_its_cause(
    message: Any, caplog: pytest.LogCaptureFixture
) -> None:
    FailureLog().told([failure(message, ValueError("no such flight"))], AT)
    [record] = caplog.records
    assert (record.name, record.levelname) == ("shardmq.client", "WARNING")
    text = record.getMessage()
    assert "topic 't', queue 2, offset 0, attempt 1: ValueError: no such flight" in text
    assert "secret" not in text


def test_what_a_listener_steers_by_hand_is_not_told(
    message: Any, caplog: pytest.LogCaptureFixture
) -> None:
    FailureLog().told([failure(message, Retry("later"))], AT)
    assert caplog.records == []


def test_ten_a_second_are_told_and_the_rest_is_counted(
    message: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log = FailureLog()
    log.told([failure(message, ValueError("no"))] * 25, AT)
    assert len(caplog.records) == 10
    log.told([failure(message, ValueError("no"))], AT._replace(mono_ms=6_000.0))
    assert [one.getMessage() for one in caplog.records[10:11]] == [
        "listeners failed on 15 more messages"
    ]
    assert len(caplog.records) == 12


def test_closing_tells_what_was_only_counted(
    message: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log = FailureLog()
    log.told([failure(message, ValueError("no"))] * 12, AT)
    log.close()
    log.close()
    assert [one.getMessage() for one in caplog.records[10:]] == [
        "listeners failed on 2 more messages"
    ]
