"""Faults name the place, and what can be done."""

from __future__ import annotations

from shardmq.actors.protocol.messages import FetchResult, QueueRoute
from shardmq.client.consume.cursor import Cursor
from shardmq.client.consume.faults import damaged, out_of_range

CURSOR = Cursor("t", QueueRoute(queue_id=3, number=9, shard=0), 7)


def test_an_offset_out_of_range_says_what_is_there() -> None:
    error = out_of_range(CURSOR, FetchResult(queue=9, earliest=10, latest=20))
    assert (error.topic, error.queue_id, error.offset) == ("t", 3, 7)
    assert (error.earliest, error.latest) == (10, 20)
    assert "10 to 20" in str(error)


def test_a_damaged_record_says_where_reading_goes_on() -> None:
    error = damaged(CURSOR, 7, 9, "no checksum fits")
    assert (error.offset, error.next_offset) == (7, 9)
    assert "offset 9" in error.hint
