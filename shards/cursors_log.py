"""The log of cursors: the one door through which grants and acks enter the journal.

Owns when nothing is taken, and when an answer about cursors may leave. Knows no verb.

An answer leaves once every record about cursors that was written before it is durable, also if it
wrote none itself: it may be the repetition of a request whose record is still on its way to the
disk, or tell somebody of a cursor that a power cut could still set back.

A full disk refuses none of this: acks are what lets old messages go (`log/space.py`).
"""

from __future__ import annotations

from shardmq.actors.kernel.ports import Letter, Now, QueueLog, Refusal
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.messages import Header

from .append import HELD_MAX, NoRoom
from .durability import Durability
from .requests import Request
from .state.records import StateRecord, encode_state

__all__ = ["CursorLog"]

_BUSY = NoRoom(Code.BUSY, "the disk is behind with syncing", 20)
_READ_ONLY = NoRoom(Code.READ_ONLY, "the shard is read-only: its log is damaged", 10_000)


class CursorLog:
    """Appends records about cursors."""

    def __init__(self, journal: QueueLog, durability: Durability) -> None:
        self._journal = journal
        self._durability = durability
        self._lsn = 0
        """Behind the last record."""

    def no_room(self) -> NoRoom | None:
        """Why nothing is taken now."""
        refusal = self._journal.refusal(0)
        if refusal is Refusal.READ_ONLY:
            return _READ_ONLY
        if refusal is Refusal.BUSY or self._durability.held >= HELD_MAX:
            return _BUSY
        return None

    def refused(self, request: Request) -> Letter | None:
        """The answer to `request` if nothing is taken now."""
        why = self.no_room()
        if why is None:
            return None
        return request.refuse(why.code, why.message, retry_after_ms=why.retry_after_ms)

    def append(self, record: StateRecord, bucket: int, now: Now) -> None:
        """Write one decision about queues of `bucket`."""
        self._journal.append_state(encode_state(record), now, queue=bucket)
        self._lsn = self._journal.end

    def answer(self, request: Request, header: Header, out: list[Letter]) -> None:
        """Answer `request` as soon as all that is known here is durable."""
        letter = request.answer(header)
        if self._lsn > self._journal.durable:
            self._durability.hold(self._lsn, letter)
        else:
            out.append(letter)
