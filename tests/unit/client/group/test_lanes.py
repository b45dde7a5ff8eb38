"""KeyedDispatcher: order for each key, and a failing key suspends only itself."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.protocol.batch import Columns, encode_batch
from shardmq.actors.protocol.retries import HISTORY_CAUSE_CHARS, HISTORY_MAX
from shardmq.client import Message
from shardmq.client.group.outcomes import Discard, Retry
from shardmq.client.group.work import run
from support.pushing import Pushed


class Ordered(Pushed):
    """A member that keeps the order of keys; a body is key and number: `a1`."""

    def __init__(self, listener: Any = None, **options: Any) -> None:
        super().__init__(listener, ordered=True, **options)

    def keyed(self, *bodies: str) -> None:
        for body in bodies:
            message = Message("t", body.encode(), ordering_key=body[0] if body[0] != "-" else None)
            self.producer.add_checked(message, 0, None, self.wired.now)
        self.wired.run()
        self.producer.flush(self.wired.now)
        self.wired.run()

    def of(self, key: str) -> list[str]:
        return [body.decode() for body in self.bodies if body.decode()[0] == key]


def test_messages_of_a_key_are_never_in_work_twice() -> None:
    ordered = Ordered()
    ordered.keyed("a1", "b1", "a2", "b2", "a3")
    ordered.start(0)
    first, second = ordered.taken(), ordered.taken()
    assert {first.messages[0].body, second.messages[0].body} == {b"a1", b"b1"}
    assert ordered.take() is None
    run(second)
    ordered.finish(second)
    third = ordered.taken()
    assert third.messages[0].body == b"b2"


def test_each_key_is_delivered_in_order_and_all_of_it_is_acked() -> None:
    ordered = Ordered()
    ordered.keyed("a1", "b1", "a2", "b2", "a3", "-1", "-2")
    ordered.start(0)
    ordered.work()
    assert ordered.of("a") == ["a1", "a2", "a3"]
    assert ordered.of("b") == ["b1", "b2"]
    assert ordered.of("-") == ["-1", "-2"]
    ordered.commit()
    assert (ordered.floor(), ordered.ranges()) == (7, [])


def test_a_failing_key_suspends_only_itself_and_counts_its_attempts() -> None:
    attempts: list[int] = []

    def listener(message: Any) -> None:
        if message.body == b"a1":
            attempts.append(message.attempt)
            if message.attempt < 3:
                raise ValueError("not yet")

    ordered = Ordered(listener)
    ordered.keyed("a1", "a2", "b1", "b2")
    ordered.start(0)
    ordered.work()
    assert ordered.of("b") == ["b1", "b2"]
    assert ordered.of("a") == ["a1"]
    ordered.wired.advance(900)
    assert ordered.take() is None
    ordered.news = 0
    ordered.wired.advance(200)
    assert ordered.news
    ordered.work()
    ordered.wired.advance(1_100)
    ordered.work()
    assert attempts == [1, 2, 3]
    assert ordered.of("a") == ["a1", "a1", "a1", "a2"]
    ordered.commit()
    assert ordered.floor() == 4


def test_at_the_end_of_its_attempts_a_message_is_a_dead_letter_and_the_key_goes_on() -> None:
    def listener(message: Any) -> None:
        if message.body == b"a1":
            raise ValueError("never")

    ordered = Ordered(listener, max_attempts=2)
    ordered.keyed("a1", "a2")
    ordered.start(0)
    ordered.work()
    assert ordered.groups.nacked == []
    ordered.wired.advance(1_100)
    ordered.work()
    [(_, message)] = ordered.groups.nacked
    assert (message.offset, message.dead, message.cause) == (0, True, "ValueError: never")
    assert ordered.of("a") == ["a1", "a1", "a2"]
    ordered.commit()
    assert ordered.floor() == 2


def test_a_dead_letter_tells_every_attempt_that_was_made_of_it() -> None:
    def listener(message: Any) -> None:
        raise ValueError(f"{message.attempt}" * 300)

    ordered = Ordered(listener, max_attempts=3)
    ordered.keyed("a1")
    ordered.start(0)
    for _ in range(3):
        ordered.work()
        ordered.wired.advance(1_100)
    [(_, message)] = ordered.groups.nacked
    assert (message.attempt, message.dead, message.cause[:13]) == (3, True, "ValueError: 3")
    assert [attempt for attempt, _, _ in message.earlier] == [1, 2]
    assert [cause[:13] for *_, cause in message.earlier] == ["ValueError: 1", "ValueError: 2"]
    assert max(len(cause) for *_, cause in message.earlier) == HISTORY_CAUSE_CHARS
    first_ms, second_ms = (at_ms for _, at_ms, _ in message.earlier)
    assert second_ms - first_ms >= 1_000


def test_of_many_attempts_the_last_are_told() -> None:
    def listener(message: Any) -> None:
        raise ValueError

    ordered = Ordered(listener, max_attempts=50, suspend_ms=10.0)
    ordered.keyed("a1")
    ordered.start(0)
    for _ in range(50):
        ordered.work()
        ordered.wired.advance(20)
    [(_, message)] = ordered.groups.nacked
    assert message.attempt == 50
    assert [row[0] for row in message.earlier] == list(range(51 - HISTORY_MAX, 50))


def test_steers_count_in_order_too() -> None:
    def listener(message: Any) -> Any:
        if message.body == b"a1":
            return Discard(dead_letter=True)
        if message.body == b"b1" and message.attempt == 1:
            return Retry(delay=5)
        return None

    ordered = Ordered(listener)
    ordered.keyed("a1", "a2", "b1", "b2")
    ordered.start(0)
    ordered.work()
    assert (ordered.of("a"), ordered.of("b")) == (["a1", "a2"], ["b1"])
    assert [message.dead for _, message in ordered.groups.nacked] == [True]
    ordered.wired.advance(2_000)
    ordered.work()
    assert ordered.of("b") == ["b1"]
    ordered.wired.advance(4_000)
    ordered.work()
    assert ordered.of("b") == ["b1", "b1", "b2"]


def test_a_revoked_queue_does_not_wait_for_a_suspended_key() -> None:
    def listener(message: Any) -> None:
        if message.body == b"a1":
            raise ValueError("not yet")

    ordered = Ordered(listener)
    ordered.keyed("a1", "a2", "b1")
    ordered.start(0)
    ordered.work()
    ordered.revoke(0)
    assert ordered.groups.released == [ordered.number(0)]
    assert (ordered.floor(), ordered.ranges()) == (0, [(2, 3)])


def test_a_revoked_queue_waits_for_the_lane_in_work_and_leaves_its_rest_to_others() -> None:
    ordered = Ordered()
    ordered.keyed("a1", "a2", "b1")
    ordered.start(0)
    work = ordered.taken()
    ordered.revoke(0)
    assert ordered.groups.released == []
    run(work)
    ordered.finish(work)
    assert ordered.groups.released == [ordered.number(0)]
    assert ordered.floor() == 1
    assert ordered.fetcher.buffer.has_room


def test_a_message_that_takes_too_long_suspends_its_key() -> None:
    ordered = Ordered(timeout_ms=2_000.0)
    ordered.group.dispatcher.replace_worker = lambda: None
    ordered.keyed("a1", "b1")
    ordered.start(0)
    stuck = ordered.taken()
    next(stuck.iterator)
    ordered.work()
    assert ordered.of("b") == ["b1"]
    ordered.wired.advance(2_500)
    assert not ordered.finish(stuck)
    ordered.wired.advance(1_000)
    again = ordered.taken()
    assert (again.messages[0].body, again.messages[0].attempt) == (b"a1", 2)


def test_a_batch_whose_keys_cannot_be_read_is_left_out_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ordered = Ordered()
    keys: Any = [1, 2]
    batch = encode_batch(
        Columns([b"x", b"y"], ordering_keys=keys), producer_id=9, first_sequence=0,
        first_born_ms=0, last_born_ms=0,
    )  # fmt: skip
    queue = ordered.wired.broker.queue("t", 0)
    queue.records.append((0, 2, batch))
    queue.latest = 2
    ordered.keyed("a1")
    ordered.start(0)
    ordered.work()
    assert ordered.of("a") == ["a1"]
    assert "malformed" in caplog.text
    ordered.commit()
    assert ordered.floor() == 3


def test_closing_deals_nothing_more() -> None:
    ordered = Ordered()
    ordered.keyed("a1", "b1")
    ordered.start(0)
    ordered.group.drain()
    assert ordered.take() is None
    assert not ordered.group.dispatcher.wants_another
