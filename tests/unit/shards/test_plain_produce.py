"""Plain PRODUCE: JSON messages find their queues and are stored all or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_JSON
from shardmq.actors.protocol.messages import (
    PlainMessage,
    Produce,
    ProduceQueue,
    QueueRoute,
    TopicRoute,
)
from shardmq.actors.protocol.slots import slot_of
from shardmq.actors.protocol.verbs import Verb
from shardmq.shards.plain_produce import MESSAGES_MAX
from support.shards import Reply, ShardUnderTest, batch, topic

PRODUCER = f"{5:016x}"


def two_shards(version: int = 1) -> TopicRoute:
    """Queues 0 and 2 live here, queue 1 on shard 1; slots alternate over all three."""
    queues = [
        QueueRoute(queue_id=0, number=10, shard=0),
        QueueRoute(queue_id=1, number=11, shard=1),
        QueueRoute(queue_id=2, number=12, shard=0),
    ]
    return TopicRoute(
        topic="orders",
        topic_id=1,
        version=version,
        slots_version=1,
        queues=queues,
        slots=[0, 1, 2],
    )


def key_for(queue_id: int) -> str:
    """An ordering key whose slot belongs to the queue."""
    return next(key for key in map(str, range(100)) if slot_of(key) % 3 == queue_id)


@pytest.fixture
def shard() -> ShardUnderTest:
    under_test = ShardUnderTest()
    under_test.define(two_shards())
    return under_test


def send(shard: ShardUnderTest, *messages: PlainMessage, **fields: Any) -> Reply:
    header = Produce(topic="orders", messages=list(messages), **fields)
    reply = shard.ask(Verb.PRODUCE, header, flags=FLAG_JSON)
    assert isinstance(reply, Reply)
    return reply


def text(body: str = "hello", **fields: Any) -> PlainMessage:
    return PlainMessage(body=body, **fields)


def test_a_receipt_for_each_message_in_the_order_of_the_request(shard: ShardUnderTest) -> None:
    reply = send(shard, text(queue_id=2), text(queue_id=0), text(queue_id=2))
    assert reply.code == Code.OK
    assert [(one.queue_id, one.offset) for one in reply.header.messages] == [
        (2, 0),
        (0, 0),
        (2, 1),
    ]
    assert len({one.message_id for one in reply.header.messages}) == 3


def test_messages_without_key_go_to_own_queues_in_turn(shard: ShardUnderTest) -> None:
    chosen = [send(shard, text()).header.messages[0].queue_id for _ in range(4)]
    assert sorted(chosen) == [0, 0, 2, 2]


def test_a_key_goes_to_the_queue_of_its_slot_or_to_the_shard_that_has_it(
    shard: ShardUnderTest,
) -> None:
    reply = send(shard, text(ordering_key=key_for(2)))
    assert reply.header.messages[0].queue_id == 2
    moved = send(shard, text(), text(ordering_key=key_for(1)))
    assert (moved.code, moved.header.shard) == (Code.MOVED, 1)
    named = send(shard, text(queue_id=1))
    assert (named.code, named.header.shard) == (Code.MOVED, 1)


def test_a_moved_request_stores_nothing(shard: ShardUnderTest) -> None:
    send(shard, text(queue_id=0), text(queue_id=1))
    assert send(shard, text(queue_id=0)).header.messages[0].offset == 0


def test_a_shard_without_open_queues_names_one_that_has_some(shard: ShardUnderTest) -> None:
    elsewhere = two_shards(version=2)
    for one in (0, 2):
        elsewhere.queues[one].writable = False
    shard.define(elsewhere)
    moved = send(shard, text())
    assert (moved.code, moved.header.shard) == (Code.MOVED, 1)
    assert send(shard, text(queue_id=0)).code == Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (PlainMessage(), Code.INVALID_ARGUMENT),
        (PlainMessage(body="x", body_base64="eA=="), Code.INVALID_ARGUMENT),
        (PlainMessage(body_base64="not base64!"), Code.INVALID_ARGUMENT),
        (PlainMessage(body=""), Code.INVALID_ARGUMENT),
        (PlainMessage(body="x", tag="a|b"), Code.INVALID_ARGUMENT),
        (PlainMessage(body="x", ordering_key=""), Code.INVALID_ARGUMENT),
        (PlainMessage(body="x", properties={"a": "x" * 40_000}), Code.TOO_LARGE),
        (PlainMessage(body="x", queue_id=99), Code.INVALID_ARGUMENT),
    ],
)
def test_one_bad_message_refuses_the_request(
    shard: ShardUnderTest, message: PlainMessage, code: Code
) -> None:
    if message.ordering_key == "":
        message.queue_id = 0
    refused = send(shard, text(queue_id=0), message)
    assert refused.code == code
    assert send(shard, text(queue_id=0)).header.messages[0].offset == 0


def test_malformed_requests_are_told_what_is_wrong(shard: ShardUnderTest) -> None:
    assert send(shard).code == Code.BAD_REQUEST
    assert send(shard, text(), queues=[ProduceQueue(queue=10)]).code == Code.BAD_REQUEST
    header = Produce(topic="orders", messages=[text()])
    assert shard.ask(Verb.PRODUCE, header, [batch()]).code == Code.BAD_REQUEST
    unknown = Produce(topic="nothing", messages=[text()])
    assert shard.ask(Verb.PRODUCE, unknown).code == Code.TOPIC_NOT_FOUND
    many = Produce(topic="orders", messages=[text()] * (MESSAGES_MAX + 1))
    assert shard.ask(Verb.PRODUCE, many).code == Code.TOO_LARGE


def test_no_room_refuses_all_of_it() -> None:
    shard = ShardUnderTest(producers_max=1)
    shard.define(two_shards())
    refused = send(shard, text(queue_id=0), text(queue_id=2))
    assert (refused.code, refused.header.retry_after_ms) == (Code.BUSY, 5_000)
    assert send(shard, text(queue_id=0)).header.messages[0].offset == 0


def test_synced_is_waited_for_here_too(shard: ShardUnderTest) -> None:
    header = Produce(topic="orders", messages=[text()])
    assert shard.turn([shard.letter(Verb.PRODUCE, header, flags=FLAG_JSON)]) == []
    (reply,) = shard.sync()
    assert reply.header.ack == "synced"


# ------------------------------------------------------------------------ sequences


def test_a_retry_with_producer_and_sequence_is_stored_once(shard: ShardUnderTest) -> None:
    once = {"producer_id": PRODUCER, "first_sequence": 7}
    first = send(shard, text("a"), text("b"), **once)
    shard.clock.advance(5_000)  # so that the bytes differ
    shard.restart()
    again = send(shard, text("a"), text("b"), **once)
    assert again.header.messages == first.header.messages
    assert again.header.queues[0].duplicate
    assert [one.message_id for one in first.header.messages] == [
        PRODUCER + f"{7:016x}",
        PRODUCER + f"{8:016x}",
    ]


def test_a_retry_is_recognised_after_the_topic_has_grown(shard: ShardUnderTest) -> None:
    once = {"producer_id": PRODUCER, "first_sequence": 7}
    first = send(shard, text(), **once)
    grown = two_shards(version=2)
    grown.queues += [QueueRoute(queue_id=3 + i, number=20 + i, shard=0) for i in range(5)]
    shard.define(grown)
    again = send(shard, text(), **once)
    assert again.header.messages == first.header.messages
    assert again.header.queues[0].duplicate


def test_a_lower_sequence_is_stale(shard: ShardUnderTest) -> None:
    send(shard, text(queue_id=0), producer_id=PRODUCER, first_sequence=7)
    send(shard, text(queue_id=0), producer_id=PRODUCER, first_sequence=8)
    stale = send(shard, text(queue_id=0), producer_id=PRODUCER, first_sequence=7)
    assert stale.code == Code.STALE_SEQUENCE


@pytest.mark.parametrize(
    "fields",
    [
        {"producer_id": PRODUCER},
        {"first_sequence": 1},
        {"producer_id": "5", "first_sequence": 1},
        {"producer_id": "F" * 16, "first_sequence": 1},
        {"producer_id": PRODUCER, "first_sequence": (1 << 63) - 1},
    ],
)
def test_half_a_sequence_is_refused(shard: ShardUnderTest, fields: dict[str, Any]) -> None:
    assert send(shard, text(), **fields).code == Code.INVALID_ARGUMENT


def test_messages_with_a_sequence_end_in_one_queue(shard: ShardUnderTest) -> None:
    refused = send(
        shard, text(queue_id=0), text(queue_id=2), producer_id=PRODUCER, first_sequence=1
    )
    assert refused.code == Code.INVALID_ARGUMENT
    assert "one queue" in refused.header.message


def test_a_topic_without_slots_takes_keys_like_any_message() -> None:
    shard = ShardUnderTest()
    route = topic(numbers=(1,))
    route.slots = []
    shard.define(route)
    assert send(shard, text(ordering_key="k")).code == Code.OK
