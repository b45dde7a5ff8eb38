"""Append: the one door through which batches enter the journal.

Owns the refusals that do not depend on the batch (no room on the disk, none in the table of
producers) and what must be noted for every batch. Knows no request.
"""

from __future__ import annotations

from typing import NamedTuple

from shardmq.actors.kernel.ports import Now, QueueLog, Record, Refusal
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.messages import ProduceResult

from .durability import Durability
from .producer_room import ProducerRoom
from .serving import ServedQueue

__all__ = ["Appender", "NoRoom", "no_room_for", "no_room_to_finish"]


class NoRoom(NamedTuple):
    """Why nothing is taken just now."""

    code: Code
    message: str
    retry_after_ms: int


_NO_ROOM = {
    Refusal.BUSY: NoRoom(Code.BUSY, "the disk is behind with syncing", 20),
    Refusal.DISK_FULL: NoRoom(Code.DISK_FULL, "the disk has no room for messages", 1_000),
    Refusal.READ_ONLY: NoRoom(Code.READ_ONLY, "the shard is read-only: its log is damaged", 10_000),
}
"""A sync takes milliseconds, a full disk seconds at least, an operator's decision longer."""
HELD_MAX = 65_536
"""Replies that wait for the disk: lone messages fill the memory with them before their own bytes
are at the journal's bound."""
_PRODUCERS_FULL = NoRoom(Code.BUSY, "too many producers wrote in the last minutes", 5_000)


def no_room_for(journal: QueueLog, size: int) -> NoRoom | None:
    """Why so many bytes of user data are not taken now, as far as the journal goes."""
    refusal = journal.refusal(size)
    return None if refusal is None else _NO_ROOM[refusal]


def no_room_to_finish(journal: QueueLog, size: int) -> NoRoom | None:
    """The same of data that lets older data go."""
    refusal = journal.refusal_to_finish(size)
    return None if refusal is None else _NO_ROOM[refusal]


class Appender:
    """Appends checked batches."""

    def __init__(self, journal: QueueLog, durability: Durability, room: ProducerRoom) -> None:
        self._journal = journal
        self._durability = durability
        self._room = room
        self.batches = 0
        self.bytes = 0

    def no_room(self, batch_bytes: int, new_producers: int, now: Now) -> NoRoom | None:
        """Why so many bytes are not taken now; `new_producers` counts the (producer, queue) pairs
        among them that the table does not know."""
        no_room = no_room_for(self._journal, batch_bytes)
        if no_room is not None:
            return no_room
        if self._durability.held >= HELD_MAX:
            return _NO_ROOM[Refusal.BUSY]
        if new_producers and not self._room.make(new_producers, now):
            return _PRODUCERS_FULL
        return None

    def append(
        self, served: ServedQueue, batch: bytes, count: int, now: Now
    ) -> tuple[ProduceResult, int]:
        """The receipt of a batch for which there is room, and the lsn that has to be durable."""
        base_offset = served.offsets.next
        record = self._append(served, base_offset, batch, count, now)
        self.batches += 1
        self.bytes += len(batch)
        receipt = ProduceResult(
            queue=served.number, base_offset=base_offset, stored_at_ms=record.stored_at_ms
        )
        return receipt, self._journal.end

    def append_own(self, served: ServedQueue, batch: bytes, count: int, now: Now) -> int:
        """The position of a batch that is the shard's own matter, for which there is room."""
        return self._append(served, served.offsets.next, batch, count, now).lsn

    def _append(
        self, served: ServedQueue, base_offset: int, batch: bytes, count: int, now: Now
    ) -> Record:
        record = self._journal.append_batch(served.number, base_offset, batch, now)
        self._durability.appended(self._journal.end, served, base_offset + count)
        return record
