"""NACK: messages that failed come again later, or become dead letters.

Owns the verb, and which of the two it is. How either is written down stands in `scheduling.py`, how
a message comes again in `release.py`.

An offset that is done with already is passed over: a NACK may be sent again at will, and what two
NACKs name is scheduled once. A NACK is refused where user data is: it asks for a copy later.

The attempt of a message is 1, unless it is itself a copy in a retry queue, which says it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from shardmq.actors.kernel.ports import Letter, Now, QueueLog
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import (
    Nack,
    NackMessage,
    NackQueue,
    NackReply,
    NackResult,
)
from shardmq.actors.protocol.limits import ATTEMPTS_MAX, DELAY_MS_MAX
from shardmq.actors.protocol.retries import retry_delay_ms

from .acks import done_now, fault_of_grant
from .cursors_log import CursorLog
from .requests import Request, why_not_queues
from .scheduling import Refused, Scheduling, Sources
from .serving import ServedQueue, Serving
from .state.cursors import Cursor, Cursors
from .state.ranges import Bounds, holds
from .state.records import ScheduledEntry

__all__ = ["Nacking"]


class _Asked(NamedTuple):
    """One queue of a NACK whose grant is in force."""

    max_attempts: int
    served: ServedQueue
    cursor: Cursor


class Nacking:
    """The verb NACK."""

    def __init__(
        self, journal: QueueLog, serving: Serving, cursors: Cursors, scheduling: Scheduling,
        log: CursorLog,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._serving = serving
        self._cursors = cursors
        self._scheduling = scheduling
        self._log = log
        self._fenced = 0

    def stats(self) -> dict[str, Any]:
        """Figures for the verb STATS."""
        return {
            "messages_retried": self._scheduling.retried,
            "dead_letters": self._scheduling.dead,
            "nacks_fenced": self._fenced,
        }

    def handle(self, request: Request, header: Nack, now: Now, out: list[Letter]) -> None:
        """Take one NACK; the reply leaves once it is durable."""
        items = header.queues
        fault = why_not_queues("NACK", len(items), len({item.queue for item in items}))
        if fault is not None:
            out.append(request.refuse(Code.BAD_REQUEST, fault))
            return
        refused = self._log.refused(request)
        if refused is not None:
            out.append(refused)
            return
        results = []
        for item in items:
            try:
                results.append(self._one(header, item, now))
            except Refused as error:
                result = NackResult(queue=item.queue, code=error.code, message=str(error))
                results.append(result)
        self._log.answer(request, NackReply(queues=results), out)

    def _one(self, header: Nack, item: NackQueue, now: Now) -> NackResult:
        asked = self._asked(header, item)
        floor, acked = done_now(self._journal, asked.served, asked.cursor)
        wanted = self._not_done(item, asked.served, floor, acked)
        sources = Sources(self._journal, asked.served)
        retried: list[ScheduledEntry] = []
        dead: list[ScheduledEntry] = []
        for message in wanted:
            lsn = sources.lsn_of(message.offset)
            if lsn is None:
                continue
            attempt = sources.attempt_of(message.offset)
            if message.dead or attempt >= asked.max_attempts:
                dead.append(_entry(message, lsn, 0, attempt, message.detail))
            else:
                delay_ms = message.delay_ms
                delay_ms = retry_delay_ms(attempt) if delay_ms is None else delay_ms
                due_ms = now.wall_ms + delay_ms
                retried.append(_entry(message, lsn, due_ms, attempt + 1, ""))
        self._scheduling.decide(header.group_id, asked.served, asked.cursor, retried, dead, now)
        return NackResult(queue=item.queue, dead=[entry.offset for entry in dead])

    def _asked(self, header: Nack, item: NackQueue) -> _Asked:
        served = self._serving.by_number.get(item.queue)
        if served is None:
            raise Refused(Code.STALE_ROUTE, f"queue {item.queue} is not on this shard")
        cursor = self._cursors.get(header.group_id, item.queue)
        fault = fault_of_grant(cursor, item.generation)
        if cursor is None or fault is not None:
            self._fenced += 1
            raise Refused(Code.FENCED, str(fault))
        return _Asked(min(header.max_attempts, ATTEMPTS_MAX), served, cursor)

    def _not_done(
        self, item: NackQueue, served: ServedQueue, floor: int, acked: Bounds
    ) -> list[NackMessage]:
        """The messages that are not done with, each once, by offset."""
        visible = served.offsets.visible
        wanted: dict[int, NackMessage] = {}
        for message in item.messages:
            if message.offset >= visible:
                text = f"offset {message.offset} was not delivered: the queue ends at {visible}"
                raise Refused(Code.INVALID_ARGUMENT, text)
            if (message.delay_ms or 0) > DELAY_MS_MAX:
                text = f"a delay has at most {DELAY_MS_MAX} ms, not {message.delay_ms}"
                raise Refused(Code.INVALID_ARGUMENT, text)
            if message.offset >= floor and not holds(acked, message.offset):
                wanted.setdefault(message.offset, message)
        return [wanted[offset] for offset in sorted(wanted)]


def _entry(
    message: NackMessage, lsn: int, due_ms: int, attempt: int, detail: str
) -> ScheduledEntry:
    return ScheduledEntry(message.offset, lsn, due_ms, attempt, message.cause, detail)
