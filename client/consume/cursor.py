"""Cursors: where a consumer stands in each queue, and what it holds of it. Pure values."""

from __future__ import annotations

from typing import Any

from shardmq.actors.protocol.messages import QueueRoute

from ..received import Delivery, ReceivedMessage, messages_of, place_of
from .selection import Selection

__all__ = ["Cursor", "Item"]


class Cursor:
    """One assigned queue."""

    __slots__ = (
        "fault", "fetch_offset", "generation", "paused", "position", "queue", "selection",
        "stale", "stopped", "topic",
    )  # fmt: skip

    def __init__(
        self,
        topic: str,
        queue: QueueRoute,
        position: int,
        *,
        generation: int = 0,
        selection: Selection | None = None,
    ) -> None:
        self.topic = topic
        self.queue = queue
        self.position = position
        """Offset of the next message to deliver."""
        self.fetch_offset = position
        """Offset of the next message to ask for; what lies between is held."""
        self.generation = generation
        """Of the grant by which a group reads it, else 0."""
        self.selection = selection
        """What of it is delivered; None: everything."""
        self.paused = False
        self.stopped = False
        """It is about to be somebody else's: nothing more of it is delivered."""
        self.stale = False
        """The shard does not know the queue any more: a new route is being asked for."""
        self.fault: Exception | None = None
        """Reading stopped until the next seek."""

    @property
    def wants_more(self) -> bool:
        return not (self.paused or self.stale or self.stopped or self.fault is not None)

    @property
    def place(self) -> tuple[int, int]:
        """Where it reads on, and what allows it to."""
        return self.fetch_offset, self.generation


class Item:
    """One batch of a queue as it waits for the user, or what went wrong at its place."""

    __slots__ = (
        "count", "cursor", "delivery", "error", "messages", "next_offset", "number", "size",
        "start",
    )  # fmt: skip

    def __init__(
        self,
        cursor: Cursor,
        next_offset: int,
        *,
        delivery: Delivery | None = None,
        error: Exception | None = None,
        start_offset: int = 0,
        size: int = 0,
        count: int = 0,
    ) -> None:
        self.cursor = cursor
        self.number = cursor.queue.number
        """Of the queue that it came from: the cursor may have moved on to another one since."""
        self.delivery = delivery
        self.error = error
        self.messages: list[ReceivedMessage] = []
        self.start: Any = start_offset
        """Before `open` an offset, then an index into `messages`."""
        self.next_offset = next_offset
        self.size = size
        """Bytes that it holds of the buffer."""
        self.count = count
        """Messages that it holds of the buffer."""

    def open(self) -> None:
        """Makes the message objects, once.

        Raises:
            BatchError: the batch is malformed in spite of its checksum.
        """
        if self.delivery is not None:
            delivery, self.delivery = self.delivery, None
            self.messages = messages_of(delivery, self.start)
            if self.cursor.selection is not None:
                self.messages = self.cursor.selection.of(delivery, self.messages)
            self.start = 0

    @property
    def is_current(self) -> bool:
        """False once its topic was deleted and created again: its offsets mean nothing there."""
        return self.number == self.cursor.queue.number

    def position(self) -> int:
        """Offset of its first message that is not delivered."""
        start: int = self.start
        return place_of(self.messages[start]) if start < len(self.messages) else self.next_offset
