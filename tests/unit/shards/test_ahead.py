"""Ahead: the next batch that has something, and how far there is none."""

from __future__ import annotations

from shardmq.shards.ahead import Ahead
from shardmq.shards.cut import OpenedBatches
from shardmq.shards.work_groups import WorkGroup, WorkQueue
from support.shards import ShardUnderTest, topic

COST_MAX = 1 << 20


def ahead_of(*tags: str) -> tuple[Ahead, OpenedBatches, WorkQueue]:
    """Of a queue with a batch of two messages for each tag."""
    shard = ShardUnderTest()
    shard.define(topic())
    for tag in tags:
        shard.fill(1, b"x", b"y", tags=[tag, tag])
    opened = OpenedBatches(shard.journal)
    return Ahead(shard.journal, opened), opened, WorkQueue(WorkGroup(7), 1)


def test_batches_that_lie_side_by_side_are_opened_at_once() -> None:
    ahead, opened, work = ahead_of("a", "b", "c")
    span, behind, cost = ahead.next(work, 1, 6, None, COST_MAX)
    assert span is not None
    assert (span.base_offset, behind, cost, len(opened)) == (0, 1, 0, 3)
    assert [one.base_offset for one in work.spans] == [0, 2, 4]
    span, _, _ = ahead.next(work, 4, 6, None, COST_MAX)
    assert span is not None
    assert (span.base_offset, opened.opened) == (4, 3)
    back, _, _ = ahead.next(work, 2, 6, None, COST_MAX)
    assert back is not None
    assert (back.base_offset, opened.opened) == (2, 3)


def test_what_is_not_selected_is_told_once_it_is_known() -> None:
    ahead, opened, work = ahead_of("a", "b", "a", "b")
    wanted = frozenset("a")
    span, _, cost = ahead.next(work, 0, 8, wanted, COST_MAX)
    assert span is not None
    assert cost > 0
    assert len(opened) == 2
    assert ahead.next(work, 2, 8, wanted, COST_MAX) == (None, 4, 0)
    assert ahead.next(work, 3, 4, wanted, COST_MAX) == (None, 4, 0)
    span, _, _ = ahead.next(work, 4, 8, wanted, COST_MAX)
    assert span is not None
    assert ahead.next(work, 6, 7, wanted, COST_MAX) == (None, 7, 0)
    assert ahead.next(work, 6, 8, wanted, COST_MAX) == (None, 8, 0)


def test_a_search_ends_at_its_price() -> None:
    ahead, _, work = ahead_of(*["b"] * 5)
    assert ahead.next(work, 0, 10, frozenset("a"), 1)[:2] == (None, 2)


def test_behind_all_batches_nothing_is_to_be_had() -> None:
    ahead, _, work = ahead_of("a")
    assert ahead.next(work, 2, 9, None, COST_MAX) == (None, 9, 0)
