"""NACK: messages that failed come again later, or become dead letters.

Owns the verb, and which of the two it is. How either is written down stands in `scheduling.py`, how
a message comes again in `release.py`.

An offset that is done with already is passed over: a NACK may be sent again at will, and what two
NACKs name is scheduled once. A NACK is refused where user data is: it asks for a copy later.

The attempt of a message is 1, unless it is itself a copy in a retry queue, which says it, or its
member has tried it several times before it says so, and counts them.
"""

from __future__ import annotations

from typing import Any

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
from shardmq.actors.protocol.retries import HISTORY_CAUSE_CHARS, HISTORY_MAX, retry_delay_ms

from .acks import done_now
from .cursors_log import CursorLog
from .granted import GrantedQueues, Refused
from .requests import Request, why_not_queues
from .scheduling import Scheduling, Sources
from .serving import ServedQueue, Serving
from .state.cursors import Cursors
from .state.ranges import Bounds, holds
from .state.records import ScheduledEntry

__all__ = ["Nacking"]


class Nacking:
    """The verb NACK."""

    def __init__(
        self, journal: QueueLog, serving: Serving, cursors: Cursors, scheduling: Scheduling,
        log: CursorLog,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._granted = GrantedQueues(serving, cursors)
        self._scheduling = scheduling
        self._log = log

    def stats(self) -> dict[str, Any]:
        """Figures for the verb STATS."""
        return {
            "messages_retried": self._scheduling.retried,
            "dead_letters": self._scheduling.dead,
            "nacks_fenced": self._granted.fenced,
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
        served, cursor = self._granted.of(header.group_id, item.queue, item.generation)
        max_attempts = min(header.max_attempts, ATTEMPTS_MAX)
        wanted = _not_done(item, served, *done_now(self._journal, served, cursor))
        sources = Sources(self._journal, served)
        retried: list[ScheduledEntry] = []
        dead: list[ScheduledEntry] = []
        for message in wanted:
            lsn = sources.lsn_of(message.offset)
            if lsn is None:
                continue
            attempt = max(message.attempt, sources.attempt_of(message.offset))
            if message.dead or attempt >= max_attempts:
                dead.append(_entry(message, lsn, 0, attempt, message.detail))
            else:
                delay_ms = message.delay_ms
                delay_ms = retry_delay_ms(attempt) if delay_ms is None else delay_ms
                due_ms = now.wall_ms + delay_ms
                retried.append(_entry(message, lsn, due_ms, attempt + 1, ""))
        self._scheduling.decide(header.group_id, served, cursor, retried, dead, now)
        return NackResult(queue=item.queue, dead=[entry.offset for entry in dead])


def _not_done(item: NackQueue, served: ServedQueue, floor: int, acked: Bounds) -> list[NackMessage]:
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
    earlier = tuple(
        (failed, at_ms, cause[:HISTORY_CAUSE_CHARS])
        for failed, at_ms, cause in message.earlier[1 - HISTORY_MAX :]
    )
    return ScheduledEntry(message.offset, lsn, due_ms, attempt, message.cause, detail, earlier)
