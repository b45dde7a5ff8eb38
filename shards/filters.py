"""Filters: which batches of a queue have a message that a group selects.

Owns the look into the tag column, and how far a search goes. Knows no request.

Batches are the unit: one with a selected message goes out whole, and the client, which knows the
same expression, leaves out the others; one without is passed. The column names each tag of a batch
once, so the look costs the same for one message as for thousands.

A search through a queue of which little is selected could go on for gigabytes. So it is priced, by
the bytes read and a sum for each batch, and ends where its price is reached; who searches goes on
from there another time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from shardmq.actors.kernel.ports import QueueLog, Span
from shardmq.actors.protocol.batch import BatchError, BatchView, read_batch_header
from shardmq.actors.protocol.limits import KIB
from shardmq.actors.protocol.tags import TagFilter

from .log.errors import DamagedRecord
from .log.record import PREFIX_BYTES

__all__ = ["Found", "Search", "read_sound", "tags_of", "view_of"]

PIECE_BYTES = 32 * KIB
"""Batches are read so many bytes at a time, or one if it is larger."""
BATCH_COST = 8 * KIB
"""What it costs to look at a batch (some 10 us), in bytes that could be read instead."""


@lru_cache(maxsize=4_096)
def tags_of(expression: str) -> frozenset[str] | None:
    """The tags that an expression selects; None: all messages."""
    return TagFilter(expression).tags


def view_of(record: bytes) -> BatchView:
    """The batch in a whole record.

    Raises:
        BatchError: it is none.
    """
    return BatchView(record, read_batch_header(record, PREFIX_BYTES), PREFIX_BYTES)


def read_sound(journal: QueueLog, spans: Sequence[Span]) -> dict[int, bytes]:
    """The records at `spans` by lsn; damaged ones are missing."""
    try:
        return dict(zip(map(_lsn_of, spans), journal.read(spans), strict=True))
    except DamagedRecord:
        records = {}
        for span in spans:
            try:
                records[span.lsn] = journal.read([span])[0]
            except DamagedRecord:
                continue
        return records


class Found(NamedTuple):
    """What a search came to."""

    spans: list[Span]
    """Batches to send; damaged ones are only ever the first."""
    records: dict[int, bytes]
    """Those of `spans`, by lsn."""
    behind: int
    """Offset behind all that was looked at."""
    cost: int


class Search:
    """Finds batches with selected messages."""

    def __init__(self, journal: QueueLog) -> None:
        self._journal = journal
        self.passed = 0
        """Batches without a selected message."""

    def first(self, queue: int, offset: int, below_lsn: int) -> list[Span]:
        """Where a search begins."""
        return self._journal.spans(queue, offset, PIECE_BYTES, below_lsn)

    def run(
        self,
        queue: int,
        spans: list[Span],
        tags: frozenset[str],
        bytes_max: int,
        cost_max: int,
        below_lsn: int,
    ) -> Found:
        """Batches of at most `bytes_max` bytes (unless it is one) with a message of `tags`, from
        the first of `spans` on, for a price of about `cost_max`."""
        kept: list[Span] = []
        found: dict[int, bytes] = {}
        behind, size, cost = spans[0].base_offset, 0, 0
        while spans:
            records = read_sound(self._journal, spans)
            for span in spans:
                record = records.get(span.lsn)
                if record is None:
                    # Damaged: said only when it comes first, so what lies before it is not lost.
                    if not cost:
                        return Found([span], found, span.base_offset + span.count, span.length)
                    return Found(kept, found, span.base_offset, cost)
                cost += span.length + BATCH_COST
                if _selects(tags, record):
                    size += span.length
                    if kept and size > bytes_max:
                        return Found(kept, found, span.base_offset, cost)
                    kept.append(span)
                    found[span.lsn] = record
                else:
                    self.passed += 1
                behind = span.base_offset + span.count
                if size >= bytes_max or cost >= cost_max:
                    return Found(kept, found, behind, cost)
            spans = self._journal.spans(queue, behind, PIECE_BYTES, below_lsn)
        return Found(kept, found, behind, cost)


def _lsn_of(span: Span) -> int:
    return span.lsn


def _selects(tags: frozenset[str], record: bytes) -> bool:
    try:
        names = view_of(record).tag_names()
    except BatchError:
        return True  # a sound checksum over nonsense: whoever decodes it says so
    return names is not None and not tags.isdisjoint(names)
