"""Carry, copying: from entries to batches of their messages, and to the records that say so.

Owns how messages are put together that are to be carried on in the log, and how their entries are
replaced. Appends nothing, and knows no retention.

A batch has messages of one born time and one codec, which their copies show one day. They end no
entry: the record behind them does that for all that it names, and makes others in their place. Who
reads the log up to a point between the two finds batches that nobody asks for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from shardmq.actors.kernel.ports import QueueLog
from shardmq.actors.protocol.batch import BatchError

from .copies import Copy, StoredBatch, encode_copies, same_of
from .losses import Failed
from .near import Due, NearEntry
from .release_copies import chunks
from .sources import Row, copied_with
from .state.buckets import BUCKET_MASK
from .state.records import Carried, CarriedPlace, EntryName, Scheduled

__all__ = ["Carriage", "Moved", "Parcel", "carried", "records_of"]


class Parcel(NamedTuple):
    """A batch of messages that are carried on."""

    frame: bytes
    rows: list[Row]


class Carriage(NamedTuple):
    """What became of the entries of one turn."""

    parcels: list[Parcel]
    failed: list[Failed]
    faults: int
    """Entries that met a bug, or a codec that is not installed. They stay as they are."""


class Moved(NamedTuple):
    """A message that has been appended again."""

    row: Row
    offset: int
    lsn: int
    """Of the batch."""


def carried(journal: QueueLog, entries: list[NearEntry]) -> Carriage:
    """Batches of the messages of as many of `entries` as one turn does."""
    found = copied_with(_copy, journal, entries)
    groups: dict[tuple[tuple[int, int], int], list[Row]] = {}
    for row in found.rows:
        groups.setdefault((row.copy.born_ms, row.copy.codec), []).append(row)
    parcels: list[Parcel] = []
    for rows in groups.values():
        for chunk in chunks(rows):
            try:
                frame = encode_copies([row.copy for row in chunk], ends=False)
            except BatchError as error:
                assert len(chunk) == 1, "a batch of several is closed in time"
                found.failed.append(Failed(chunk[0].entry, str(error)))
                continue
            parcels.append(Parcel(frame, chunk))
    return Carriage(parcels, found.failed, found.faults)


def _copy(due: Due, stored: StoredBatch, name: EntryName) -> Copy:
    return same_of(stored, due.scheduled, name, due.offset)


def records_of(moved: Iterable[Moved], cut_lsn: int) -> list[Carried]:
    """The records that replace the entries of `moved`: one for each decision that they shared."""
    groups: dict[tuple[object, ...], list[Moved]] = {}
    for one in moved:
        groups.setdefault(_head(one.row.due.scheduled), []).append(one)
    return [_record(group, cut_lsn) for group in groups.values()]


def _head(of: Scheduled) -> tuple[object, ...]:
    """What a decision says of all of its entries."""
    return of.destination, of.kind, of.dead, of.group_id, of.topic, of.queue_id


def _record(moved: list[Moved], cut_lsn: int) -> Carried:
    scheduled = moved[0].row.due.scheduled
    entries = [msgspec.structs.replace(one.row.due.entry, lsn=one.lsn) for one in moved]
    return Carried(
        bucket=scheduled.destination & BUCKET_MASK,
        cut_lsn=cut_lsn,
        ended=[one.row.copy.entry for one in moved],
        scheduled=msgspec.structs.replace(scheduled, entries=entries),
        places=[CarriedPlace(one.offset, one.row.due.decided_at_ms) for one in moved],
    )
