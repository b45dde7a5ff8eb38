"""NACK: messages that failed come again later, or become dead letters.

Owns the verb, and which of the two it is. How a message comes again stands in `release.py`.

One SCHEDULED record is the whole decision: it acks the offset in the cursor and makes the entry
that will copy the message, so a crash at any point finds it either not acked, or due. A dead letter
is an entry, too, due at once: a copy made here could be lost, or made twice, by a crash between it
and the ack. So it stands in its queue a sync after the answer.

An offset that is done with already is passed over: a NACK may be sent again at will, and what two
NACKs name is scheduled once. A NACK is refused where user data is: it asks for a copy later.

The attempt of a message is 1, unless it is itself a copy in a retry queue, which says it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from shardmq.actors.kernel.ports import Letter, Now, QueueLog, Span
from shardmq.actors.protocol.batch import BatchError
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import (
    Nack,
    NackMessage,
    NackQueue,
    NackReply,
    NackResult,
)
from shardmq.actors.protocol.limits import ATTEMPTS_MAX, DELAY_MS_MAX
from shardmq.actors.protocol.retries import (
    RETRY_PREFIX,
    dlq_topic,
    retry_delay_ms,
    retry_topic,
)

from .acks import done_now, fault_of_grant, fault_of_ranges
from .append import no_room_for
from .copies import StoredBatch, attempt_of
from .cursors_log import CursorLog
from .log.errors import DamagedRecord
from .log.record import PREFIX_BYTES
from .requests import Request, why_not_queues
from .serving import ServedQueue, Serving
from .state.buckets import BUCKET_MASK
from .state.cursors import Cursor, Cursors, merged
from .state.ranges import Bounds, holds
from .state.records import Scheduled, ScheduledEntry, encode_state
from .state.schedule import RETRY, Schedule
from .state.topics import Topics

__all__ = ["Nacking"]

SCHEDULE_ENTRIES_MAX: Final = 2_000_000
"""Of one shard: some 20 MB while they are far, 100 MB when all are near."""


class _Refused(Exception):
    """Ends the handling of one queue."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Asked(NamedTuple):
    """One queue of a NACK whose grant is in force."""

    group_id: int
    max_attempts: int
    served: ServedQueue
    cursor: Cursor


class Nacking:
    """The verb NACK."""

    def __init__(
        self, journal: QueueLog, topics: Topics, serving: Serving, cursors: Cursors,
        schedule: Schedule, log: CursorLog,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._topics = topics
        self._serving = serving
        self._cursors = cursors
        self._schedule = schedule
        self._log = log
        self._retried = 0
        self._dead = 0
        self._fenced = 0

    def stats(self) -> dict[str, Any]:
        """Figures for the verb STATS."""
        return {
            "messages_retried": self._retried,
            "dead_letters": self._dead,
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
            except _Refused as error:
                result = NackResult(queue=item.queue, code=error.code, message=str(error))
                results.append(result)
        self._log.answer(request, NackReply(queues=results), out)

    def _one(self, header: Nack, item: NackQueue, now: Now) -> NackResult:
        asked = self._asked(header, item)
        floor, acked = done_now(self._journal, asked.served, asked.cursor)
        wanted = self._not_done(item, asked.served, floor, acked)
        attempts = _Attempts(self._journal, asked.served)
        retried: list[ScheduledEntry] = []
        dead: list[ScheduledEntry] = []
        for message in wanted:
            found = attempts.of(message.offset)
            if found is None:
                continue  # nothing was ever stored there, or it is gone
            lsn, attempt = found
            if message.dead or attempt >= asked.max_attempts:
                dead.append(_entry(message, lsn, 0, attempt, message.detail))
            else:
                delay_ms = message.delay_ms
                delay_ms = retry_delay_ms(attempt) if delay_ms is None else delay_ms
                due_ms = now.wall_ms + delay_ms
                retried.append(_entry(message, lsn, due_ms, attempt + 1, ""))
        self._check_bounds(asked.cursor, [*retried, *dead])
        records = []
        if retried:
            records.append(self._record(asked, retry_topic(asked.cursor.group), retried))
        if dead:
            records.append(self._record(asked, dlq_topic(asked.cursor.group), dead, dead=True))
        size = sum(PREFIX_BYTES + len(encode_state(record)) for record in records)
        no_room = no_room_for(self._journal, size) if records else None
        if no_room is not None:
            raise _Refused(no_room.code, no_room.message)
        for record in records:
            self._log.append(record, item.queue, now)
        self._retried += len(retried)
        self._dead += len(dead)
        return NackResult(queue=item.queue, dead=[entry.offset for entry in dead])

    def _asked(self, header: Nack, item: NackQueue) -> _Asked:
        served = self._serving.by_number.get(item.queue)
        if served is None:
            raise _Refused(Code.STALE_ROUTE, f"queue {item.queue} is not on this shard")
        cursor = self._cursors.get(header.group_id, item.queue)
        fault = fault_of_grant(cursor, item.generation)
        if cursor is None or fault is not None:
            self._fenced += 1
            raise _Refused(Code.FENCED, str(fault))
        return _Asked(header.group_id, min(header.max_attempts, ATTEMPTS_MAX), served, cursor)

    def _not_done(
        self, item: NackQueue, served: ServedQueue, floor: int, acked: Bounds
    ) -> list[NackMessage]:
        """The messages that are not done with, each once, by offset."""
        visible = served.offsets.visible
        wanted: dict[int, NackMessage] = {}
        for message in item.messages:
            if message.offset >= visible:
                text = f"offset {message.offset} was not delivered: the queue ends at {visible}"
                raise _Refused(Code.INVALID_ARGUMENT, text)
            if (message.delay_ms or 0) > DELAY_MS_MAX:
                text = f"a delay has at most {DELAY_MS_MAX} ms, not {message.delay_ms}"
                raise _Refused(Code.INVALID_ARGUMENT, text)
            if message.offset >= floor and not holds(acked, message.offset):
                wanted.setdefault(message.offset, message)
        return [wanted[offset] for offset in sorted(wanted)]

    def _check_bounds(self, cursor: Cursor, entries: Sequence[ScheduledEntry]) -> None:
        if len(self._schedule) + len(entries) > SCHEDULE_ENTRIES_MAX:
            text = f"{SCHEDULE_ENTRIES_MAX} scheduled messages are the limit of a shard"
            raise _Refused(Code.BUSY, text)
        _, acked = merged(cursor, 0, [(entry.offset, entry.offset + 1) for entry in entries])
        fault = fault_of_ranges(cursor, acked)
        if fault is not None:
            raise _Refused(Code.BUSY, fault)

    def _record(
        self, asked: _Asked, topic: str, entries: list[ScheduledEntry], *, dead: bool = False
    ) -> Scheduled:
        definition = self._topics.named(topic)
        numbers = [] if definition is None else self._serving.numbers_of(definition.topic_id)
        if not numbers:
            text = f"topic {topic} is not on this shard: the group was joined without retries"
            raise _Refused(Code.TOPIC_NOT_FOUND, text)
        served = asked.served
        return Scheduled(
            bucket=numbers[0] & BUCKET_MASK,
            destination=numbers[0],
            kind=RETRY,
            dead=dead,
            group_id=asked.group_id,
            topic=served.topic.topic,
            queue_id=served.queue_id,
            entries=entries,
        )


class _Attempts:
    """Finds messages of one queue, asked for in the order of their offsets."""

    def __init__(self, journal: QueueLog, served: ServedQueue) -> None:
        self._journal = journal
        self._served = served
        self._topic = served.topic.topic
        self._span: Span | None = None
        self._stored: StoredBatch | None = None

    def of(self, offset: int) -> tuple[int, int] | None:
        """Position of the batch that holds the message, and which attempt it is."""
        span = self._span
        if span is None or offset >= span.base_offset + span.count:
            journal = self._journal
            spans = journal.spans(self._served.number, offset, 1, journal.durable)
            self._span = span = spans[0] if spans else None
            self._stored = None
        if span is None or offset < span.base_offset:
            return None
        return span.lsn, self._attempt(span, offset)

    def _attempt(self, span: Span, offset: int) -> int:
        if not self._topic.startswith(RETRY_PREFIX):
            return 1
        try:
            if self._stored is None:
                (record,) = self._journal.read([span])
                self._stored = StoredBatch(record, span.base_offset)
            return attempt_of(self._topic, self._stored, offset)
        except (DamagedRecord, BatchError):
            return 1  # the copy will find the same, and say so


def _entry(
    message: NackMessage, lsn: int, due_ms: int, attempt: int, detail: str
) -> ScheduledEntry:
    return ScheduledEntry(message.offset, lsn, due_ms, attempt, message.cause, detail)
