"""Buffer: what is held counts until it is freed, also after it was taken out."""

from __future__ import annotations

from shardmq.actors.protocol.messages import QueueRoute
from shardmq.client.consume.buffer import Buffer
from shardmq.client.consume.cursor import Cursor, Item


def cursor(queue_id: int) -> Cursor:
    return Cursor("t", QueueRoute(queue_id=queue_id, number=queue_id + 1, shard=0), 0)


def test_bytes_or_messages_fill_it() -> None:
    buffer = Buffer(10, 3)
    buffer.put(Item(cursor(0), 1, size=9, count=1))
    assert buffer.has_room
    buffer.put(Item(cursor(0), 2, size=1, count=1))
    assert not buffer.has_room
    many = Buffer(10, 3)
    many.put(Item(cursor(0), 3, size=1, count=3))
    assert not many.has_room


def test_what_was_taken_out_counts_until_it_is_freed_once() -> None:
    buffer = Buffer(10, 3)
    item = Item(cursor(0), 1, size=10, count=1)
    buffer.put(item)
    buffer.take(0)
    assert not buffer.has_room
    buffer.free(item)
    buffer.free(item)
    assert buffer.has_room
    buffer.put(Item(cursor(0), 1, size=9, count=1))
    assert buffer.has_room


def test_one_queue_is_dropped_and_the_order_of_the_others_stays() -> None:
    buffer = Buffer(10, 9)
    first, second = cursor(0), cursor(1)
    for index, owner in enumerate((first, second, first, second)):
        buffer.put(Item(owner, index, size=2, count=1))
    buffer.drop(first)
    assert [item.next_offset for item in buffer.items] == [1, 3]
    assert (buffer.holds(first), buffer.holds(second)) == (False, True)
    buffer.put(Item(second, 9, size=6, count=1))
    assert not buffer.has_room


def test_a_queue_is_held_while_one_of_its_batches_waits() -> None:
    buffer = Buffer(100, 9)
    owner = cursor(0)
    for index in range(2):
        buffer.put(Item(owner, index, size=2, count=1))
    first = buffer.take(0)
    assert buffer.holds(owner)
    second = buffer.take(0)
    assert not buffer.holds(owner)
    buffer.put_back(second)
    buffer.put_back(first)
    assert [item.next_offset for item in buffer.items] == [0, 1]
    buffer.clear()
    assert not buffer.holds(owner)


def test_several_queues_are_dropped_in_one_walk() -> None:
    buffer = Buffer(100, 9)
    owners = [cursor(number) for number in range(3)]
    for owner in owners * 2:
        buffer.put(Item(owner, 0, size=2, count=1))
    buffer.drop_all(owners[:2])
    assert [item.cursor for item in buffer.items] == [owners[2]] * 2
    assert [buffer.holds(owner) for owner in owners] == [False, False, True]
