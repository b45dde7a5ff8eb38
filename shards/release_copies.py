"""Release, copying: from entries that are due to batches that can be appended.

Owns the way from an entry to its message (record of the entry, batch that holds the message, row in
it), how copies are put together, and how much of it is done in a turn. Appends nothing.

Entries of one turn often lie in a few records and a few batches, so both are opened once a turn. A
batch of copies is for one queue, in the order in which they fell due, and of one born time.
"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from shardmq.actors.kernel.logs import fields
from shardmq.actors.kernel.ports import QueueLog
from shardmq.actors.protocol.batch import BatchError, BatchUnopened
from shardmq.actors.protocol.limits import BATCH_MESSAGES_MAX, MIB

from .copies import Copy, StoredBatch, copy_of, encode_copies, shortened
from .log.errors import DamagedRecord
from .near import Due, NearEntry, read_entries
from .requests import FATAL
from .state.schedule import DELIVER, RETRY

__all__ = ["Copied", "Failed", "Parcel", "copied"]

_log = logging.getLogger("shardmq.shard")
TURN_COPIED_BYTES: Final = 2 * MIB
"""Copies of one turn; the one that crosses it is still made."""
TURN_SOURCE_BYTES: Final = 8 * MIB
"""Batches that are read for them, likewise: a small message may lie in a large batch."""
PARCEL_BYTES: Final = 1 * MIB
"""Where a batch of copies is closed, unless a single one is larger."""


class Failed(NamedTuple):
    """An entry that cannot be copied, now or ever."""

    entry: NearEntry
    reason: str


class Parcel(NamedTuple):
    """A batch of copies."""

    queue: int
    frame: bytes
    entries: list[NearEntry]


class Copied(NamedTuple):
    """What became of the entries of one turn."""

    parcels: list[Parcel]
    failed: list[Failed]
    left: list[NearEntry]
    """For the next turn."""
    faults: int
    """Entries that met a bug, or a codec that is not installed. They stay as they are, and come
    again with the next start."""


class _Lost(Exception):
    """There is nothing to copy; the text says why."""


_Rows = list[tuple[Copy, NearEntry]]


def copied(journal: QueueLog, entries: list[NearEntry]) -> Copied:
    """Copies of as many of `entries` as one turn does, in order."""
    sources = _Sources(journal)
    groups: dict[tuple[int, tuple[int, int]], _Rows] = {}
    failed: list[Failed] = []
    left: list[NearEntry] = []
    copied_bytes = faults = 0
    for at, entry in enumerate(entries):
        if copied_bytes >= TURN_COPIED_BYTES or sources.bytes >= TURN_SOURCE_BYTES:
            left = entries[at:]
            break
        try:
            copy = sources.copy(entry)
        except BatchUnopened as error:
            faults += 1  # the message is there, and sound as far as anybody here can tell
            _log.error(
                "a scheduled message waits for a codec",
                extra=fields(queue=entry.period.queue, reason=str(error)),
            )
            continue
        except (_Lost, BatchError) as error:
            failed.append(Failed(entry, str(error)))
            continue
        except FATAL:
            raise
        except Exception:
            # An entry that ended the process would be due again, and end the next one, too.
            faults += 1
            _log.exception("a scheduled message could not be copied")
            continue
        copied_bytes += copy.bytes
        groups.setdefault((entry.period.queue, copy.born_ms), []).append((copy, entry))
    parcels: list[Parcel] = []
    for (queue, _), rows in groups.items():
        for chunk in _chunks(rows):
            _pack(queue, chunk, parcels, failed)
    return Copied(parcels, failed, left, faults)


class _Sources:
    """What was read in this turn."""

    def __init__(self, journal: QueueLog) -> None:
        self._journal = journal
        self._dues: dict[tuple[int, int, int], list[Due]] = {}
        self._batches: dict[int, StoredBatch] = {}
        self.bytes = 0

    def copy(self, entry: NearEntry) -> Copy:
        period = entry.period
        name = period.name(entry.at)
        _, lsn, index = name
        key = (period.queue, period.key, lsn)
        dues = self._dues.get(key)
        if dues is None:
            dues = self._dues[key] = read_entries(self._journal, period, lsn)
        if index >= len(dues):
            raise _Lost(f"the record at log position {lsn} is damaged")
        due = dues[index]
        assert due.scheduled.kind in (DELIVER, RETRY), "nobody schedules other kinds yet"
        stored = self._batch(due.source, due.entry.offset)
        return copy_of(stored, due.scheduled, due.entry, name, due.stored_at_ms)

    def _batch(self, queue: int, offset: int) -> StoredBatch:
        journal = self._journal
        spans = journal.spans(queue, offset, 1, journal.durable)
        if not spans or not spans[0].base_offset <= offset < spans[0].base_offset + spans[0].count:
            raise _Lost(f"queue {queue} has no message at offset {offset} any more")
        span = spans[0]
        stored = self._batches.get(span.lsn)
        if stored is None:
            self.bytes += span.length
            try:
                (record,) = journal.read([span])
            except DamagedRecord as error:
                raise _Lost(str(error)) from None
            stored = self._batches[span.lsn] = StoredBatch(record, span.base_offset)
        return stored


def _chunks(rows: _Rows) -> list[_Rows]:
    """`rows`, cut where a batch is to be closed."""
    found: list[_Rows] = []
    size = PARCEL_BYTES + 1
    for row in rows:
        added = row[0].bytes
        if size + added > PARCEL_BYTES or len(found[-1]) == BATCH_MESSAGES_MAX:
            found.append([])
            size = 0
        found[-1].append(row)
        size += added
    return found


def _pack(queue: int, rows: _Rows, parcels: list[Parcel], failed: list[Failed]) -> None:
    try:
        frame = encode_copies([copy for copy, _ in rows])
    except BatchError:
        assert len(rows) == 1, "a batch of several is closed in time"
        try:
            frame = encode_copies([shortened(rows[0][0])])
        except BatchError as error:
            failed.append(Failed(rows[0][1], str(error)))
            return
    parcels.append(Parcel(queue, frame, [entry for _, entry in rows]))
