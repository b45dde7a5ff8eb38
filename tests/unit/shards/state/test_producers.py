"""Producers: last batches, the order in which they are forgotten, snapshots."""

from __future__ import annotations

from shardmq.shards.log.record import BATCH, STATE, LogRecord
from shardmq.shards.state.producers import Producers
from shardmq.shards.state.records import (
    EarliestRaised,
    ProducersForgotten,
    QueuesDropped,
    StateRecord,
    encode_state,
)
from support.shards import batch


def stored(producer_id: int, queue: int = 1, *, sequence: int = 0, at_ms: int = 0) -> LogRecord:
    payload = batch([b"a", b"b"], producer_id=producer_id, sequence=sequence)
    return LogRecord(500, BATCH, queue, 7, at_ms, 0, payload, 64 + len(payload), 2, 0)


def state(queue: int, one: StateRecord) -> LogRecord:
    return LogRecord(0, STATE, queue, 0, 0, 0, encode_state(one), 70, 0, 0)


def test_an_entry_tells_all_that_a_receipt_needs() -> None:
    producers = Producers()
    one = stored((1 << 64) - 1, sequence=41, at_ms=9)
    producers.apply(one)
    entry = producers.get((1 << 64) - 1, 1)
    assert entry is not None
    assert (entry.first_sequence, entry.count, entry.base_offset) == (41, 2, 7)
    assert (entry.stored_at_ms, entry.lsn_end) == (9, 500 + one.length)
    assert entry.crc == int.from_bytes(one.payload[8:12], "little")
    assert producers.get(5, 1) is None


def test_a_later_batch_takes_the_place_of_the_last() -> None:
    producers = Producers()
    producers.apply(stored(5))
    producers.apply(stored(5, sequence=2))
    producers.apply(stored(5, queue=2))
    assert len(producers) == 2
    entry = producers.get(5, 1)
    assert entry is not None
    assert entry.first_sequence == 2


def test_copies_leave_the_table_as_it_is() -> None:
    producers = Producers()
    payload = batch([b"copy"], producer_id=5, message_ids=["f" * 32])
    producers.apply(LogRecord(0, BATCH, 1, 0, 0, 0, payload, 64 + len(payload), 1, 0))
    assert len(producers) == 0


def test_those_silent_longest_are_forgotten_first() -> None:
    producers = Producers()
    for one in range(5):
        producers.apply(stored(one, at_ms=one))
    producers.apply(stored(0, sequence=2, at_ms=10))
    assert producers.silent(1, before_ms=3, count_max=100) == 2
    assert producers.silent(1, before_ms=100, count_max=4) == 4
    producers.apply(state(1, ProducersForgotten(2)))
    assert [one for one in range(5) if producers.get(one, 1)] == [0, 3, 4]
    assert len(producers) == 3


def test_producers_go_with_their_queues() -> None:
    producers = Producers()
    for queue in (1, 65, 129):
        producers.apply(stored(5, queue=queue))
    producers.apply(state(1, QueuesDropped([1, 129])))
    assert len(producers) == 1
    assert producers.get(5, 65)


def test_only_its_records_concern_it() -> None:
    producers = Producers()
    assert producers.bucket_of(stored(5, queue=70)) == 6
    assert producers.bucket_of(state(70, ProducersForgotten(1))) == 6
    assert producers.bucket_of(state(70, EarliestRaised([]))) == -1


def test_a_snapshot_keeps_the_order_and_drops_the_log_position() -> None:
    producers, restored = Producers(), Producers()
    for one in (3, 1, 2):
        producers.apply(stored(one, at_ms=one))
    producers.apply(stored(3, sequence=2))
    restored.apply(stored(9))
    restored.restore(1, producers.snapshot(1))
    assert len(restored) == 3
    assert restored.digest() == producers.digest()
    for table in (producers, restored):
        table.apply(state(1, ProducersForgotten(1)))
        assert table.get(1, 1) is None
    assert restored.digest() == producers.digest()
    entry = restored.get(3, 1)
    assert entry is not None
    assert entry.lsn_end == 0
