"""Queues: the next and the earliest offset of every queue, as a fold over the journal.

Owns the offsets. Knows nothing of topics, of what is served, or of where a batch lies.

    0 ..... earliest ............ visible ........ next
      gone            readable           unsynced

Offsets that a crash took are never given again: a gap, without messages, between two others.

An emptied queue keeps its next offset, so that no offset is ever given twice. `visible` is no
state: it follows the journal's durable position, and after a restart everything is durable.
"""

from __future__ import annotations

from typing import Any, Final

from shardmq.actors.kernel.ports import Record

from ..log.record import BATCH, FLOOR, STATE
from .buckets import BUCKET_MASK, BUCKETS, digest_of
from .records import (
    EARLIEST_RAISED,
    QUEUES_DROPPED,
    EarliestRaised,
    QueuesDropped,
    decode_state,
    tag_of,
)

__all__ = ["CARRIED_QUEUE", "QueueOffsets", "Queues"]

CARRIED_QUEUE: Final = (1 << 32) - 1
"""Number of a queue that belongs to no topic, so that nobody can ask for it: it holds messages that
were appended again because the log in front of them was to go (`carry.py`)."""

_TAGS = (QUEUES_DROPPED, EARLIEST_RAISED)


class QueueOffsets:
    """Offsets of one queue."""

    __slots__ = ("earliest", "gaps", "next", "visible")

    def __init__(self) -> None:
        self.gaps: tuple[tuple[int, int], ...] = ()
        """Offsets without a message above the earliest, each from the first to behind the last."""
        self.earliest = 0
        """Offset of the first message that may be read."""
        self.next = 0
        """Offset of the next message that is appended."""
        self.visible = 0
        """Offset behind the last durable message."""


class Queues:
    """Projection: queue number -> offsets. A queue without any record has none."""

    name = "queues"
    buckets = BUCKETS

    def __init__(self) -> None:
        self._buckets: list[dict[int, QueueOffsets]] = [{} for _ in range(BUCKETS)]

    def at(self, queue: int) -> QueueOffsets:
        """Offsets of `queue`, to be kept by the caller; all 0 if nothing was stored yet."""
        bucket = self._buckets[queue & BUCKET_MASK]
        found = bucket.get(queue)
        if found is None:
            found = bucket[queue] = QueueOffsets()
        return found

    def reveal(self) -> None:
        """Everything is durable: called once, when the journal has been opened."""
        for bucket in self._buckets:
            for offsets in bucket.values():
                offsets.visible = offsets.next

    def stored(self) -> list[int]:
        """Numbers of the queues that have offsets."""
        return [queue for bucket in self._buckets for queue in bucket]

    def bucket_of(self, record: Record) -> int:
        kind = record.kind
        if kind in (BATCH, FLOOR):
            return record.queue & BUCKET_MASK
        if kind == STATE and tag_of(record.payload) in _TAGS:
            return record.queue & BUCKET_MASK
        return -1

    def apply(self, record: Record) -> None:
        kind = record.kind
        if kind == BATCH:
            offsets = self.at(record.queue)
            offsets.next = record.base_offset + record.count
        elif kind == FLOOR:
            # Offsets that a crash may have shown to somebody are not given again. (Without a
            # payload it stands for a damaged batch: that one has messages, though none to read.)
            offsets = self.at(record.queue)
            if record.base_offset > offsets.next:
                if record.payload:
                    offsets.gaps += ((offsets.next, record.base_offset),)
                offsets.next = record.base_offset
        else:
            self._apply_state(record)

    def _apply_state(self, record: Record) -> None:
        state = decode_state(record.payload)
        if isinstance(state, EarliestRaised):
            for queue, earliest in state.offsets:
                offsets = self.at(queue)
                offsets.earliest = max(offsets.earliest, earliest)
                offsets.gaps = tuple(gap for gap in offsets.gaps if gap[1] > offsets.earliest)
            return
        assert isinstance(state, QueuesDropped)
        bucket = self._buckets[record.queue & BUCKET_MASK]
        for queue in state.queues:
            bucket.pop(queue, None)

    def snapshot(self, bucket: int) -> Any:
        rows = [
            [queue, offsets.next, offsets.earliest, *offsets.gaps]
            for queue, offsets in sorted(self._buckets[bucket].items())
            if offsets.next or offsets.earliest
        ]
        return rows or None

    def restore(self, bucket: int, state: Any) -> None:
        offsets_of = self._buckets[bucket] = {}
        for queue, next_offset, earliest, *gaps in state:
            offsets = offsets_of[queue] = QueueOffsets()
            offsets.next = next_offset
            offsets.earliest = earliest
            offsets.gaps = tuple((start, stop) for start, stop in gaps)

    def digest(self) -> int:
        return digest_of(self)
