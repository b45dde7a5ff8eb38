"""OFFSETS: ends of queues, and the offset of a point in time."""

from __future__ import annotations

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.messages import Offsets, OffsetsQueue, OffsetsResult
from shardmq.actors.protocol.verbs import Verb
from support.clock import WALL_MS
from support.shards import ShardUnderTest, batch, topic


def offsets(shard: ShardUnderTest, *queues: OffsetsQueue) -> list[OffsetsResult]:
    reply = shard.ask(Verb.OFFSETS, Offsets(queues=list(queues)))
    assert reply.code == Code.OK
    return list(reply.header.queues)


def test_ends_of_queues_in_the_order_asked() -> None:
    shard = ShardUnderTest()
    shard.define(topic())
    shard.fill(1, b"a", b"b")
    got = offsets(shard, *(OffsetsQueue(queue=queue) for queue in (2, 77, 1)))
    assert [(one.queue, one.code, one.earliest, one.latest) for one in got] == [
        (2, Code.OK, 0, 0),
        (77, Code.STALE_ROUTE, 0, 0),
        (1, Code.OK, 0, 2),
    ]
    assert got[0].at_time is None


def test_a_time_is_the_first_batch_stored_then_or_later() -> None:
    shard = ShardUnderTest()
    shard.define(topic())
    for _ in range(3):
        shard.clock.advance(1_000)
        shard.fill(1, b"a", b"b")
    at = [WALL_MS + span_ms for span_ms in (0, 1_000, 1_001, 3_000, 3_001)]
    got = offsets(shard, *(OffsetsQueue(queue=1, time_ms=one) for one in at))
    assert [one.at_time for one in got] == [0, 0, 2, 4, 6]
    (empty,) = offsets(shard, OffsetsQueue(queue=2, time_ms=0))
    assert empty.at_time == 0


def test_what_is_not_durable_is_not_there() -> None:
    shard = ShardUnderTest()
    shard.define(topic())
    shard.fill(1, b"a")
    shard.turn([shard.produce_letter((1, batch()), ack="written")])
    letter = shard.letter(Verb.OFFSETS, Offsets(queues=[OffsetsQueue(queue=1, time_ms=0)]))
    (reply,) = shard.turn([letter])
    assert reply.header.queues[0].latest == 1


def test_no_queues_is_malformed() -> None:
    shard = ShardUnderTest()
    assert shard.ask(Verb.OFFSETS, Offsets(queues=[])).code == Code.BAD_REQUEST


def test_what_a_dropped_segment_held_is_not_called_readable() -> None:
    shard = ShardUnderTest(segment_bytes=1 << 16, reserve_bytes=1 << 10, retention_bytes=1 << 16)
    shard.define(topic())
    for _ in range(20):
        shard.fill(1, b"x" * 10_240)
        shard.pass_time(1_000)
        (got,) = offsets(shard, OffsetsQueue(queue=1))
        result = shard.fetch((1, got.earliest)).header.queues[0]
        assert (result.code, result.earliest <= got.earliest) == (Code.OK, True)
    assert got.earliest > 0
    gone = shard.fetch((1, 0)).header.queues[0]
    assert (gone.code, gone.earliest) == (Code.OFFSET_OUT_OF_RANGE, got.earliest)
