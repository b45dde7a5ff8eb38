"""Dead letters: what they say of themselves, and the messages that they become."""

from __future__ import annotations

from datetime import UTC, datetime

from shardmq.actors.protocol.batch import BatchView, encode_batch, read_batch_header
from shardmq.actors.protocol.columns import Columns
from shardmq.client.letters import in_order, letter_of, message_of, unread
from shardmq.client.received import Delivery, ReceivedMessage, messages_of
from shardmq.client.topics import QueueDescription, TopicDescription

SAID = {
    "%TOPIC": "orders", "%QUEUE": "3", "%OFFSET": "17", "%ATTEMPT": "2", "%CAUSE": "ValueError: no",
    "%DETAIL": "Traceback ...", "%HISTORY": '[[1,1000,"busy"],[2,2000,"ValueError: no"]]',
}  # fmt: skip


def dead(properties: dict[str, str], stored_at_ms: int = 7_000) -> ReceivedMessage:
    columns = Columns([b"a"], tags=["t"], ordering_keys=["o"], properties=[properties])
    batch = encode_batch(
        columns, producer_id=3, first_sequence=9, first_born_ms=5_000, last_born_ms=6_000
    )
    view = BatchView(batch, read_batch_header(batch))
    (message,) = messages_of(Delivery("%DLQ%g", 1, 100, stored_at_ms, view), 0)
    return message


def test_a_letter_says_what_it_was_and_why_it_was_given_up() -> None:
    letter = letter_of(dead({**SAID, "mine": "1"}))
    assert (letter.topic, letter.queue_id, letter.offset) == ("orders", 3, 17)
    assert (letter.attempts, letter.cause, letter.detail) == (
        2, "ValueError: no", "Traceback ...",
    )  # fmt: skip
    assert [(one.attempt, one.cause) for one in letter.history] == [
        (1, "busy"), (2, "ValueError: no"),
    ]  # fmt: skip
    assert letter.history[0].failed_at == datetime.fromtimestamp(1, UTC)
    assert letter.properties == {"mine": "1"}


def test_it_becomes_the_message_that_it_was() -> None:
    message = message_of(letter_of(dead({**SAID, "mine": "1"})))
    assert (message.topic, message.body, message.tag) == ("orders", b"a", "t")
    assert (message.ordering_key, message.properties) == ("o", {"mine": "1"})


def test_a_letter_that_says_nothing_of_itself_can_be_looked_at() -> None:
    letter = letter_of(dead({"%QUEUE": "x", "%HISTORY": "no json"}))
    assert (letter.topic, letter.queue_id, letter.history) == ("", 0, [])


def test_the_oldest_comes_first() -> None:
    letters = [letter_of(dead(SAID, at)) for at in (9, 5, 7)]
    assert [letter.message.stored_at.microsecond for letter in in_order(letters)] == [
        5_000, 7_000, 9_000,
    ]  # fmt: skip


def test_it_is_known_when_all_is_read() -> None:
    queues = [
        QueueDescription(
            queue_id=queue_id, shard=0, earliest=0, latest=latest, readable=True, writable=True
        )
        for queue_id, latest in enumerate((0, 5))
    ]
    topic = TopicDescription(
        name="%DLQ%g", queues=queues, retention=None, created_at=datetime.now(UTC), version=1
    )
    assert unread(topic, {})
    assert unread(topic, {1: 4})
    assert not unread(topic, {0: 0, 1: 5})
