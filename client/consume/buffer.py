"""Buffer: batches that came and wait for the user, and how much they hold. Pure."""

from __future__ import annotations

from collections import deque

from .cursor import Cursor, Item

__all__ = ["Buffer"]


class Buffer:
    """In order of arrival. What it holds counts until `free`, also after it was taken out."""

    def __init__(self, bytes_max: int, messages_max: int) -> None:
        self.items: deque[Item] = deque()
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
        self.items.append(item)

    def free(self, item: Item) -> None:
        """There is room again for what `item` held."""
        self._held_bytes -= item.size
        self._held_messages -= item.count
        item.size = item.count = 0

    def drop(self, cursor: Cursor) -> None:
        """Drops what waits of one queue."""
        kept: deque[Item] = deque()
        for item in self.items:
            if item.cursor is cursor:
                self.free(item)
            else:
                kept.append(item)
        self.items = kept

    def holds(self, cursor: Cursor) -> bool:
        return any(item.cursor is cursor for item in self.items)
