"""Cutting: batches that hold some messages of a stored one, and no others.

Owns how a stored batch is opened and cut, and which opened ones are kept. Knows no group and no
request.

A cut keeps all that a message has: id, tag, keys, ordering key, properties, born time. It is not
compressed: it is small, and whoever gets it waits. A cut that is all of the batch is the stored
batch itself, as it is.

A work queue is handed out in small pieces, side by side, so the same batch is cut again and again;
opened ones are kept, as many as a bound in bytes allows, those of last use.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from shardmq.actors.kernel.ports import QueueLog, Span
from shardmq.actors.protocol.batch import BatchError, Columns, encode_batch
from shardmq.actors.protocol.limits import MIB

from .filters import view_of
from .log.record import PREFIX_BYTES

__all__ = ["OPENED_BYTES_MAX", "OpenedBatch", "OpenedBatches"]

OPENED_BYTES_MAX: Final = 32 * MIB
_BODY_BYTES: Final = 56
"""What a message takes in memory beside its body."""
_META_FACTOR: Final = 8
"""What a byte of columns becomes when it is opened, roughly."""
_NO_COLUMNS: Final = (None,) * (len(Columns._fields) - 1)


class OpenedBatch:
    """A stored batch, opened.

    Raises:
        BatchError: it is malformed.
        BatchUnopened: its codec is not installed.
    """

    __slots__ = (
        "_bare",
        "_columns",
        "_head",
        "_offsets",
        "_record",
        "_selected",
        "base_offset",
        "bodies_bytes",
        "bytes",
        "count",
        "stop",
        "stored_at_ms",
        "weight",
    )

    def __init__(self, record: bytes, span: Span) -> None:
        view = view_of(record)
        head = view.head
        self._record = record
        self._head = head
        self.base_offset = span.base_offset
        self.count = head.count
        self.bytes = head.length
        """Of the stored batch."""
        self.bodies_bytes = head.bodies_raw_bytes
        self.stored_at_ms = span.stored_at_ms
        columns = Columns(
            view.bodies(), view.tags(), view.keys(), view.ordering_keys(), view.properties(),
            view.due_times_ms(), view.message_ids(),
        )  # fmt: skip
        self._columns = columns
        self._bare = columns[1:] == _NO_COLUMNS
        deltas = view.offset_deltas()
        self._offsets: Sequence[int] = range(self.count) if deltas is None else deltas
        self.stop = max(span.base_offset + span.count, span.base_offset + self._offsets[-1] + 1)
        """Offset behind the batch."""
        self._selected: tuple[frozenset[str] | None, Sequence[int]] = (None, ())
        meta_bytes = 0 if self._bare else _META_FACTOR * head.meta_bytes
        self.weight = len(record) + head.bodies_raw_bytes + _BODY_BYTES * head.count + meta_bytes
        """What it takes in memory, roughly, in bytes."""

    def offset(self, index: int) -> int:
        """Offset of the message at that place."""
        return self.base_offset + self._offsets[index]

    def index_from(self, offset: int) -> int:
        """Place of the first message at or behind `offset`; `count` if there is none."""
        delta = offset - self.base_offset
        if isinstance(self._offsets, range):
            return min(max(delta, 0), self.count)
        return bisect_left(self._offsets, delta)

    def run_from(self, index: int, stop: int, tags: frozenset[str] | None) -> tuple[int, int]:
        """Places of the first message from `index` on whose tag is one of `tags` (None: any), and
        behind the last of those that follow it without a gap, all in front of the offset `stop`.
        The same number twice: there is none."""
        end = self.index_from(stop)
        if tags is not None:
            chosen = self._chosen(tags)
            at = bisect_left(chosen, index)
            if at == len(chosen) or chosen[at] >= end:
                return end, end
            index = chosen[at]
            # As long as the places rise as the numbers of their places do, there is no gap.
            low, high = at, len(chosen) - 1
            while low < high:
                middle = (low + high + 1) // 2
                if chosen[middle] - index == middle - at:
                    low = middle
                else:
                    high = middle - 1
            end = min(end, chosen[low] + 1)
        if index >= end or isinstance(self._offsets, range):
            return index, max(index, end)
        behind = index + 1
        while behind < end and self._offsets[behind] == self._offsets[behind - 1] + 1:
            behind += 1
        return index, behind

    def _chosen(self, tags: frozenset[str]) -> Sequence[int]:
        if self._selected[0] != tags:
            column = self._columns.tags or ()
            chosen = [at for at, tag in enumerate(column) if tag in tags]
            self._selected = (tags, chosen)
        return self._selected[1]

    def fitting(self, first: int, behind: int, bytes_max: int) -> int:
        """Up to where the bodies from place `first` on have at most `bytes_max` bytes; at least one
        of them."""
        if self.bodies_bytes <= bytes_max:
            return behind
        size = 0
        for at, body in enumerate(self._columns.bodies[first:behind], first):
            size += len(body)
            if size > bytes_max and at > first:
                return at
        return behind

    def cut(self, first: int, behind: int) -> bytes:
        """A batch of the messages at the places `first` up to, but without, `behind`.

        Raises:
            BatchError: it would exceed the limits of a batch.
        """
        if behind - first == self.count:
            return self._record[PREFIX_BYTES:]
        columns, head = self._columns, self._head
        if self._bare:
            columns = Columns(columns.bodies[first:behind])
        else:
            columns = Columns._make(
                None if column is None else column[first:behind] for column in columns
            )
        return encode_batch(
            columns,
            producer_id=head.producer_id,
            first_sequence=head.first_sequence + first,
            first_born_ms=head.first_born_ms,
            last_born_ms=head.last_born_ms,
        )


class OpenedBatches:
    """Opens stored batches, and keeps them while there is room."""

    def __init__(self, journal: QueueLog) -> None:
        self._journal = journal
        self._kept: OrderedDict[int, OpenedBatch] = OrderedDict()
        self._weight = 0
        self.opened = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, lsn: int) -> bool:
        return lsn in self._kept

    def get(self, span: Span) -> OpenedBatch:
        """The batch at `span`.

        Raises:
            DamagedRecord: the disk has lost it.
            BatchError: it is malformed.
            BatchUnopened: its codec is not installed.
        """
        found = self._kept.get(span.lsn)
        if found is None:
            (record,) = self._journal.read([span])
            return self._keep(span, record)
        self._kept.move_to_end(span.lsn)
        return found

    def add(self, spans: Sequence[Span], records: Mapping[int, bytes]) -> None:
        """Open those of `spans` whose record is among `records`, by position. Who is malformed is
        left out: it is said to whoever asks for it."""
        for span in spans:
            record = records.get(span.lsn)
            if record is not None and span.lsn not in self._kept:
                try:
                    self._keep(span, record)
                except BatchError:
                    continue

    def _keep(self, span: Span, record: bytes) -> OpenedBatch:
        found = self._kept[span.lsn] = OpenedBatch(record, span)
        self.opened += 1
        self._weight += found.weight
        while self._weight > OPENED_BYTES_MAX and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._weight -= oldest.weight
        return found
