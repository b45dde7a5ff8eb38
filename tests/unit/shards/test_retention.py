"""Retention: earliest offsets rise, by record, and nothing else changes."""

from __future__ import annotations

from shardmq.shards import retention
from shardmq.shards.retention import ROUND_EVERY_MS
from support.shards import ShardUnderTest, batch, topic

HOUR_MS = 3_600_000
KIB = 1024


def rounds(shard: ShardUnderTest) -> None:
    """Let the round that is under way end, and a whole one happen."""
    for _ in range(2):
        shard.pass_time(ROUND_EVERY_MS)
        for _ in range(20):
            shard.pass_time(retention.PIECE_EVERY_MS)


def earliest(shard: ShardUnderTest, queue: int) -> int:
    return shard.state.queues.at(queue).earliest


def test_a_topics_own_retention_raises_the_earliest_offset() -> None:
    shard = ShardUnderTest()
    shard.define(topic(retention_ms=HOUR_MS))
    shard.fill(1, b"old", b"old")
    shard.clock.advance(HOUR_MS // 2)
    shard.fill(1, b"newer")
    shard.clock.advance(HOUR_MS // 2 + 1_000)
    rounds(shard)
    assert earliest(shard, 1) == 2
    result = shard.fetch((1, 2)).header.queues[0]
    assert (result.earliest, result.latest) == (2, 3)


def test_a_topic_without_its_own_keeps_what_the_journal_keeps() -> None:
    shard = ShardUnderTest()
    shard.define(topic())
    shard.fill(1, b"old")
    shard.clock.advance(1_000 * HOUR_MS)
    rounds(shard)
    assert earliest(shard, 1) == 0


def test_an_emptied_queue_keeps_its_next_offset_across_restarts() -> None:
    shard = ShardUnderTest()
    shard.define(topic(retention_ms=HOUR_MS))
    shard.fill(1, b"a", b"b")
    shard.clock.advance(2 * HOUR_MS)
    rounds(shard)
    assert earliest(shard, 1) == 2
    shard.restart(power_cut=True)
    assert shard.fetch((1, 2)).header.queues == []
    assert shard.fill(1, b"c").base_offset == 2


def test_dropped_segments_raise_it_too() -> None:
    shard = ShardUnderTest(segment_bytes=64 * KIB, reserve_bytes=KIB, retention_bytes=64 * KIB)
    shard.define(topic())
    for _ in range(40):
        shard.fill(1, b"x" * 10 * KIB)
        shard.pass_time(1_000)
    rounds(shard)
    assert earliest(shard, 1) == shard.journal.earliest(1)
    assert earliest(shard, 1) > 0


def test_what_was_raised_is_replayed() -> None:
    shard = ShardUnderTest()
    shard.define(topic(numbers=range(1, 300), retention_ms=HOUR_MS))
    for queue in range(1, 300):
        shard.turn([shard.produce_letter((queue, batch(producer_id=queue)), ack="none")])
    shard.sync()
    shard.clock.advance(2 * HOUR_MS)
    rounds(shard)
    shard.sync()
    assert all(earliest(shard, queue) == 1 for queue in range(1, 300))
    digests = shard.digests()
    shard.restart()
    assert shard.digests() == digests


def test_a_round_is_cut_into_pieces_and_an_idle_one_writes_nothing() -> None:
    shard = ShardUnderTest()
    shard.define(topic(numbers=range(1, 1_000)))
    rounds(shard)
    shard.sync()
    now = shard.clock.advance(2 * ROUND_EVERY_MS)
    end = shard.journal.end
    shard.core.handle([], now)
    assert shard.core.wake_at_ms == now.mono_ms + retention.PIECE_EVERY_MS
    rounds(shard)
    # Marks and snapshots may come; a round that found nothing adds no state record.
    assert shard.journal.end - end < 100 * KIB
