"""Near: the entries of the schedule that fall due soon, read back from the journal.

Owns the order in which entries fall due, and when their records are read. Knows no verb, decides
nothing and appends nothing: everything here can be made again from the schedule and the journal.

    far    slots with entries that were not read, by the lowest due time among these
    near   entries that were read, by due time: an integer of due time, slot and place each, 50 B

Also what was appended a moment ago is read back, once it is durable: there is one way into `near`,
and nothing is copied on the strength of a decision that a crash could take back. A piece of the far
is read a turn, so that a slot of a million entries keeps nobody waiting.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from typing import Final, NamedTuple

from shardmq.actors.kernel.ports import QueueLog

from .log.record import STATE
from .state.records import SCHEDULED, Scheduled, ScheduledEntry, decode_state, tag_of
from .state.schedule import NEVER, Schedule, Slot, key_of

__all__ = ["Due", "Near", "NearEntry", "read_entries"]

READ_RECORDS: Final = 128
"""Records read a turn, some 15 µs each."""
READ_PLACES: Final = 8_192
"""Entries of a slot that are looked at a turn, ended ones included; those cost a tenth of that."""
_PLACES_PER_RECORD: Final = 64
_FAR_SLACK: Final = 64
"""Stale slots that `far` may hold beyond as many as it has live ones."""
_PLACE_BITS: Final = 32
_NUMBER_BITS: Final = 32
_PLACE_MASK: Final = (1 << _PLACE_BITS) - 1
_NUMBER_MASK: Final = (1 << _NUMBER_BITS) - 1


class NearEntry(NamedTuple):
    """A live entry, by its place."""

    slot: Slot
    at: int
    due_ms: int


class Due(NamedTuple):
    """What the journal says of an entry."""

    scheduled: Scheduled
    entry: ScheduledEntry
    source: int
    """Queue whose message falls due."""
    stored_at_ms: int


def read_entries(journal: QueueLog, slot: Slot, lsn: int) -> list[Due]:
    """The entries of `slot` that the record at `lsn` holds, in order; none if it is damaged."""
    record = journal.record(lsn)
    if record is None or record.kind != STATE or tag_of(record.payload) != SCHEDULED:
        return []
    scheduled = decode_state(record.payload)
    assert isinstance(scheduled, Scheduled)
    return [
        Due(scheduled, entry, record.queue, record.stored_at_ms)
        for entry in scheduled.entries
        if key_of(entry.due_ms, record.stored_at_ms) == slot.key
    ]


class Near:
    """See the module."""

    def __init__(self, journal: QueueLog, schedule: Schedule) -> None:
        self._journal = journal
        self._schedule = schedule
        self._far: list[tuple[int, int, Slot]] = []
        self._listed: dict[Slot, int] = {}
        """The due time under which a slot stands in `far`; others of it there are stale."""
        self._near: list[int] = []
        self._slots: dict[int, Slot] = {}
        """Number -> slot, for slots with entries in `near`."""
        self._numbers: dict[Slot, int] = {}
        self._queued: dict[Slot, int] = {}
        """How many entries of a slot are in `near`."""
        self._count = 0
        self.more = False
        """The last `read` had to stop; there is more to be read."""
        self.blocked = False
        """The last `read` met records that are not durable yet."""

    def __len__(self) -> int:
        return len(self._near)

    def next_due_ms(self) -> int:
        """When the next entry falls due, `NEVER` if there is none; too early rather than too
        late while a slot has been read in part."""
        self._notice()
        while self._near and self._live(self._near[0]) is None:
            self._popped()
        near = self._near[0] >> _NUMBER_BITS + _PLACE_BITS if self._near else NEVER
        return min(self._far_due_ms(), near)

    def due(self, until_ms: int) -> bool:
        """True if an entry that was read is due at `until_ms`."""
        self.next_due_ms()
        return bool(self._near) and self._near[0] >> _NUMBER_BITS + _PLACE_BITS <= until_ms

    def take(self, until_ms: int, count_max: int) -> list[NearEntry]:
        """Entries that are due at `until_ms`, in order. They are to be ended, or given back."""
        taken: list[NearEntry] = []
        while len(taken) < count_max and self.due(until_ms):
            found = self._live(self._near[0])
            assert found is not None
            self._popped()
            taken.append(found)
        return taken

    def give_back(self, entries: list[NearEntry]) -> None:
        """They could not be ended."""
        for slot, at, due_ms in entries:
            self._push(slot, at, due_ms)

    def read(self, until_ms: int) -> list[NearEntry]:
        """Read what may be due at `until_ms`, a piece. Returns entries whose record is damaged."""
        self._notice()
        damaged: list[NearEntry] = []
        again: list[Slot] = []
        left = READ_RECORDS
        self.more = self.blocked = False
        while self._far_due_ms() <= until_ms:
            if left <= 0:
                self.more = True
                break
            slot = heapq.heappop(self._far)[2]
            del self._listed[slot]
            left -= self._read(slot, left, damaged)
            if slot.read < len(slot.lsns):
                again.append(slot)
                if slot.lsns[slot.read] < self._journal.durable:
                    self.more = True
                else:
                    self.blocked = True
            else:
                slot.unread_due_ms = NEVER
        for slot in again:
            self._push_far(slot)
        return damaged

    # ------------------------------------------------------------------ reading

    def _read(self, slot: Slot, records_max: int, damaged: list[NearEntry]) -> int:
        """Read records of `slot` on; what that cost, in records."""
        lsns, durable = slot.lsns, self._journal.durable
        at, count = slot.read, 0
        limit = min(len(lsns), at + READ_PLACES)
        while at < limit and count < records_max:
            lsn = lsns[at]
            if lsn >= durable:
                break
            behind = bisect_right(lsns, lsn, at)
            if not all(map(slot.has_ended, range(at, behind))):
                count += 1
                dues = read_entries(self._journal, slot, lsn)
                for place in range(at, behind):
                    if slot.has_ended(place):
                        continue
                    if len(dues) == behind - at:
                        self._push(slot, place, dues[place - at].entry.due_ms)
                    else:
                        damaged.append(NearEntry(slot, place, 0))
            at = behind
        count += (at - slot.read) // _PLACES_PER_RECORD
        slot.read = at
        return count

    def _notice(self) -> None:
        """Take notice of entries that the schedule has got."""
        unread = self._schedule.unread
        if unread:
            for slot in unread:
                self._push_far(slot)
            unread.clear()

    def _push_far(self, slot: Slot) -> None:
        due_ms = slot.unread_due_ms
        if self._listed.get(slot) != due_ms:
            self._listed[slot] = due_ms
            self._count += 1
            heapq.heappush(self._far, (due_ms, self._count, slot))
            if len(self._far) > 2 * len(self._listed) + _FAR_SLACK:
                self._far = [one for one in self._far if self._listed.get(one[2]) == one[0]]
                heapq.heapify(self._far)

    def _far_due_ms(self) -> int:
        """The lowest due time in `far`, `NEVER` if there is none."""
        far = self._far
        while far:
            due_ms, _, slot = far[0]
            listed = self._listed.get(slot) == due_ms
            if listed and slot.live:
                return due_ms
            heapq.heappop(far)
            if listed:
                del self._listed[slot]
        return NEVER

    # ------------------------------------------------------------------ near

    def _push(self, slot: Slot, at: int, due_ms: int) -> None:
        number = self._numbers.get(slot)
        if number is None:
            self._count += 1
            number = self._numbers[slot] = self._count & _NUMBER_MASK
            self._slots[number] = slot
        self._queued[slot] = self._queued.get(slot, 0) + 1
        heapq.heappush(self._near, (due_ms << _NUMBER_BITS | number) << _PLACE_BITS | at)

    def _live(self, item: int) -> NearEntry | None:
        slot = self._slots[item >> _PLACE_BITS & _NUMBER_MASK]
        at = item & _PLACE_MASK
        if not slot.live or slot.has_ended(at):
            return None
        return NearEntry(slot, at, item >> _NUMBER_BITS + _PLACE_BITS)

    def _popped(self) -> None:
        """Take the first of `near` out."""
        item = heapq.heappop(self._near)
        number = item >> _PLACE_BITS & _NUMBER_MASK
        slot = self._slots[number]
        left = self._queued[slot] - 1
        if left:
            self._queued[slot] = left
        else:
            del self._queued[slot], self._numbers[slot], self._slots[number]
