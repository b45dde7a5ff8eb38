"""Near: the entries of the schedule that fall due soon, read back from the journal.

Owns the order in which entries fall due, and when their records are read. Knows no verb, decides
nothing and appends nothing: everything here can be made again from the schedule and the journal.

    far    periods with entries that were not read, by the lowest due time among these
    near   entries that were read, by due time: an integer of due time, period and place each, 50 B

Also what was appended a moment ago is read back, once it is durable: there is one way into `near`,
and nothing is copied on the strength of a decision that a crash could take back. A piece of the far
is read a turn, so that a period of a million entries keeps nobody waiting.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from typing import Final, NamedTuple

from shardmq.actors.kernel.ports import QueueLog

from .log.record import STATE
from .state.queues import CARRIED_QUEUE
from .state.records import (
    CARRIED,
    SCHEDULED,
    Carried,
    Scheduled,
    ScheduledEntry,
    decode_state,
    tag_of,
)
from .state.schedule import NEVER, Period, Schedule, key_of

__all__ = ["Due", "Near", "NearEntry", "read_entries"]

READ_RECORDS: Final = 128
"""Records read a turn, some 15 µs each."""
READ_PLACES: Final = 8_192
"""Entries of a period that are looked at a turn, ended ones included."""
_PLACES_PER_RECORD: Final = 64
_FAR_SLACK: Final = 64
"""Stale periods that `far` may hold beyond as many as it has live ones."""
_PLACE_BITS: Final = 32
_NUMBER_BITS: Final = 32
_PLACE_MASK: Final = (1 << _PLACE_BITS) - 1
_NUMBER_MASK: Final = (1 << _NUMBER_BITS) - 1


class NearEntry(NamedTuple):
    """A live entry, by its place."""

    period: Period
    at: int
    due_ms: int


class Due(NamedTuple):
    """What the journal says of an entry."""

    scheduled: Scheduled
    entry: ScheduledEntry
    source: int
    """Queue that holds the message that falls due ..."""
    offset: int
    """... and where: not that of the entry once it has been carried."""
    decided_at_ms: int
    """When the entry was made."""


def read_entries(journal: QueueLog, period: Period, lsn: int) -> list[Due]:
    """The entries of `period` that the record at `lsn` holds, in order; none if it is damaged."""
    record = journal.record(lsn)
    if record is None or record.kind != STATE:
        return []
    if tag_of(record.payload) not in (SCHEDULED, CARRIED):
        return []
    stamp_ms = record.stored_at_ms
    state = decode_state(record.payload)
    if isinstance(state, Carried):
        dues = [
            Due(state.scheduled, entry, CARRIED_QUEUE, place.offset, place.decided_at_ms)
            for entry, place in zip(state.scheduled.entries, state.places, strict=True)
        ]
    else:
        assert isinstance(state, Scheduled)
        dues = [Due(state, one, record.queue, one.offset, stamp_ms) for one in state.entries]
    return [due for due in dues if key_of(due.entry.due_ms, stamp_ms) == period.key]


class Near:
    """See the module."""

    def __init__(self, journal: QueueLog, schedule: Schedule) -> None:
        self._journal = journal
        self._schedule = schedule
        self._far: list[tuple[int, int, Period]] = []
        self._listed: dict[Period, int] = {}
        """The due time under which a period stands in `far`; others of it there are stale."""
        self._near: list[int] = []
        self._periods: dict[int, Period] = {}
        """Number -> period, for periods with entries in `near`."""
        self._numbers: dict[Period, int] = {}
        self._queued: dict[Period, int] = {}
        """How many entries of a period are in `near`."""
        self._count = 0
        self.more = False
        """The last `read` had to stop; there is more to be read."""
        self.blocked = False
        """The last `read` met records that are not durable yet."""

    def __len__(self) -> int:
        return len(self._near)

    def next_due_ms(self) -> int:
        """When the next entry falls due, `NEVER` if there is none; too early rather than too
        late while a period has been read in part, or many entries have ended."""
        self._notice()
        for _ in range(READ_PLACES):  # a queue that went may have had a million
            if not self._near or self._live(self._near[0]) is not None:
                break
            self._popped()
        near = self._near[0] >> _NUMBER_BITS + _PLACE_BITS if self._near else NEVER
        return min(self.far_due_ms(), near)

    def far_due_ms(self) -> int:
        """The lowest due time of what was not read yet, `NEVER` if there is none."""
        far = self._far
        while far:
            due_ms, _, period = far[0]
            listed = self._listed.get(period) == due_ms
            if listed and period.live:
                return due_ms
            heapq.heappop(far)
            if listed:
                del self._listed[period]
        return NEVER

    def due(self, until_ms: int) -> bool:
        """True if an entry that was read is due at `until_ms`, or others stand in front of it that
        have ended."""
        self.next_due_ms()
        return bool(self._near) and self._near[0] >> _NUMBER_BITS + _PLACE_BITS <= until_ms

    def take(self, until_ms: int, count_max: int) -> list[NearEntry]:
        """Entries that are due at `until_ms`, in order. They are to be ended, or given back."""
        taken: list[NearEntry] = []
        while len(taken) < count_max and self.due(until_ms):
            found = self._live(self._near[0])
            if found is None:
                break
            self._popped()
            taken.append(found)
        return taken

    def give_back(self, entries: list[NearEntry]) -> None:
        """They could not be ended."""
        for period, at, due_ms in entries:
            self._push(period, at, due_ms)

    def read(self, until_ms: int) -> list[NearEntry]:
        """Read what may be due at `until_ms`, a piece. Returns entries whose record is damaged."""
        self._notice()
        damaged: list[NearEntry] = []
        again: list[Period] = []
        left = READ_RECORDS
        self.more = self.blocked = False
        while self.far_due_ms() <= until_ms:
            if left <= 0:
                self.more = True
                break
            period = heapq.heappop(self._far)[2]
            del self._listed[period]
            left -= self._read(period, left, damaged)
            if period.read < len(period.lsns):
                again.append(period)
                if period.lsns[period.read] < self._journal.durable:
                    self.more = True
                else:
                    self.blocked = True
            else:
                period.unread_due_ms = NEVER
        for period in again:
            self._push_far(period)
        return damaged

    # ------------------------------------------------------------------ reading

    def _read(self, period: Period, records_max: int, damaged: list[NearEntry]) -> int:
        """Read records of `period` on; what that cost, in records."""
        lsns, durable = period.lsns, self._journal.durable
        at, count = period.read, 0
        limit = min(len(lsns), at + READ_PLACES)
        while at < limit and count < records_max:
            lsn = lsns[at]
            if lsn >= durable:
                break
            behind = bisect_right(lsns, lsn, at)
            if not all(map(period.has_ended, range(at, behind))):
                count += 1
                dues = read_entries(self._journal, period, lsn)
                for place in range(at, behind):
                    if period.has_ended(place):
                        continue
                    if len(dues) == behind - at:
                        self._push(period, place, dues[place - at].entry.due_ms)
                    else:
                        damaged.append(NearEntry(period, place, 0))
            at = behind
        count += (at - period.read) // _PLACES_PER_RECORD
        period.read = at
        return count

    def _notice(self) -> None:
        """Take notice of entries that the schedule has got."""
        unread = self._schedule.unread
        if unread:
            for period in unread:
                self._push_far(period)
            unread.clear()

    def _push_far(self, period: Period) -> None:
        due_ms = period.unread_due_ms
        if self._listed.get(period) != due_ms:
            self._listed[period] = due_ms
            self._count += 1
            heapq.heappush(self._far, (due_ms, self._count, period))
            if len(self._far) > 2 * len(self._listed) + _FAR_SLACK:
                self._far = [one for one in self._far if self._listed.get(one[2]) == one[0]]
                heapq.heapify(self._far)

    # ------------------------------------------------------------------ near

    def _push(self, period: Period, at: int, due_ms: int) -> None:
        number = self._numbers.get(period)
        if number is None:
            self._count += 1
            number = self._numbers[period] = self._count & _NUMBER_MASK
            self._periods[number] = period
        self._queued[period] = self._queued.get(period, 0) + 1
        heapq.heappush(self._near, (due_ms << _NUMBER_BITS | number) << _PLACE_BITS | at)

    def _live(self, item: int) -> NearEntry | None:
        period = self._periods[item >> _PLACE_BITS & _NUMBER_MASK]
        at = item & _PLACE_MASK
        if not period.is_live(at):
            return None
        return NearEntry(period, at, item >> _NUMBER_BITS + _PLACE_BITS)

    def _popped(self) -> None:
        """Take the first of `near` out."""
        item = heapq.heappop(self._near)
        number = item >> _PLACE_BITS & _NUMBER_MASK
        period = self._periods[number]
        left = self._queued[period] - 1
        if left:
            self._queued[period] = left
        else:
            del self._queued[period], self._numbers[period], self._periods[number]
