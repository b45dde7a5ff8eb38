"""Sources: from entries of the schedule to copies of their messages, as many as a turn does.

Owns the way there (record of the entry, batch that holds the message, row in it), what can be wrong
on it, and its bounds. Does not know what the copies are for, and appends nothing.

Entries of one turn often lie in a few records and a few batches, so both are opened once a turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from shardmq.actors.kernel.logs import fields
from shardmq.actors.kernel.ports import QueueLog
from shardmq.actors.protocol.batch import BatchError, BatchUnopened
from shardmq.actors.protocol.limits import MIB

from .copies import Copy, StoredBatch
from .log.errors import DamagedRecord
from .losses import Failed
from .near import Due, NearEntry, read_entries
from .requests import FATAL
from .state.records import EntryName

__all__ = ["Found", "Row", "copied_with"]

_log = logging.getLogger("shardmq.shard")
TURN_COPIED_BYTES: Final = 2 * MIB
"""Copies of one turn; the one that crosses it is still made."""
TURN_SOURCE_BYTES: Final = 8 * MIB
"""Batches that are read for them, likewise: a small message may lie in a large batch."""


class Row(NamedTuple):
    """A message and its entry."""

    copy: Copy
    entry: NearEntry
    due: Due


class Found(NamedTuple):
    """What became of the entries of one turn."""

    rows: list[Row]
    failed: list[Failed]
    left: list[NearEntry]
    """For the next turn."""
    faults: int
    """Entries that met a bug, or a codec that is not installed."""


class _Lost(Exception):
    """There is nothing to copy; the text says why."""


def copied_with(
    copy: Callable[[Due, StoredBatch, EntryName], Copy], journal: QueueLog,
    entries: list[NearEntry],
) -> Found:  # fmt: skip
    """Copies, as `copy` makes them, of as many of `entries` as one turn does, in order."""
    sources = _Sources(journal)
    rows: list[Row] = []
    failed: list[Failed] = []
    left: list[NearEntry] = []
    copied_bytes = faults = 0
    for at, entry in enumerate(entries):
        if copied_bytes >= TURN_COPIED_BYTES or sources.bytes >= TURN_SOURCE_BYTES:
            left = entries[at:]
            break
        try:
            due = sources.due(entry)
            stored = sources.batch(due.source, due.offset)
            row = Row(copy(due, stored, entry.period.name(entry.at)), entry, due)
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
        copied_bytes += row.copy.bytes
        rows.append(row)
    return Found(rows, failed, left, faults)


class _Sources:
    """What was read in this turn."""

    def __init__(self, journal: QueueLog) -> None:
        self._journal = journal
        self._dues: dict[tuple[int, int, int], list[Due]] = {}
        self._batches: dict[int, StoredBatch] = {}
        self.bytes = 0

    def due(self, entry: NearEntry) -> Due:
        """What the journal says of `entry`."""
        period = entry.period
        _, lsn, index = period.name(entry.at)
        key = (period.queue, period.key, lsn)
        dues = self._dues.get(key)
        if dues is None:
            dues = self._dues[key] = read_entries(self._journal, period, lsn)
        if index >= len(dues):
            raise _Lost(f"the record at log position {lsn} is damaged")
        return dues[index]

    def batch(self, queue: int, offset: int) -> StoredBatch:
        """The batch with that message."""
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
