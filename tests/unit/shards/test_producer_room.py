"""Producer room: who is forgotten, who never is."""

from __future__ import annotations

from shardmq.actors.protocol.codes import Code
from shardmq.shards.producer_room import PRODUCER_KEPT_MS, PRODUCER_YOUNG_MS, RETRY_MS
from support.shards import ShardUnderTest, batch, topic


def filled(producers_max: int = 4) -> ShardUnderTest:
    shard = ShardUnderTest(producers_max=producers_max)
    shard.define(topic(numbers=(1, 2)))
    for one in range(producers_max):
        assert shard.produce(1, batch(producer_id=one)).code == Code.OK
    return shard


def expire(shard: ShardUnderTest) -> None:
    """Let the round come by every bucket."""
    for _ in range(70):
        shard.pass_time(10_000)


def test_a_producer_is_forgotten_after_a_day() -> None:
    shard = filled()
    shard.clock.advance(PRODUCER_KEPT_MS - 3_600_000)
    shard.produce(1, batch(producer_id=0, sequence=1))
    expire(shard)
    assert len(shard.state.producers) == 4
    shard.clock.advance(3_600_000)
    expire(shard)
    assert len(shard.state.producers) == 1
    assert shard.produce(1, batch(producer_id=0, sequence=1)).duplicate


def test_a_full_table_makes_room_from_those_that_no_retry_can_come_from() -> None:
    shard = filled()
    shard.clock.advance(PRODUCER_YOUNG_MS + 1)
    assert shard.produce(1, batch(producer_id=50)).code == Code.OK


def test_a_full_table_of_young_ones_refuses_and_recovers_with_time() -> None:
    shard = filled()
    assert shard.produce(1, batch(producer_id=50)).code == Code.BUSY
    shard.clock.advance(PRODUCER_YOUNG_MS - 10)
    assert shard.produce(1, batch(producer_id=50)).code == Code.BUSY
    shard.clock.advance(RETRY_MS + 20)
    assert shard.produce(1, batch(producer_id=50)).code == Code.OK


def test_a_wall_clock_that_jumps_ahead_ages_nobody() -> None:
    shard = filled()
    shard.clock.step_wall(10 * PRODUCER_KEPT_MS)
    expire(shard)
    assert len(shard.state.producers) == 4
    assert shard.produce(1, batch(producer_id=50)).code == Code.BUSY


def test_a_wall_clock_that_jumped_before_a_restart_ages_nobody() -> None:
    shard = filled()
    shard.clock.step_wall(10 * PRODUCER_KEPT_MS)
    shard.restart()
    for _ in range(70):
        shard.pass_time(PRODUCER_YOUNG_MS / 80)
    assert shard.produce(1, batch(producer_id=50)).code == Code.BUSY
    assert shard.produce(1, batch(producer_id=0)).duplicate


def test_what_was_forgotten_is_replayed() -> None:
    shard = filled(producers_max=20)
    shard.clock.advance(PRODUCER_YOUNG_MS + 1)
    for one in range(100, 110):
        assert shard.produce(1 + one % 2, batch(producer_id=one)).code == Code.OK
    digests = shard.digests()
    shard.restart()
    assert shard.digests() == digests
