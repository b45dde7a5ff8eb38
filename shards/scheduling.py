"""Scheduling: how messages of a group that failed get into the schedule, whoever said so.

Owns the records that do it, their bounds, and where a message's batch lies. Which messages these
are, and when they come again, is for the callers to know.

One SCHEDULED record is the whole decision: it acks the offset in the cursor and makes the entry
that will copy the message, so a crash at any point finds it either not acked, or due. A dead letter
is an entry, too, due at once: a copy made here could be lost, or made twice, by a crash between it
and the ack. So it stands in its queue a sync after the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shardmq.actors.kernel.ports import Now, QueueLog, Span
from shardmq.actors.protocol.batch import BatchError
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.limits import KIB
from shardmq.actors.protocol.retries import RETRY_PREFIX, dlq_topic, retry_topic

from .acks import fault_of_ranges
from .append import no_room_for
from .copies import StoredBatch, attempt_of
from .cursors_log import CursorLog
from .granted import Refused
from .log.errors import DamagedRecord
from .log.record import PREFIX_BYTES
from .serving import ServedQueue, Serving
from .state.buckets import BUCKET_MASK
from .state.cursors import Cursor, merged
from .state.records import CursorMove, CursorsMoved, Scheduled, ScheduledEntry, encode_state
from .state.schedule import RETRY, Schedule
from .state.topics import Topics

__all__ = ["Scheduling", "Sources"]

SCHEDULE_ENTRIES_MAX: Final = 2_000_000
"""Of one shard: some 20 MB while they are far, 100 MB when all are near."""
_TEXT_CHARS_MAX: Final = 128 * KIB
"""Of causes, and of details, that one decision about many messages writes down."""


class Scheduling:
    """Puts messages of groups into the schedule of one shard."""

    def __init__(
        self, journal: QueueLog, topics: Topics, serving: Serving, schedule: Schedule,
        log: CursorLog,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._topics = topics
        self._serving = serving
        self._schedule = schedule
        self._log = log
        self.retried = 0
        """Messages that come again."""
        self.dead = 0

    def decide(
        self, group_id: int, served: ServedQueue, cursor: Cursor,
        retried: list[ScheduledEntry], dead: list[ScheduledEntry], now: Now,
    ) -> None:  # fmt: skip
        """Messages of a queue are done with, and come again, or are dead letters.

        Raises:
            Refused: the bounds of the cursor or the schedule, the disk, or a missing topic.
        """
        self._check_bounds(cursor, [*retried, *dead])
        records = []
        if retried:
            records.append(self._record(group_id, served, retry_topic(cursor.group), retried))
        if dead:
            topic = dlq_topic(cursor.group)
            records.append(self._record(group_id, served, topic, dead, dead=True))
        size = sum(PREFIX_BYTES + len(encode_state(record)) for record in records)
        no_room = no_room_for(self._journal, size) if records else None
        if no_room is not None:
            raise Refused(no_room.code, no_room.message)
        for record in records:
            self._log.append(record, served.number, now)
        self.retried += len(retried)
        self.dead += len(dead)

    def bury(
        self, group_id: int, served: ServedQueue, cursor: Cursor,
        stretches: Sequence[tuple[int, int, int]], why: tuple[str, str], now: Now,
    ) -> list[int]:  # fmt: skip
        """Stretches of messages, (first offset, offset behind the last, attempt) each, become dead
        letters for a cause with its detail. Returns their offsets; what the log has lost of them is
        only done with.

        Raises:
            Refused: as `decide`.
        """
        count = sum(stop - start for start, stop, _ in stretches)
        cause, detail = (text[: max(1, _TEXT_CHARS_MAX // max(1, count))] for text in why)
        sources = Sources(self._journal, served)
        dead: list[ScheduledEntry] = []
        lost: list[int] = []
        for start, stop, attempt in stretches:
            for offset in range(start, stop):
                lsn = sources.lsn_of(offset)
                if lsn is None:
                    lost += (offset, offset + 1)
                else:
                    dead.append(ScheduledEntry(offset, lsn, 0, attempt, cause, detail))
        if dead:
            self.decide(group_id, served, cursor, [], dead, now)
        if lost:
            move = CursorMove(served.number, cursor.floor, lost)
            self._log.append(CursorsMoved(group_id, [move]), served.number, now)
        return [entry.offset for entry in dead]

    def _check_bounds(self, cursor: Cursor, entries: Sequence[ScheduledEntry]) -> None:
        if len(self._schedule) + len(entries) > SCHEDULE_ENTRIES_MAX:
            text = f"{SCHEDULE_ENTRIES_MAX} scheduled messages are the limit of a shard"
            raise Refused(Code.BUSY, text)
        _, acked = merged(cursor, 0, [(entry.offset, entry.offset + 1) for entry in entries])
        fault = fault_of_ranges(cursor, acked)
        if fault is not None:
            raise Refused(Code.BUSY, fault)

    def _record(
        self, group_id: int, served: ServedQueue, topic: str, entries: list[ScheduledEntry], *,
        dead: bool = False,
    ) -> Scheduled:  # fmt: skip
        definition = self._topics.named(topic)
        numbers = [] if definition is None else self._serving.numbers_of(definition.topic_id)
        if not numbers:
            text = f"topic {topic} is not on this shard: the group was joined without retries"
            raise Refused(Code.TOPIC_NOT_FOUND, text)
        return Scheduled(
            bucket=numbers[0] & BUCKET_MASK,
            destination=numbers[0],
            kind=RETRY,
            dead=dead,
            group_id=group_id,
            topic=served.topic.topic,
            queue_id=served.queue_id,
            entries=entries,
        )


class Sources:
    """Finds messages of one queue, asked for in the order of their offsets."""

    def __init__(self, journal: QueueLog, served: ServedQueue) -> None:
        self._journal = journal
        self._served = served
        self._topic = served.topic.topic
        self._span: Span | None = None
        self._stored: StoredBatch | None = None

    def lsn_of(self, offset: int) -> int | None:
        """Position of the batch that holds the message; None if nothing was ever stored there, or
        it is gone."""
        span = self._span
        if span is None or offset >= span.base_offset + span.count:
            journal = self._journal
            spans = journal.spans(self._served.number, offset, 1, journal.durable)
            self._span = span = spans[0] if spans else None
            self._stored = None
        return None if span is None or offset < span.base_offset else span.lsn

    def attempt_of(self, offset: int) -> int:
        """Which delivery the message is that `lsn_of` was asked for last."""
        span = self._span
        if span is None or not self._topic.startswith(RETRY_PREFIX):
            return 1
        try:
            if self._stored is None:
                (record,) = self._journal.read([span])
                self._stored = StoredBatch(record, span.base_offset)
            return attempt_of(self._topic, self._stored, offset)
        except (DamagedRecord, BatchError):
            return 1  # the copy will find the same, and say so
