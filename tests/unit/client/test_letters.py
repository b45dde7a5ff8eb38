"""Dead letters: what they say of themselves, and the messages that they become."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shardmq.actors.protocol.batch import BatchView, encode_batch, read_batch_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.columns import Columns
from shardmq.client import errors
from shardmq.client.letters import (
    DeadLetter,
    Resend,
    checked_count,
    checked_rate,
    in_order,
    letter_of,
    message_of,
    unread,
)
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


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan"), 1e-9, "5", None, True])
def test_what_is_no_rate_is_refused(rate: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="rate"):
        checked_rate(rate)


@pytest.mark.parametrize("count", [None, -1, 1.5, "5", True])
def test_what_is_no_count_is_refused(count: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="count"):
        checked_count(count)


def letters(*topics: str) -> list[DeadLetter]:
    return [letter_of(dead({**SAID, "%TOPIC": topic})) for topic in topics]


def send(resend: Resend, answers: dict[str, errors.SendError]) -> list[list[str]]:
    """Sends as a driver does, to a broker that refuses some topics; the topics of each batch."""
    batches = []
    while messages := resend.batch():
        batches.append([message.topic for message in messages])
        outcomes = [answers.get(message.topic, "stored") for message in messages]
        faults = [one for one in outcomes if isinstance(one, errors.SendError)]
        if faults:
            faults[0].outcomes = outcomes
            resend.failed(faults[0])
        else:
            resend.stored(outcomes)
    return batches


GONE = errors.send_error(Code.TOPIC_NOT_FOUND, "there is no topic b", unknown=False)


def test_a_topic_that_is_gone_keeps_no_other_back_and_is_tried_once() -> None:
    given = letters("a", "b", "a", "b", "a", "b")
    resend = Resend(given, 20.0)
    assert send(resend, {"b": GONE}) == [["a", "a"], ["a"], ["b", "b"]]
    with pytest.raises(errors.TopicNotFound, match="3 of 6 dead letters") as caught:
        resend.result()
    assert isinstance(caught.value, errors.SendFailed)
    assert "there is no topic b" in str(caught.value)
    assert (caught.value.left, caught.value.letters) == (given[1::2], given)
    assert [one == "stored" for one in caught.value.outcomes] == [True, False] * 3


def test_what_may_succeed_later_is_not_tried_on_and_on() -> None:
    busy = errors.send_error(Code.BUSY, "later", unknown=False)
    given = letters("a", "b", "c", "b")
    resend = Resend(given, 20.0)
    assert send(resend, {"b": busy}) == [["a"], ["b", "b"]]
    with pytest.raises(errors.Busy, match="1 of 4") as caught:
        resend.result()
    assert caught.value.left == given[1:]


@pytest.mark.parametrize("has_outcomes", [True, False])
def test_what_may_have_been_sent_is_not_called_left(has_outcomes: bool) -> None:
    lost = errors.send_error(Code.TIMED_OUT, "nobody answered", unknown=True)
    given = letters("a", "a", "c")
    resend = Resend(given, 20.0)
    assert len(resend.batch()) == 2
    lost.outcomes = ["stored", lost] if has_outcomes else ()
    resend.failed(lost)
    assert resend.batch() == []
    with pytest.raises(errors.SendUnknown, match="may have been") as caught:
        resend.result()
    assert str(caught.value).count("may be stored") == 1
    assert caught.value.left == given[2:]


def test_a_letter_that_does_not_say_where_it_is_from_is_left() -> None:
    given = letters("", "a")
    resend = Resend(given, 20.0)
    assert send(resend, {}) == [["a"]]
    with pytest.raises(errors.InvalidName, match="1 of 2") as caught:
        resend.result()
    assert caught.value.left == given[:1]


def test_batches_are_small_and_wait_for_the_one_before() -> None:
    resend = Resend(letters(*["a"] * 5), 20.0)
    waits = []
    while messages := resend.batch():
        waits.append((len(messages), resend.wait_seconds))
        resend.stored(["stored"] * len(messages))
    assert waits == [(2, 0.0), (2, 0.1), (1, 0.1)]
    assert resend.result() == 5
    assert Resend([], 0.5).result() == 0
