"""Schedule: which messages fall due when, and for which queue, as a fold over the journal.

Owns the live entries, packed, and the watermark. Knows nothing of messages, groups or clocks, and
does not hold what an entry says: that stands in the journal.

An entry is made by a SCHEDULED record and ended by the batch that holds the copy (column `entries`
of `batch.py` names it), by ENTRIES_ENDED, or with its queue. So one record decides in each case,
and an entry ends once. CARRIED replaces entries by others that say the same of a message that has
been appended again. Its kind says what happens when it is due:

    DELIVER  the message goes to its queue    RETRY  it comes again, to the retry or the dead letter
    CHECK    its producer is asked                   queue of its group

The theory. Entries may be a million and a year away, so this keeps only what finds them again. The
entries for one queue that fall due in one span of time make a period, and a period is the journal
positions of its entries' records in order, 8 bytes each, a bit for each entry that has ended, the
lowest due time and the lowest position of a source. When a period comes near, `near.py` reads its
records back. These are the time buckets on disk: the disk holds the entries, the memory their
whereabouts; a snapshot, too, has 8 bytes for each. Spans are the longer the further they are away
when the entry is made, so that few entries, spread widely, do not make a period each:

    up to 4 hours ahead    periods of a minute
    up to 60 days ahead    periods of an hour
    beyond                 periods of a day

A period with more than so many entries is followed by another of the same span. So when the log in
front of some position is to go, what has to be appended again is a few whole periods, and with them
goes what they held back: nobody has to look for single entries among a million.

An entry's name is (key of its period, lsn of its record, how many entries of that record stand in
front of it in the period). A period whose entries have all ended is gone. As stamps of records
never fall, no period gets entries after its span has passed, so none lives for ever.

The watermark is a bucket of its own: it belongs to no queue. It never goes back.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from typing import Any, Final

from shardmq.actors.kernel.ports import Record
from shardmq.actors.protocol.batch import FLAG_COPIES, BatchView, read_batch_header

from ..log.record import BATCH, STATE
from .buckets import BUCKET_MASK, BUCKETS, digest_of
from .records import (
    CARRIED,
    ENTRIES_ENDED,
    QUEUES_DROPPED,
    SCHEDULED,
    WATERMARK_RAISED,
    Carried,
    EntriesEnded,
    EntryName,
    QueuesDropped,
    Scheduled,
    WatermarkRaised,
    decode_state,
    tag_of,
)

__all__ = ["CHECK", "DELIVER", "NEVER", "RETRY", "Period", "Schedule", "key_of"]

DELIVER: Final = 1
RETRY: Final = 2
CHECK: Final = 3

WATERMARK_BUCKET: Final = BUCKETS
_HOUR_MS: Final = 3_600_000
_SPANS_MS: Final = ((4 * _HOUR_MS, 60_000), (60 * 24 * _HOUR_MS, _HOUR_MS))
"""(how far ahead at most, span of a period)"""
_LONGEST_MS: Final = 24 * _HOUR_MS
_BATCH_FLAGS: Final = 15
"""Where a batch has its flags."""
_QUEUE_BITS: Final = 32
PERIOD_ENTRIES: Final = 1_024
"""A period gets no more once it has so many; those of one record stay together."""
NEVER: Final = 1 << 63

assert sys.byteorder == "little", "positions lie in memory as in a snapshot"


def key_of(due_ms: int, stored_at_ms: int) -> int:
    """Key of the period of an entry that is due at `due_ms` and whose record has that stamp."""
    start_ms = max(due_ms, stored_at_ms)
    for level, (ahead_ms, span_ms) in enumerate(_SPANS_MS):
        if due_ms - stored_at_ms <= ahead_ms:
            return start_ms // span_ms << 2 | level
    return start_ms // _LONGEST_MS << 2 | len(_SPANS_MS)


class Period:
    """The entries for one queue and one span of time, or as many of them as one period takes."""

    __slots__ = (
        "due_ms",
        "ended",
        "key",
        "live",
        "lsns",
        "queue",
        "read",
        "source_lsn",
        "unread_due_ms",
    )

    def __init__(self, queue: int, key: int) -> None:
        self.queue = queue
        self.key = key
        self.lsns = array("Q")
        """Of the records of the entries, one for each entry, ascending."""
        self.ended = bytearray()
        """A bit for each entry, as far as any has ended."""
        self.live = 0
        """Entries that have not ended; 0: the period is gone."""
        self.due_ms = NEVER
        """The lowest due time that any of the entries had."""
        self.source_lsn = NEVER
        """The lowest position of a batch from which any of them is to be copied."""
        # What `near.py` has read is no state; after a restart it has read nothing.
        self.read = 0
        """Entries that were read back."""
        self.unread_due_ms = NEVER
        """No entry among the others is due before this."""

    def add(self, lsn: int, due_ms: int, source_lsn: int) -> None:
        """One more entry."""
        self.lsns.append(lsn)
        self.live += 1
        self.due_ms = min(self.due_ms, due_ms)
        self.unread_due_ms = min(self.unread_due_ms, due_ms)
        self.source_lsn = min(self.source_lsn, source_lsn)

    def is_live(self, at: int) -> bool:
        """True if the entry at that place has not ended, alone or with its whole queue."""
        return self.live > 0 and not self.has_ended(at)

    def has_ended(self, at: int) -> bool:
        """True if the entry at that place was ended by its name."""
        return at >> 3 < len(self.ended) and self.ended[at >> 3] >> (at & 7) & 1 == 1

    def end(self, at: int) -> None:
        """The entry at that place is ended; it may be already."""
        if self.has_ended(at):
            return
        missing = (at >> 3) + 1 - len(self.ended)
        if missing > 0:
            self.ended.extend(bytes(missing))
        self.ended[at >> 3] |= 1 << (at & 7)
        self.live -= 1

    def name(self, at: int) -> EntryName:
        """Name of the entry at that place."""
        lsn = self.lsns[at]
        return self.key, lsn, at - bisect_left(self.lsns, lsn)

    def place(self, lsn: int, index: int) -> int:
        """Place of the entry with that name, -1 if there is none: its record was in a damaged
        stretch whose loss the operator accepted."""
        at = bisect_left(self.lsns, lsn) + index
        return at if at < len(self.lsns) and self.lsns[at] == lsn else -1


class Schedule:
    """Projection: (queue, span of time) -> periods, in the order of their records."""

    name = "schedule"
    buckets = BUCKETS + 1

    def __init__(self) -> None:
        self._buckets: list[dict[int, list[Period]]] = [{} for _ in range(BUCKETS)]
        self._periods = 0
        self._lowest: int | None = NEVER
        """Lowest position of a source; None: to be looked for."""
        self._live = 0
        self.watermark_ms = 0
        """Entries up to here are due."""
        self.unread: dict[Period, None] = {}
        """Periods with entries that nobody has taken notice of; for `near.py`, which empties it."""
        self.added_lsn = NEVER
        """Lowest position of a source that any entry had which was made since `carry.py` looked;
        no state."""

    def __len__(self) -> int:
        return self._live

    def period(self, queue: int, key: int, lsn: int = NEVER) -> Period | None:
        """The period with the entries of the record at `lsn`, if it has any; by default the one
        that began last."""
        periods = self._buckets[queue & BUCKET_MASK].get(key << _QUEUE_BITS | queue, ())
        at = bisect_right(periods, lsn, key=_first_lsn) - 1
        return periods[at] if at >= 0 else None

    @property
    def periods(self) -> int:
        return self._periods

    def periods_in(self, bucket: int) -> list[Period]:
        """All periods of a bucket of queues."""
        return [one for periods in self._buckets[bucket].values() for one in periods]

    def source_lsn(self) -> int:
        """Lowest position of a batch that an entry still needs, `NEVER` if none does. May be lower
        than it has to be, by what has ended in periods with live entries."""
        if self._lowest is None:
            self._lowest = min(
                (
                    period.source_lsn
                    for bucket in self._buckets
                    for periods in bucket.values()
                    for period in periods
                ),
                default=NEVER,
            )
        return self._lowest

    # ------------------------------------------------------------------ the fold

    def bucket_of(self, record: Record) -> int:
        if record.kind == BATCH:
            return record.queue & BUCKET_MASK if record.payload[_BATCH_FLAGS] & FLAG_COPIES else -1
        if record.kind != STATE:
            return -1
        tag = tag_of(record.payload)
        if tag in (SCHEDULED, CARRIED):
            return record.payload[2]  # `bucket`, a small integer, stands first
        if tag in (ENTRIES_ENDED, QUEUES_DROPPED):
            return record.queue & BUCKET_MASK
        return WATERMARK_BUCKET if tag == WATERMARK_RAISED else -1

    def apply(self, record: Record) -> None:
        if record.kind == BATCH:
            view = BatchView(record.payload, read_batch_header(record.payload))
            self._end(record.queue, view.entries() or ())
            return
        state = decode_state(record.payload)
        if isinstance(state, Scheduled):
            self._add(state, record)
        elif isinstance(state, EntriesEnded):
            self._end(record.queue, state.names)
        elif isinstance(state, Carried):
            self._end(state.scheduled.destination, state.ended)
            self._add(state.scheduled, record, state.cut_lsn)
        elif isinstance(state, QueuesDropped):
            dropped = set(state.queues)
            for period in self.periods_in(record.queue & BUCKET_MASK):
                if period.queue in dropped:
                    self._live -= period.live
                    period.live = 0
                    self._gone(period)
        else:
            assert isinstance(state, WatermarkRaised)
            self.watermark_ms = max(self.watermark_ms, state.until_ms)

    def _add(self, state: Scheduled, record: Record, cut_lsn: int = 0) -> None:
        for entry in state.entries:
            key = key_of(entry.due_ms, record.stored_at_ms)
            period = self._open(state.destination, key, record.lsn, cut_lsn)
            period.add(record.lsn, entry.due_ms, entry.lsn)
            self.unread[period] = None
            self.added_lsn = min(self.added_lsn, entry.lsn)
            if self._lowest is not None:
                self._lowest = min(self._lowest, entry.lsn)
        self._live += len(state.entries)

    def _open(self, queue: int, key: int, lsn: int, cut_lsn: int) -> Period:
        """The period that takes the next entry of the record at `lsn`. One that needs anything in
        front of `cut_lsn` gets none: it would never be rid of that."""
        last = self.period(queue, key)
        if last is not None:
            has_room = len(last.lsns) < PERIOD_ENTRIES and last.source_lsn >= cut_lsn
            if has_room or last.lsns[-1] == lsn:
                return last
        return self._begin(queue, key)

    def _begin(self, queue: int, key: int) -> Period:
        period = Period(queue, key)
        periods = self._buckets[queue & BUCKET_MASK]
        periods.setdefault(key << _QUEUE_BITS | queue, []).append(period)
        self._periods += 1
        return period

    def _end(self, queue: int, names: Any) -> None:
        for key, lsn, index in names:
            period = self.period(queue, key, lsn)
            at = -1 if period is None else period.place(lsn, index)
            if period is None or at < 0:
                continue
            before = period.live
            period.end(at)
            self._live -= before - period.live
            if not period.live:
                self._gone(period)

    def _gone(self, period: Period) -> None:
        periods = self._buckets[period.queue & BUCKET_MASK]
        name = period.key << _QUEUE_BITS | period.queue
        periods[name].remove(period)
        if not periods[name]:
            del periods[name]
        self._periods -= 1
        self.unread.pop(period, None)
        if period.source_lsn == self._lowest:
            self._lowest = None

    # ------------------------------------------------------------------ snapshots

    def snapshot(self, bucket: int) -> Any:
        if bucket == WATERMARK_BUCKET:
            return self.watermark_ms or None
        rows = [
            [period.queue, period.key, period.due_ms, period.source_lsn, period.lsns.tobytes(),
             bytes(period.ended)]
            for _, periods in sorted(self._buckets[bucket].items(), key=_key_of_item)
            for period in periods
        ]  # fmt: skip
        return rows or None

    def restore(self, bucket: int, state: Any) -> None:
        if bucket == WATERMARK_BUCKET:
            self.watermark_ms = state
            return
        for period in self.periods_in(bucket):
            self._live -= period.live
            self._gone(period)
        for queue, key, due_ms, source_lsn, lsns, ended in state:
            period = self._begin(queue, key)
            period.lsns.frombytes(lsns)
            period.ended.extend(ended)
            period.live = len(period.lsns) - int.from_bytes(ended, "little").bit_count()
            period.due_ms = period.unread_due_ms = due_ms
            period.source_lsn = source_lsn
            self._live += period.live
            self.unread[period] = None
        self._lowest = None

    def digest(self) -> int:
        return digest_of(self)


def _key_of_item(item: tuple[int, list[Period]]) -> int:
    return item[0]


def _first_lsn(period: Period) -> int:
    return period.lsns[0]
