"""Release, copying: from entries that are due to batches that can be appended.

Owns how copies are put together. Appends nothing. The way from an entry to its message, and how
much of it is done in a turn, stand in `sources.py`.

A batch of copies is for one queue, in the order in which they fell due, and of one born time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from shardmq.actors.kernel.ports import QueueLog
from shardmq.actors.protocol.batch import BatchError
from shardmq.actors.protocol.limits import BATCH_MESSAGES_MAX, MIB

from .copies import Copy, StoredBatch, copy_of, encode_copies, shortened
from .losses import Failed
from .near import Due, NearEntry
from .sources import Row, copied_with
from .state.records import EntryName
from .state.schedule import DELIVER, RETRY

__all__ = ["Copied", "Parcel", "chunks", "copied"]

PARCEL_BYTES: Final = 1 * MIB
"""Where a batch of copies is closed, unless a single one is larger."""


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


def copied(journal: QueueLog, entries: list[NearEntry]) -> Copied:
    """Copies of as many of `entries` as one turn does, in order."""
    found = copied_with(_copy, journal, entries)
    groups: dict[tuple[int, tuple[int, int]], list[Row]] = {}
    for row in found.rows:
        groups.setdefault((row.entry.period.queue, row.copy.born_ms), []).append(row)
    parcels: list[Parcel] = []
    for (queue, _), rows in groups.items():
        for chunk in chunks(rows):
            _pack(queue, chunk, parcels, found.failed)
    return Copied(parcels, found.failed, found.left, found.faults)


def _copy(due: Due, stored: StoredBatch, name: EntryName) -> Copy:
    assert due.scheduled.kind in (DELIVER, RETRY), "nobody schedules other kinds yet"
    return copy_of(stored, due.scheduled, due.entry, name, due.decided_at_ms, due.offset)


def chunks(rows: list[Row]) -> list[list[Row]]:
    """`rows`, cut where a batch is to be closed."""
    found: list[list[Row]] = []
    size = PARCEL_BYTES + 1
    for row in rows:
        added = row.copy.bytes
        if size + added > PARCEL_BYTES or len(found[-1]) == BATCH_MESSAGES_MAX:
            found.append([])
            size = 0
        found[-1].append(row)
        size += added
    return found


def _pack(queue: int, rows: list[Row], parcels: list[Parcel], failed: list[Failed]) -> None:
    try:
        frame = encode_copies([row.copy for row in rows])
    except BatchError:
        assert len(rows) == 1, "a batch of several is closed in time"
        try:
            frame = encode_copies([shortened(rows[0].copy)])
        except BatchError as error:
            failed.append(Failed(rows[0].entry, str(error)))
            return
    parcels.append(Parcel(queue, frame, [row.entry for row in rows]))
