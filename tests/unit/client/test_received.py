"""ReceivedMessage: rows of a batch, looked up when asked for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shardmq.actors.protocol.batch import BatchError, BatchView, encode_batch, read_batch_header
from shardmq.actors.protocol.columns import Columns
from shardmq.client import errors
from shardmq.client.message import check_message
from shardmq.client.received import (
    Delivery,
    ReceivedMessage,
    again,
    are_of,
    messages_of,
    place_of,
    rows_of,
)


def received(columns: Columns, from_offset: int = 0) -> list[ReceivedMessage]:
    batch = encode_batch(
        columns, producer_id=3, first_sequence=9, first_born_ms=5_000, last_born_ms=6_000
    )
    view = BatchView(batch, read_batch_header(batch))
    return messages_of(Delivery("t", 2, 100, 7_000, view), from_offset)


def test_every_field_is_that_of_its_row() -> None:
    columns = Columns(
        [b"a", b"b"],
        tags=[None, "x"],
        keys=[["k"], []],
        ordering_keys=["o", None],
        properties=[{}, {"p": "v"}],
    )
    first, second = received(columns)
    assert (first.body, first.tag, first.keys, first.ordering_key) == (b"a", None, ("k",), "o")
    assert (second.body, second.tag, second.properties) == (b"b", "x", {"p": "v"})
    assert (second.topic, second.queue_id, second.offset) == ("t", 2, 101)
    assert second.message_id == f"{3:016x}{10:016x}"
    assert second.born_at == datetime.fromtimestamp(5, UTC)
    assert second.stored_at == datetime.fromtimestamp(7, UTC)
    assert second.attempt == 1


def test_plain_messages_have_defaults() -> None:
    (message,) = received(Columns([b"a"]))
    assert (message.tag, message.keys, message.ordering_key) == (None, (), None)
    assert message.properties == {}
    assert (message.delay, message.deliver_at, message.delay_level) == (None, None, None)


def test_a_batch_may_be_entered_in_its_middle() -> None:
    assert [message.body for message in received(Columns([b"a", b"b", b"c"]), 101)] == [b"b", b"c"]


def test_copies_carry_their_own_ids_and_offsets() -> None:
    columns = Columns([b"a", b"b"], message_ids=["one", "two"], offset_deltas=[0, 5])
    messages = received(columns, from_offset=103)
    assert [(message.message_id, message.offset) for message in messages] == [("two", 105)]


def test_it_can_be_sent_again_compared_and_shown() -> None:
    columns = Columns([b"x" * 500], properties=[{"password": "secret"}])
    (message,), (twin,) = received(columns), received(columns)
    check_message(message)
    assert message == twin
    assert hash(message) == hash(twin)
    assert message != "message"
    assert "secret" not in repr(message)
    assert len(repr(message)) < 300


def test_a_message_of_a_retry_queue_is_shown_as_the_one_that_failed() -> None:
    system = {"%TOPIC": "orders", "%QUEUE": "3", "%OFFSET": "17", "%ATTEMPT": "4"}
    columns = Columns(
        [b"a"], properties=[{**system, "p": "v"}], message_ids=["f" * 32], offset_deltas=[0]
    )
    batch = encode_batch(
        columns, producer_id=3, first_sequence=9, first_born_ms=5_000, last_born_ms=6_000
    )
    view = BatchView(batch, read_batch_header(batch))
    (retried,) = messages_of(Delivery("%RETRY%g", 2, 100, 7_000, view), 0)
    assert (retried.topic, retried.queue_id, retried.offset) == ("orders", 3, 17)
    assert (retried.attempt, retried.message_id) == (4, "f" * 32)
    assert retried.properties == {"p": "v"}
    assert place_of(retried) == 100
    assert again(retried, 2).attempt == 5
    (dead,) = messages_of(Delivery("%DLQ%g", 2, 100, 7_000, view), 0)
    assert (dead.topic, dead.offset) == ("%DLQ%g", 100), "a dead letter is a message like others"
    assert dead.properties["%ATTEMPT"] == "4"


def test_a_copy_that_does_not_say_where_it_comes_from_is_malformed() -> None:
    columns = Columns([b"a"], properties=[{"%TOPIC": "orders"}])
    batch = encode_batch(
        columns, producer_id=3, first_sequence=9, first_born_ms=5_000, last_born_ms=6_000
    )
    view = BatchView(batch, read_batch_header(batch))
    (message,) = messages_of(Delivery("%RETRY%g", 2, 100, 7_000, view), 0)
    with pytest.raises(BatchError, match="%QUEUE"):
        assert message.topic


def test_messages_are_put_together_by_what_they_came_with() -> None:
    (a, b, c), (d,) = received(Columns([b"a", b"b", b"c"])), received(Columns([b"d"]))
    rows = rows_of([c, d, a])
    assert list(rows.values()) == [[2, 0], [0]]
    first, second = rows
    assert are_of([a, b, c, d], first, {1, 2}) == [b, c]
    assert are_of([a, b, c, d], second, {0}) == [d]
    with pytest.raises(errors.InvalidArgument, match="not str"):
        rows_of(["text"])


def test_a_message_of_no_work_queue_is_visible_to_all_for_ever() -> None:
    (message,) = received(Columns([b"a"]))
    assert message.invisible_until is None
