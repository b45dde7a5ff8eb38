"""Durability: replies and offsets in the order of the log."""

from __future__ import annotations

from shardmq.shards.durability import Durability
from shardmq.shards.serving import ServedQueue
from shardmq.shards.state.queues import QueueOffsets


def letter(name: str) -> tuple[str, bytes, list[bytes]]:
    return (name, b"", [])


def test_replies_leave_when_the_log_has_passed_them() -> None:
    durability = Durability()
    durability.hold(100, letter("a"))
    durability.hold(200, letter("b"))
    assert durability.advance(99) == ([], [])
    assert durability.advance(199) == ([letter("a")], [])
    assert durability.held == 1
    assert durability.advance(200) == ([letter("b")], [])


def test_a_reply_that_needs_less_waits_behind_those_before_it() -> None:
    durability = Durability()
    durability.hold(200, letter("new"))
    durability.hold(100, letter("again"))
    assert durability.advance(150) == ([], [])
    assert durability.advance(200)[0] == [letter("new"), letter("again")]


def test_a_queue_with_many_batches_has_news_once() -> None:
    durability = Durability()
    one, two = ServedQueue(1, QueueOffsets()), ServedQueue(2, QueueOffsets())
    for lsn, queue, following in ((10, one, 1), (20, two, 1), (30, one, 2), (40, one, 3)):
        durability.appended(lsn, queue, following)
    assert durability.advance(30) == ([], [one, two])
    assert (one.offsets.visible, two.offsets.visible) == (2, 1)
    assert durability.advance(40) == ([], [one])
    assert one.offsets.visible == 3
