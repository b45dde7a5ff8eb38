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

from .append import HELD_MAX
from .durability import Durability
from .requests import Request
from .state.records import StateRecord, encode_state

__all__ = ["CursorLog"]

BUSY_RETRY_MS = 20
READ_ONLY_RETRY_MS = 10_000


class CursorLog:
    """Appends records about cursors."""

    def __init__(self, journal: QueueLog, durability: Durability) -> None:
        self._journal = journal
        self._durability = durability
        self._lsn = 0
        """Behind the last record."""

    def refused(self, request: Request) -> Letter | None:
        """The answer to `request` if nothing is taken now."""
        refusal = self._journal.refusal(0)
        if refusal is Refusal.READ_ONLY:
            text = "the shard is read-only: its log is damaged"
            return request.refuse(Code.READ_ONLY, text, retry_after_ms=READ_ONLY_RETRY_MS)
        if refusal is Refusal.BUSY or self._durability.held >= HELD_MAX:
            text = "the disk is behind with syncing"
            return request.refuse(Code.BUSY, text, retry_after_ms=BUSY_RETRY_MS)
        return None

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
