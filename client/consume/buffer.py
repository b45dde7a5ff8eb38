"""Buffer: batches that came and wait for the user, and how much they hold. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from .cursor import Cursor, Item

__all__ = ["Buffer"]


class Buffer:
    """In order of arrival. What it holds counts until `free`, also after it was taken out."""

    def __init__(self, bytes_max: int, messages_max: int) -> None:
        self.items: deque[Item] = deque()
        """To be looked at; only the methods change it."""
        self._waiting: Counter[Cursor] = Counter()
        """Items of each queue."""
        self._bytes_max = bytes_max
        self._messages_max = messages_max
        self._held_bytes = 0
        self._held_messages = 0

    @property
    def has_room(self) -> bool:
        return self._held_bytes < self._bytes_max and self._held_messages < self._messages_max

    def put(self, item: Item) -> None:
        self._held_bytes += item.size
        self._held_messages += item.count
        self._waiting[item.cursor] += 1
        self.items.append(item)

    def take(self, index: int) -> Item:
        """Takes an item out; it counts on."""
        item = self.items[index]
        del self.items[index]
        self._waiting[item.cursor] -= 1
        if not self._waiting[item.cursor]:
            del self._waiting[item.cursor]
        return item

    def put_back(self, item: Item) -> None:
        """What was taken out, and not freed, comes first again."""
        self._waiting[item.cursor] += 1
        self.items.appendleft(item)

    def free(self, item: Item) -> None:
        """There is room again for what `item` held."""
        self._held_bytes -= item.size
        self._held_messages -= item.count
        item.size = item.count = 0

    def drop(self, cursor: Cursor) -> None:
        """Drops what waits of one queue."""
        self.drop_all((cursor,))

    def drop_all(self, cursors: Iterable[Cursor]) -> None:
        """Drops what waits of some queues, in one walk over what is there."""
        dropped = {cursor for cursor in cursors if self.holds(cursor)}
        if not dropped:
            return
        kept: deque[Item] = deque()
        for item in self.items:
            if item.cursor in dropped:
                self.free(item)
            else:
                kept.append(item)
        self.items = kept
        for cursor in dropped:
            del self._waiting[cursor]

    def holds(self, cursor: Cursor) -> bool:
        return cursor in self._waiting

    def clear(self) -> None:
        """Forgets what waits."""
        self.items.clear()
        self._waiting.clear()
