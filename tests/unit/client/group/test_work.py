"""Work: going through a run, what fails in it, and taking its rest away."""

from __future__ import annotations

from math import inf
from typing import Any

from shardmq.client.group.outcomes import Discard
from shardmq.client.group.work import Listener, Work, run


def work(call: Any, count: int = 5, batch: int = 0) -> Work:
    messages: Any = [f"m{n}" for n in range(count)]
    return Work(Listener(call, batch), messages, 0, count, None, 0.0)


def failing(message: str) -> None:
    if message in ("m1", "m3"):
        raise ValueError(message)


def test_a_failure_ends_its_message_and_no_other() -> None:
    called = work(failing)
    run(called)
    assert [failure.message for failure in called.failures] == ["m1", "m3"]
    assert called.taken == 5


def test_where_order_counts_a_failure_ends_the_run() -> None:
    called = work(failing)
    called.stops_at_failure = True
    run(called)
    assert [failure.message for failure in called.failures] == ["m1"]
    assert called.taken == 2


def test_a_listener_that_wants_to_end_the_thread_only_fails_its_message() -> None:
    def leave(message: str) -> None:
        if message == "m0":
            raise SystemExit(3)

    called = work(leave)
    run(called)
    assert [failure.cause for failure in called.failures] == ["SystemExit: 3"]


def test_returned_steers_count() -> None:
    called = work(lambda message: Discard(dead_letter=True) if message == "m2" else None)
    run(called)
    assert [(failure.message, failure.dead) for failure in called.failures] == [("m2", True)]


def test_what_is_discarded_is_done() -> None:
    def listener(message: str) -> Any:
        if message == "m1":
            raise Discard
        return Discard

    called = work(listener)
    called.stops_at_failure = True
    run(called)
    assert (called.failures, called.taken) == ([], 5)


def test_a_batch_is_one_call_and_fails_as_a_whole() -> None:
    seen: list[Any] = []

    def listener(messages: list[str]) -> None:
        seen.append(messages)
        raise ValueError("no")

    called = work(listener, batch=10)
    run(called)
    assert seen == [["m0", "m1", "m2", "m3", "m4"]]
    assert len(called.failures) == 5
    steered = work(lambda messages: Discard(dead_letter=True), batch=10)
    run(steered)
    assert all(failure.dead for failure in steered.failures)


def test_the_rest_can_be_taken_away_while_a_message_is_at_work() -> None:
    def listener(message: str) -> None:
        if message == "m2":
            taken.extend(called.rest())

    taken: list[Any] = []
    called = work(listener)
    run(called)
    assert taken == ["m3", "m4"]
    assert called.messages == ["m0", "m1", "m2"]
    assert called.taken == 3


def test_the_time_of_each_message_is_noted_where_it_counts() -> None:
    times = iter([5.0, 7.0, 9.0])
    seen: list[float] = []
    called = work(lambda message: seen.append(called.message_since_ms), count=3)
    run(called, lambda: next(times))
    assert seen == [5.0, 7.0, 9.0]
    assert called.message_since_ms == inf, "it is through"
