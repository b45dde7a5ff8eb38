"""Carry: what is scheduled is appended again before the log in which it lies goes.

Owns the answer to retention's question whether a segment may go, and the work that makes it yes.
How messages and records are put together stands in `carry_copies.py`, which entries there are in
`state/schedule.py`.

A message may fall due in a year, in a log of three days. So when retention wants the oldest
segment gone, the messages that live entries still need of it are appended again, a piece a turn,
to a queue that no client can name; a record behind them replaces the entries by others that point
there and say otherwise the same. The segment goes once nothing durable needs it any more. Until
then it stays: what cannot be carried just now holds the log back, and is never lost. Carried
messages lie in the log like others, and are carried again when their segment is to go.

Nothing is written for its own sake: a log that holds little but scheduled messages would be copied
round and round without getting any smaller. For each byte that is carried one other must have been
stored, counted from the start of the log when the process began. So a log with more than half of it
scheduled keeps up to twice of that, whatever retention says.
"""

from __future__ import annotations

from typing import Any, Final

from shardmq.actors.kernel.ports import Now, QueueLog

from .append import Appender, no_room_to_finish
from .carry_copies import Moved, Parcel, carried, records_of
from .log.record import PREFIX_BYTES
from .losses import Losses
from .near import NearEntry
from .serving import ServedQueue
from .state.buckets import BUCKETS
from .state.queues import CARRIED_QUEUE, Queues
from .state.records import encode_state
from .state.schedule import NEVER, Period, Schedule

__all__ = ["Carrying"]

TURN_ENTRIES: Final = 128
"""Some 50 µs each, small ones."""
TURN_PLACES: Final = 8_192
"""Entries of periods that are looked at a turn, ended ones included."""
TURN_EVERY_MS: Final = 10.0
"""From the begin of one turn to the next, so that others have the larger part of the time."""
UNSYNCED_RETRY_MS: Final = 20.0
CREDIT_RETRY_MS: Final = 1_000.0
FAULT_RETRY_MS: Final = 60_000.0
_RECORD_BYTES: Final = 1_024
_PAST_MS: Final = 0.0


class Carrying:
    """See the module."""

    def __init__(
        self, journal: QueueLog, schedule: Schedule, queues: Queues, appender: Appender,
        losses: Losses,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._schedule = schedule
        self._appender = appender
        self._losses = losses
        self._queues = queues
        self._served: ServedQueue | None = None
        self._cut_lsn = 0
        """What lies in front of it is to go; 0: nothing is."""
        self._bucket = 0
        """Buckets below were searched for periods that need any of it; found, and not done: ..."""
        self._periods: list[Period] = []
        self._at = 0
        """... from this place of the last one on."""
        self._picked: list[NearEntry] = []
        """Entries found by that, which are carried next."""
        self._paid_lsn = 0
        """What stands behind it may be spent; carrying a byte spends two, one being itself."""
        self._proof: tuple[int, int] | None = None
        """(lsn, end of the log): when it ended there, no entry needed anything in front of lsn."""
        self._next_ms = _PAST_MS
        self.carried = 0
        self.faults = 0
        journal.drop_guard = self._may_drop

    @property
    def wake_at_ms(self) -> float | None:
        return self._next_ms if self._cut_lsn else None

    def stats(self) -> dict[str, Any]:
        """Figures for the verb STATS."""
        needed = self._schedule.source_lsn()
        return {
            "schedule_keeps_bytes": 0 if needed == NEVER else self._journal.end - needed,
            "schedule_carried": self.carried,
        }

    # ------------------------------------------------------------------ the question

    def _may_drop(self, base: int, end: int) -> bool:
        """True if no entry needs anything in front of `end`, whatever a crash takes back."""
        schedule, journal = self._schedule, self._journal
        self._paid_lsn = max(self._paid_lsn, base)
        if self._cut_lsn >= end:
            return False  # it is being worked on
        if schedule.source_lsn() < end:
            self._proof = None
            self._cut_lsn = end
            self._bucket = 0
            return False
        proof = self._proof
        if proof is None or proof[0] < end or schedule.added_lsn < end:
            schedule.added_lsn = NEVER
            proof = self._proof = (end, journal.end)
        return proof[1] <= journal.durable

    # ------------------------------------------------------------------ the work

    def turn(self, now: Now) -> None:
        """Carry the next piece, if there is any to be carried."""
        if not self._cut_lsn or now.mono_ms < self._next_ms:
            return
        self._next_ms = now.mono_ms + TURN_EVERY_MS
        blocked = self._pick()
        if self._picked:
            self._carry(self._picked, now)
            self._picked = [one for one in self._picked if one.period.is_live(one.at)]
        if self._picked:
            return
        if blocked:
            self._next_ms = now.mono_ms + UNSYNCED_RETRY_MS
        elif self._period() is None:
            self._cut_lsn = 0  # until retention asks again

    def _pick(self) -> bool:
        """Pick the entries of a turn, those first that could not be carried by the last ones. True
        if the next one waits for the disk: its record cannot be read back yet."""
        picked = self._picked = [one for one in self._picked if one.period.is_live(one.at)]
        durable = self._journal.durable
        for _ in range(TURN_PLACES):
            period = self._period() if len(picked) < TURN_ENTRIES else None
            if period is None:
                break
            if period.lsns[self._at] >= durable:
                return True
            entry = NearEntry(period, self._at, period.due_ms)
            if period.is_live(self._at):
                picked.append(entry)
            self._at += 1
        return False

    def _period(self) -> Period | None:
        """The period whose turn it is."""
        while True:
            while self._periods:
                period = self._periods[-1]
                if period.live and self._at < len(period.lsns):
                    return period
                self._periods.pop()
                self._at = 0
            if self._bucket == BUCKETS:
                return None
            found = self._schedule.periods_in(self._bucket)
            self._periods = [one for one in found if one.source_lsn < self._cut_lsn]
            self._bucket += 1

    def _carry(self, entries: list[NearEntry], now: Now) -> None:
        journal = self._journal
        if not self._has_room(_RECORD_BYTES, now):
            return
        found = carried(journal, entries)
        if found.faults:
            self.faults += found.faults
            self._next_ms = now.mono_ms + FAULT_RETRY_MS
        size = sum(PREFIX_BYTES + len(one.frame) for one in found.parcels)
        if found.parcels and self._has_room(size, now):
            begin = journal.end
            self._append(found.parcels, now)
            self._paid_lsn += 2 * (journal.end - begin)
        self._losses.end(found.failed, now)

    def _append(self, parcels: list[Parcel], now: Now) -> None:
        journal, served, moved = self._journal, self._served, []
        if served is None:
            offsets = self._queues.at(CARRIED_QUEUE)
            served = self._served = ServedQueue(CARRIED_QUEUE, offsets)
        for frame, rows in parcels:
            base_offset = served.offsets.next
            lsn = self._appender.append_own(served, frame, len(rows), now)
            moved += [Moved(row, base_offset + at, lsn) for at, row in enumerate(rows)]
        for record in records_of(moved, self._cut_lsn):
            journal.append_state(encode_state(record), now, queue=record.scheduled.destination)
        self.carried += len(moved)

    def _has_room(self, size: int, now: Now) -> bool:
        if self._journal.end - self._paid_lsn < size:
            self._next_ms = now.mono_ms + CREDIT_RETRY_MS
            return False
        no_room = no_room_to_finish(self._journal, size)
        if no_room is not None:
            self._next_ms = now.mono_ms + no_room.retry_after_ms
        return no_room is None
