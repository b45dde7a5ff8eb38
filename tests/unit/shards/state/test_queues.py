"""Queues: next and earliest offsets as records come."""

from __future__ import annotations

from shardmq.shards.log.record import BATCH, FLOOR, MARK, STATE, LogRecord
from shardmq.shards.state.queues import Queues
from shardmq.shards.state.records import (
    EarliestRaised,
    QueuesDropped,
    StateRecord,
    TopicDropped,
    encode_state,
)
from support.shards import ShardUnderTest, batch, topic


def record(
    kind: int, queue: int = 0, base_offset: int = 0, count: int = 0, payload: bytes = b""
) -> LogRecord:
    return LogRecord(0, kind, queue, base_offset, 0, 0, payload, 64 + len(payload), count, 0)


def state(queue: int, one: StateRecord) -> LogRecord:
    return record(STATE, queue, payload=encode_state(one))


def test_a_batch_moves_the_next_offset() -> None:
    queues = Queues()
    queues.apply(record(BATCH, 5, 0, 3))
    queues.apply(record(BATCH, 5, 3, 2))
    assert queues.at(5).next == 5
    assert queues.at(5).visible == 0


def test_a_floor_raises_the_next_offset_and_never_lowers_it() -> None:
    queues = Queues()
    queues.apply(record(FLOOR, 5, 10))
    queues.apply(record(FLOOR, 5, 4))
    assert queues.at(5).next == 10


def test_gaps_are_known_until_they_are_below_the_earliest_offset() -> None:
    queues, restored = Queues(), Queues()
    queues.apply(record(BATCH, 5, 0, 3))
    queues.apply(record(FLOOR, 5, 10, payload=b"\xa9set aside"))
    queues.apply(record(FLOOR, 5, 12))  # stands for a damaged batch, which is no gap
    queues.apply(record(FLOOR, 5, 20, payload=b"\xa9set aside"))
    assert queues.at(5).gaps == ((3, 10), (12, 20))
    restored.restore(5, queues.snapshot(5))
    assert restored.at(5).gaps == ((3, 10), (12, 20))
    assert restored.digest() == queues.digest()
    queues.apply(state(5, EarliestRaised([(5, 10)])))
    assert queues.at(5).gaps == ((12, 20),)


def test_the_earliest_offset_only_rises() -> None:
    queues = Queues()
    queues.apply(state(1, EarliestRaised([(1, 10), (65, 4)])))
    queues.apply(state(1, EarliestRaised([(1, 3)])))
    assert (queues.at(1).earliest, queues.at(65).earliest) == (10, 4)


def test_dropped_queues_are_forgotten() -> None:
    queues = Queues()
    queues.apply(record(BATCH, 1, 0, 3))
    queues.apply(record(BATCH, 65, 0, 3))
    queues.apply(state(1, QueuesDropped([1])))
    assert queues.stored() == [65]


def test_every_record_has_one_bucket_or_none() -> None:
    queues = Queues()
    assert queues.bucket_of(record(BATCH, 70)) == 6
    assert queues.bucket_of(record(FLOOR, 70)) == 6
    assert queues.bucket_of(state(70, QueuesDropped([70]))) == 6
    assert queues.bucket_of(state(70, TopicDropped(70))) == -1
    assert queues.bucket_of(record(MARK)) == -1


def test_a_snapshot_restores_the_same_state_and_an_idle_queue_is_not_in_it() -> None:
    queues, restored = Queues(), Queues()
    queues.at(6)
    queues.apply(record(BATCH, 70, 5, 3))
    queues.apply(state(70, EarliestRaised([(70, 6)])))
    assert queues.snapshot(6) == [[70, 8, 6]]
    assert queues.snapshot(7) is None
    restored.restore(6, queues.snapshot(6))
    assert restored.digest() == queues.digest() != Queues().digest()


def test_all_that_was_recovered_is_visible() -> None:
    queues = Queues()
    queues.apply(record(BATCH, 1, 0, 3))
    queues.reveal()
    assert queues.at(1).visible == 3


def test_offsets_that_a_crash_may_have_shown_are_never_given_again() -> None:
    shard = ShardUnderTest()
    shard.define(topic())
    shard.turn([shard.produce_letter((1, batch(sequence=0)), ack="written")])
    lost = set(shard.disk.unsynced())
    shard.turn([shard.produce_letter((1, batch(sequence=1)), ack="written")])
    shard.disk = shard.disk.power_cut(keep=set(shard.disk.unsynced()) - lost)
    shard.open()
    assert shard.produce(1, batch(sequence=2)).base_offset == 2
    digests = shard.digests()
    shard.restart()
    assert shard.digests() == digests
