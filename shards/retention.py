"""Retention: raises the earliest offset of queues whose oldest messages are gone or too old.

Owns the round over all queues, a bounded piece a turn. Knows no disk: the journal drops whole
segments by itself; here that is noticed, and a topic's own, shorter retention is enforced by moving
the earliest offset alone. Each change is a state record, so a replay arrives at the same offsets.
"""

from __future__ import annotations

from shardmq.actors.kernel.ports import Now, QueueLog, Refusal

from .producer_room import ProducerRoom
from .serving import ServedQueue, Serving
from .state.buckets import BUCKET_MASK
from .state.records import EarliestRaised, encode_state

__all__ = ["Retention", "earliest_readable", "earliest_stored"]

ROUND_EVERY_MS = 10_000
"""From the end of one round over all queues to the next."""
PIECE_EVERY_MS = 5
PIECE_QUEUES = 128
"""About half a millisecond of work."""


def earliest_stored(journal: QueueLog, served: ServedQueue) -> int:
    """Offset of the oldest durable message that the journal still has; `visible` if none."""
    visible = served.offsets.visible
    earliest = journal.earliest(served.number)
    return visible if earliest is None else min(earliest, visible)


def earliest_readable(journal: QueueLog, served: ServedQueue) -> int:
    """Where reading may start now: a segment may be gone before the round has come by."""
    return max(served.offsets.earliest, earliest_stored(journal, served))


class Retention:
    """The round over all queues, and over the producers."""

    def __init__(self, journal: QueueLog, serving: Serving, room: ProducerRoom) -> None:
        self._journal = journal
        self._serving = serving
        self._room = room
        self._round: list[int] = []
        """Queues that this round has still to look at."""
        self.wake_at_ms = 0.0

    def turn(self, now: Now) -> None:
        """Do the next piece, if it is due."""
        if now.mono_ms < self.wake_at_ms:
            return
        if self._journal.refusal(0) is Refusal.READ_ONLY:
            self.wake_at_ms = now.mono_ms + ROUND_EVERY_MS
            return
        self._room.expire(now)
        if not self._round:
            # By bucket, so that a piece changes few buckets: each needs a record of its own.
            numbers = self._serving.by_number
            self._round = sorted(numbers, key=lambda number: number & BUCKET_MASK)
        self._raise(self._round[-PIECE_QUEUES:], now)
        del self._round[-PIECE_QUEUES:]
        self.wake_at_ms = now.mono_ms + (PIECE_EVERY_MS if self._round else ROUND_EVERY_MS)

    def _raise(self, numbers: list[int], now: Now) -> None:
        raised: dict[int, list[tuple[int, int]]] = {}
        for number in numbers:
            served = self._serving.by_number.get(number)
            if served is None or served.offsets.earliest >= served.offsets.visible:
                continue
            earliest = self._earliest(served, now)
            if earliest > served.offsets.earliest:
                raised.setdefault(number & BUCKET_MASK, []).append((number, earliest))
        for bucket, offsets in raised.items():
            self._journal.append_state(encode_state(EarliestRaised(offsets)), now, queue=bucket)

    def _earliest(self, served: ServedQueue, now: Now) -> int:
        journal = self._journal
        earliest = earliest_stored(journal, served)
        retention_ms = served.topic.retention_ms
        if retention_ms > 0 and earliest < served.offsets.visible:
            oldest_ms = now.wall_ms - retention_ms
            kept = journal.offset_at_time(served.number, oldest_ms, journal.durable)
            earliest = max(earliest, served.offsets.visible if kept is None else kept)
        return earliest
