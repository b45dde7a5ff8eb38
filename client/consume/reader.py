"""Reader: hands out what a fetcher holds, message by message or in lists. Pure.

An iteration holds one opened batch; whatever else the user asks for first gives the rest of it
back, so that a seek or a pause in the middle of a loop acts on the very next message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from shardmq.actors.kernel.ports import Now

from ..errors import InvalidArgument
from ..received import ReceivedMessage, place_of
from .cursor import Cursor, Item
from .fetcher import Fetcher

__all__ = ["Batch", "Reader"]


class Batch:
    """The opened batch of an iteration; `messages` goes on where it stopped."""

    __slots__ = ("item", "messages")

    def __init__(self, item: Item) -> None:
        self.item = item
        messages: Any = iter(item.messages)
        messages.__setstate__(item.start)
        self.messages: Iterator[ReceivedMessage] = messages

    @property
    def left(self) -> int:
        hint: Any = self.messages
        return int(hint.__length_hint__())

    @property
    def in_hand(self) -> int:
        """Offset of the message that was handed out last, or before which none was."""
        messages = self.item.messages
        last = len(messages) - self.left - 1
        return place_of(messages[last]) if last >= 0 else self.item.position()


class Reader:
    """What one consumer has taken from its fetcher."""

    def __init__(self, fetcher: Fetcher) -> None:
        self.fetcher = fetcher
        self.current: Batch | None = None
        self.touched: set[Cursor] = set()
        """Queues of which something was handed out; whoever commits clears it."""

    def collect(self, messages_max: int, now: Now) -> list[ReceivedMessage]:
        """Up to `messages_max` messages that are there. Raises as `Fetcher.next_item`."""
        fetcher = self.fetcher
        messages: list[ReceivedMessage] = []
        while len(messages) < messages_max:
            item = fetcher.next_item(now, more=bool(messages))
            if item is None:
                break
            self.touched.add(item.cursor)
            end = item.start + messages_max - len(messages)
            messages += item.messages[item.start : end]
            if end < len(item.messages):
                fetcher.give_back(item, end)
            else:
                fetcher.done(item, now)
        return messages

    def begin(self, now: Now) -> Batch | None:
        """The next batch, to be iterated; `finish` follows if nobody interrupted."""
        item = self.fetcher.next_item(now)
        if item is None:
            return None
        self.touched.add(item.cursor)
        self.current = Batch(item)
        return self.current

    def finish(self, batch: Batch, now: Now) -> None:
        """All of the batch was delivered."""
        self.current = None
        self.fetcher.done(batch.item, now)

    def give_back(self) -> None:
        """What an interrupted iteration did not deliver comes next again."""
        batch, self.current = self.current, None
        if batch is not None:
            self.fetcher.give_back(batch.item, len(batch.item.messages) - batch.left)

    def abandon(self) -> None:
        """The rest of an interrupted iteration is not delivered at all."""
        batch, self.current = self.current, None
        if batch is not None:
            self.fetcher.buffer.free(batch.item)

    def seek(self, cursor: Cursor, offset: int, now: Now) -> None:
        """The next message of this queue is the one at `offset`, also if it was done before."""
        self.seek_all([(cursor, offset)], now)

    def seek_all(self, places: Sequence[tuple[Cursor, int]], now: Now) -> None:
        """`seek` for several queues."""
        for cursor, _ in places:
            if cursor.selection is not None:
                cursor.selection.again()
            self.touched.add(cursor)
        self.fetcher.seek_all(places, now)

    def position(self, cursor: Cursor) -> int:
        """Offset of the next message of the queue to be delivered."""
        batch = self.current
        if batch is None or batch.item.cursor is not cursor:
            return cursor.position
        left = batch.left
        return place_of(batch.item.messages[-left]) if left else batch.item.next_offset

    def cursor(self, topic: str, queue_id: int) -> Cursor:
        """Raises InvalidArgument if the queue is not assigned."""
        if not isinstance(queue_id, int):
            raise InvalidArgument(f"a queue_id is a number from 0 on, not {queue_id!r}")
        if not isinstance(topic, str):
            raise InvalidArgument(f"a topic is named by a string, not {topic!r}")
        cursor = self.fetcher.cursor(topic, queue_id)
        if cursor is None:
            raise InvalidArgument(f"queue {queue_id!r} of {topic!r} is not assigned")
        return cursor

    def cursors(self, topic: str, queue_id: int | None) -> list[Cursor]:
        """One queue, or all assigned ones of a topic. Raises InvalidArgument if there is none."""
        if queue_id is not None:
            return [self.cursor(topic, queue_id)]
        cursors = [cursor for cursor in self.fetcher.cursors() if cursor.topic == topic]
        if not cursors:
            raise InvalidArgument(f"no queue of {topic!r} is assigned")
        return cursors
