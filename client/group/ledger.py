"""Ledgers: what of a queue is in work, batch by batch. Pure values."""

from __future__ import annotations

from ..consume.cursor import Item
from ..received import ReceivedMessage, place_of
from .core import Holding

__all__ = ["Ledger", "Open", "Segment"]


class Ledger:
    """What of one held queue is in work."""

    __slots__ = ("dealt", "holding", "is_gone", "is_stopping", "open")

    def __init__(self, holding: Holding, dealt: int) -> None:
        self.holding = holding
        self.dealt = dealt
        """All below was dealt, or passed."""
        self.open = 0
        """Batches with messages that are not done."""
        self.is_stopping = False
        self.is_gone = False


class Open:
    """One fetched batch until all of its messages are done."""

    __slots__ = ("item", "ledger", "left")

    def __init__(self, item: Item, ledger: Ledger) -> None:
        self.item = item
        self.ledger = ledger
        self.left = len(item.messages)


class Segment:
    """Messages of one batch that wait for a worker, and the offsets that they cover."""

    __slots__ = ("batch", "end", "first", "messages", "start")

    def __init__(
        self, batch: Open, messages: list[ReceivedMessage], first: int, end: int, start: int = 0
    ) -> None:
        self.batch = batch
        self.messages = messages
        self.first = first
        self.end = end
        self.start = start
        """Index of the first message that waits."""

    def cut(self, count: int) -> Segment:
        """At most so many of the messages that wait, which then do not wait here any more."""
        start, stop, first = self.start, self.start + count, self.first
        self.start = stop = min(stop, len(self.messages))
        self.first = place_of(self.messages[stop]) if stop < len(self.messages) else self.end
        return Segment(self.batch, self.messages[start:stop], first, self.first)

    def __len__(self) -> int:
        return len(self.messages) - self.start
