"""Tracker: what of one queue is done, as a floor and ranges above it. Pure values.

Everything below the floor is done; the ranges above it are disjoint, ascending and do not touch.
What nobody wanted (messages that the subscription does not select, gaps) counts as done as soon as
it was passed, so a queue that is read to its end has its floor there and no ranges.

    version           changes so far
    swept version     changes when the sweep began that is under way
    durable version   changes that the shard has on disk

More ranges than a request has room for are told in pieces, upwards, each once the shard has the one
before: a sweep. Only its last piece makes durable what was done when the sweep began; what changed
below meanwhile is for the next sweep.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from shardmq.actors.protocol.group_messages import AckQueue, Range

__all__ = ["Piece", "Tracker"]


class Piece(NamedTuple):
    """What one request tells of a queue."""

    message: AckQueue
    version: int
    """Durable with the last piece."""
    is_last: bool


class Tracker:
    """Of one queue, under one grant."""

    __slots__ = (
        "_ends", "_starts", "_swept_end", "_swept_version", "durable_version", "floor",
        "generation", "is_gone", "name", "named_at", "queue", "shard", "version",
    )  # fmt: skip

    def __init__(
        self,
        queue: int,
        shard: int,
        generation: int,
        floor: int,
        ranges: Iterable[Range] = (),
        *,
        name: str = "",
    ) -> None:
        self.queue = queue
        self.shard = shard
        self.generation = generation
        self.name = name
        """For people."""
        self.is_gone = False
        """The grant is over: nobody wants to hear of it."""
        self.floor = floor
        self.version = 0
        self.durable_version = 0
        self.named_at = 0
        """When it was told last, by the count of its teller: who waited longest goes first."""
        self._swept_version = 0
        self._swept_end = 0
        """The shard has the ranges below; 0: no sweep is under way."""
        self._starts: list[int] = []
        self._ends: list[int] = []
        for first, end in ranges:
            self._add(first, end)

    @property
    def is_dirty(self) -> bool:
        """True if the shard does not know everything yet."""
        return self.version != self.durable_version

    @property
    def ranges(self) -> list[Range]:
        """Done, above the floor."""
        return list(zip(self._starts, self._ends, strict=True))

    def add(self, first: int, end: int) -> None:
        """The offsets from `first` up to, but without, `end` are done."""
        if end > self.floor and first < end and self._add(first, end):
            self.version += 1

    def piece(self, ranges_max: int) -> Piece:
        """The next piece, of at most so many ranges; `told` follows if the shard has it."""
        starts, ends = self._starts, self._ends
        if not self._swept_end:
            self._swept_version = self.version
        first = bisect_right(ends, self._swept_end)
        end = first + ranges_max
        message = AckQueue(
            queue=self.queue,
            generation=self.generation,
            floor=self.floor,
            ranges=list(zip(starts[first:end], ends[first:end], strict=True)),
        )
        return Piece(message, self._swept_version, end >= len(starts))

    def told(self, piece: Piece) -> None:
        """The shard has a piece on disk."""
        if piece.is_last:
            self.durable_version, self._swept_end = piece.version, 0
        elif piece.message.ranges:
            self._swept_end = piece.message.ranges[-1][1]

    def _add(self, first: int, end: int) -> bool:
        if first <= self.floor:
            starts, ends = self._starts, self._ends
            self.floor = max(self.floor, end)
            passed = bisect_right(starts, self.floor)
            if passed:
                self.floor = max(self.floor, ends[passed - 1])
                del starts[:passed], ends[:passed]
            return True
        return self._add_range(first, end)

    def _add_range(self, first: int, end: int) -> bool:
        """Joins with every range that it overlaps or touches."""
        starts, ends = self._starts, self._ends
        low = bisect_left(ends, first)
        high = bisect_right(starts, end)
        if low < high:
            if starts[low] <= first and end <= ends[low]:
                return False
            first, end = min(first, starts[low]), max(end, ends[high - 1])
        starts[low:high] = [first]
        ends[low:high] = [end]
        return True
