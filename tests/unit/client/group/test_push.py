"""PushGroup: draining, a broker that takes nothing back, retried messages."""

from __future__ import annotations

from shardmq.actors.protocol.batch import Columns, check_batch, encode_batch
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.messages import ErrorReply
from shardmq.actors.protocol.verbs import Verb
from shardmq.client.group.outcomes import Discard, Retry
from shardmq.client.group.work import run
from shardmq.client.received import ReceivedMessage
from support.pushing import Pushed


def retried(*origins: tuple[str, int]) -> bytes:
    """A batch as a shard makes it in a retry queue: (topic, attempt) each."""
    columns = Columns(
        [b"x"] * len(origins),
        properties=[
            {"%TOPIC": topic, "%QUEUE": "5", "%OFFSET": "77", "%ATTEMPT": str(attempt), "mine": "1"}
            for topic, attempt in origins
        ],
        message_ids=[f"{index:032x}" for index in range(len(origins))],
        offset_deltas=[2 * index for index in range(len(origins))],
    )
    return encode_batch(columns, producer_id=1, first_sequence=0, first_born_ms=0, last_born_ms=0)


def store_retried(pushed: Pushed, batch: bytes) -> int:
    route = pushed.wired.broker.create("%RETRY%g", 1)
    queue = pushed.wired.broker.queues[route.queues[0].number]
    span = 2 * check_batch(batch).count - 1
    queue.records.append((0, check_batch(batch).count, batch))
    queue.latest = span
    pushed.wired.broker.give("me", "%RETRY%g", 0)
    return route.queues[0].number


def test_a_retried_message_is_shown_as_the_message_it_was() -> None:
    pushed = Pushed()
    number = store_retried(pushed, retried(("t", 3), ("t", 4)))
    pushed.group.start(pushed._news, pushed.wired.now)
    pushed.wired.run()
    pushed.work()
    first, second = pushed.seen
    assert (first.topic, first.queue_id, first.offset, first.attempt) == ("t", 5, 77, 3)
    assert (first.message_id, dict(first.properties)) == ("0" * 32, {"mine": "1"})
    assert second.attempt == 4
    pushed.commit()
    assert pushed.groups.cursors[number].floor >= 2


def test_a_retried_message_that_fails_again_is_named_by_its_place_in_the_retry_queue() -> None:
    def listener(message: object) -> None:
        raise ValueError("again")

    pushed = Pushed(listener)
    number = store_retried(pushed, retried(("t", 3), ("t", 4)))
    pushed.group.start(pushed._news, pushed.wired.now)
    pushed.wired.run()
    pushed.work()
    assert [(queue, message.offset) for queue, message in pushed.groups.nacked] == [
        (number, 0), (number, 2),
    ]  # fmt: skip


def test_delays_of_ones_own_go_with_the_failure_unless_the_listener_says_another() -> None:
    def listener(message: ReceivedMessage) -> object:
        if message.attempt == 2:
            return Retry(delay=5)
        return Discard(dead_letter=True) if message.attempt == 9 else Retry()

    pushed = Pushed(listener, retry_delays_ms=(100, 200, 300))
    store_retried(pushed, retried(("t", 2), ("t", 3), ("t", 7), ("t", 9)))
    pushed.store(b"first")
    pushed.start(0)
    pushed.work()
    told = {message.offset: message.delay_ms for _, message in pushed.groups.nacked[:4]}
    assert told == {0: 5_000, 2: 300, 4: 300, 6: None}
    assert pushed.groups.nacked[4][1].delay_ms == 100


def test_a_retried_message_of_a_topic_without_listener_is_a_dead_letter() -> None:
    pushed = Pushed()
    store_retried(pushed, retried(("unknown", 2), ("t", 2)))
    pushed.group.start(pushed._news, pushed.wired.now)
    pushed.wired.run()
    pushed.work()
    pushed.wired.advance(1)
    assert len(pushed.seen) == 1
    [(_, message)] = pushed.groups.nacked
    assert message.dead
    assert "no listener" in message.cause


def test_a_broker_that_takes_nothing_back_ends_the_member_with_a_clear_error() -> None:
    def listener(message: object) -> None:
        raise ValueError("no")

    pushed = Pushed(listener)
    pushed.wired.broker.answer = lambda route, *_: (
        (Code.UNKNOWN_VERB, ErrorReply(name="UNKNOWN_VERB", message="verb 25 is not known"))
        if route.verb == Verb.NACK
        else None
    )
    pushed.store(b"a", b"b")
    pushed.start(0)
    pushed.work()
    error = pushed.group.core.error
    assert error is not None
    assert "takes no messages back" in str(error)
    assert pushed.take() is None
    assert pushed.group.is_drained
    pushed.commit()
    assert pushed.floor() == 0


def test_it_is_drained_when_what_was_in_work_is_done() -> None:
    pushed = Pushed()
    pushed.store(b"a", b"b")
    pushed.start(0)
    work = pushed.taken()
    pushed.group.drain()
    assert pushed.take() is None
    assert not pushed.group.is_drained
    run(work)
    pushed.finish(work)
    assert pushed.group.is_drained
    pushed.commit()
    assert pushed.floor() == 1
    pushed.group.core.leave(pushed.wired.now)
    pushed.wired.run()
    pushed.group.close()
    pushed.fetcher.close()
    assert pushed.wired.core.in_flight_bytes == 0
