"""Append: what refuses a batch that is sound, and that reads go on meanwhile."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.shards import append
from support.shards import ShardUnderTest, batch, topic


def test_busy_while_too_much_is_unsynced_and_free_again_after_the_sync() -> None:
    shard = ShardUnderTest(unsynced_bytes_max=1_000)
    shard.define(topic())
    first = shard.produce_letter((1, batch([b"x" * 800], producer_id=1)))
    second = shard.produce_letter((1, batch([b"x" * 800], producer_id=2)))
    (busy,) = shard.turn([first, second])
    result = busy.header.queues[0]
    assert (result.code, result.retry_after_ms) == (Code.BUSY, 20)
    shard.sync()
    assert shard.produce(1, batch([b"x" * 800], producer_id=2)).code == Code.OK


def test_busy_while_too_many_replies_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append, "HELD_MAX", 2)
    shard = ShardUnderTest()
    shard.define(topic())
    letters = [shard.produce_letter((1, batch(producer_id=one))) for one in range(3)]
    (busy,) = shard.turn(letters)
    assert busy.header.queues[0].code == Code.BUSY
    assert len(shard.sync()) == 2
    assert shard.produce(1, batch(producer_id=2)).code == Code.OK


def test_a_full_disk_refuses_batches_and_resumes_by_itself() -> None:
    shard = ShardUnderTest(free_bytes_min=1 << 20, free_bytes_retain=1 << 20)
    shard.define(topic())
    stored = batch(producer_id=1)
    shard.produce(1, stored)
    shard.disk.capacity_bytes = shard.disk.used_bytes() + 1_000
    shard.pass_time(2_000)
    refused = shard.produce(1, batch(producer_id=2))
    assert refused.code == Code.DISK_FULL
    assert refused.retry_after_ms > 0
    # What is stored is still read, and a retry of it still recognised.
    assert shard.fetch((1, 0)).header.queues[0].next_offset == 1
    assert shard.produce(1, stored).duplicate
    shard.disk.capacity_bytes = None
    shard.pass_time(2_000)
    assert shard.produce(1, batch(producer_id=2)).code == Code.OK


def test_a_damaged_log_is_read_only_it_refuses_changes_and_serves_the_rest() -> None:
    shard = ShardUnderTest()
    shard.define(topic())
    shard.fill(1, b"before the damage")
    shard.define(topic(version=2))
    shard.fill(2, b"behind the damage")
    shard.pass_time(1_000)
    (segment,) = (path for path in shard.disk.paths() if path.endswith(".log"))
    data = shard.disk.read(segment)
    at = data.rindex(b"orders")
    shard.disk.rot(segment, at, b"ORDERS")
    shard.restart()
    assert shard.journal.read_only
    result = shard.produce(1, batch())
    assert (result.code, result.retry_after_ms) == (Code.READ_ONLY, 10_000)
    assert shard.define(topic(version=3)).code == Code.READ_ONLY
    answer = shard.fetch((1, 0), (2, 0))
    assert sorted(one.next_offset for one in answer.header.queues) == [1, 1]
    shard.pass_time(60_000)


def test_a_table_full_of_young_producers_refuses_new_ones_only() -> None:
    shard = ShardUnderTest(producers_max=2)
    shard.define(topic())
    shard.produce(1, batch(producer_id=1))
    shard.produce(1, batch(producer_id=2))
    refused = shard.produce(1, batch(producer_id=3))
    assert (refused.code, refused.retry_after_ms) == (Code.BUSY, 5_000)
    assert shard.produce(1, batch(producer_id=2, sequence=1)).code == Code.OK
    # A known producer is new to another queue.
    assert shard.produce(2, batch(producer_id=2, sequence=2)).code == Code.BUSY
