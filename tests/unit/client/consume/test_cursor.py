"""Cursor and Item: what stops a queue, and where an item stands."""

from __future__ import annotations

from shardmq.actors.protocol.messages import QueueRoute
from shardmq.client.consume.cursor import Cursor, Item


def cursor() -> Cursor:
    return Cursor("t", QueueRoute(queue_id=0, number=1, shard=0), 7)


def test_a_queue_wants_more_unless_something_stops_it() -> None:
    assert cursor().wants_more
    for name, value in (("paused", True), ("stale", True), ("fault", ValueError("x"))):
        stopped = cursor()
        setattr(stopped, name, value)
        assert not stopped.wants_more, name


def test_an_item_without_messages_stands_at_its_end() -> None:
    item = Item(cursor(), 12, error=ValueError("damaged"))
    item.open()
    item.start = 0
    assert item.position() == 12
