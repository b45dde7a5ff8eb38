"""Lag: how many messages a group has still to do, and since when the oldest of them waits.

Owns the counting, exact for every expression. Knows no request.

A group that wants all messages has to do what lies between floor and end, less its ranges and the
gaps of the queue: arithmetic. For tags the messages must be looked at, once: for each queue and
expression, cut into blocks of batches, it is kept how many selected messages lie in front of each
block. So a count up to any offset is a search, plus a look into the one block that holds the
offset; what was appended since the last time is counted on from there.

The first count of a long queue takes gigabytes of reading. So everything here that looks at batches
is a generator: it yields the cost of each piece (in the prices of `filters.py`), and whoever drives
it decides how many pieces a turn of the loop can take.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from shardmq.actors.kernel.ports import QueueLog, Span
from shardmq.actors.protocol.batch import BatchError
from shardmq.actors.protocol.limits import MIB

from .filters import BATCH_COST, PIECE_BYTES, read_sound, tags_of, view_of
from .serving import ServedQueue
from .state.ranges import Bounds, pairs, size_within

__all__ = ["Lag", "Lags"]

BLOCK_COST = 1 * MIB
"""A block is closed with the batch that reaches it: 16 bytes of memory for each."""
COUNTS_MAX = 4_096
"""(queue, expression) pairs that are remembered; the one that was not asked for longest goes."""
_COUNTED_MAX = 32
"""Up to so many tags, counting each apart is quicker than looking at each message."""
_EMPTY: array[int] = array("Q")


class Lag(NamedTuple):
    """How far behind a group is in a queue."""

    messages: int
    oldest_at_ms: int
    """When the oldest of them was stored; 0: there is none."""


class _Counts:
    """Selected messages of one queue, for one expression."""

    __slots__ = ("before", "cost", "end", "looked", "looked_at", "starts", "total")

    def __init__(self, origin: int) -> None:
        self.starts = array("Q", [origin])
        """First offset of each block."""
        self.before = array("Q", [0])
        """Selected messages from the origin up to the block."""
        self.end = origin
        """Offset up to which was counted."""
        self.total = 0
        self.cost = 0
        """Of the last block, which still grows."""
        self.looked: array[int] = _EMPTY
        """Offsets of selected messages in the block that was looked into last."""
        self.looked_at = (-1, -1)
        """Which that is, and its end then."""

    def block_of(self, offset: int) -> int:
        return bisect_right(self.starts, offset) - 1

    def stop_of(self, block: int) -> tuple[int, int]:
        """Offset behind the block, and selected messages up to there."""
        if block + 1 < len(self.starts):
            return self.starts[block + 1], self.before[block + 1]
        return self.end, self.total


class Lags:
    """Counts the lags of one shard."""

    def __init__(self, journal: QueueLog) -> None:
        self._journal = journal
        self._counts: OrderedDict[tuple[int, str], _Counts] = OrderedDict()

    def __len__(self) -> int:
        """Queues and expressions that are remembered."""
        return len(self._counts)

    def of(
        self, served: ServedQueue, expression: str, floor: int, acked: Bounds
    ) -> Generator[int, None, Lag]:
        """The lag of a cursor; yields the cost of each piece of work. What is appended meanwhile
        does not count."""
        end = served.offsets.visible
        tags = tags_of(expression)
        if tags is None:
            return self._of_all(served, floor, acked, end)
        counts = self._counts_of(served, expression, floor)
        yield from self._count_on(served.number, counts, tags, end)
        return (yield from self._of_tags(served.number, counts, tags, floor, acked, end))

    # ------------------------------------------------------------------ all messages

    def _of_all(self, served: ServedQueue, floor: int, acked: Bounds, end: int) -> Lag:
        if floor >= end:
            return Lag(0, 0)
        messages = end - floor - size_within(acked, floor, end)
        for start, stop in served.offsets.gaps:
            start, stop = max(start, floor), min(stop, end)
            if start < stop:
                messages -= stop - start - size_within(acked, start, stop)
        return Lag(messages, self._stored_at_ms(served.number, floor, acked) if messages else 0)

    def _stored_at_ms(self, queue: int, offset: int, acked: Bounds) -> int:
        """When the first message from `offset` on that is not in `acked` was stored."""
        while (span := self._span_at(queue, offset)) is not None:
            offset = max(offset, span.base_offset)
            at = bisect_right(acked, offset)
            if at % 2 == 0:
                return span.stored_at_ms
            offset = acked[at]
        return 0

    def _span_at(self, queue: int, offset: int) -> Span | None:
        spans = self._journal.spans(queue, offset, 1, self._journal.durable)
        return spans[0] if spans else None

    # ------------------------------------------------------------------ those with tags

    def _counts_of(self, served: ServedQueue, expression: str, floor: int) -> _Counts:
        key = served.number, expression
        counts = self._counts.get(key)
        if counts is None or floor < counts.starts[0]:
            counts = self._counts[key] = _Counts(floor)
        self._counts.move_to_end(key)
        while len(self._counts) > COUNTS_MAX:
            self._counts.popitem(last=False)
        gone = counts.block_of(served.offsets.earliest)
        if gone > len(counts.starts) // 2:
            del counts.starts[:gone]
            del counts.before[:gone]
            counts.looked_at = (-1, -1)
        return counts

    def _count_on(
        self, queue: int, counts: _Counts, tags: frozenset[str], end: int
    ) -> Generator[int, None, None]:
        """Count what has come since the last time, up to `end`."""
        while counts.end < end:
            cost = 0
            spans = self._spans(queue, counts.end, end)
            records = read_sound(self._journal, spans)
            for span in spans:
                if counts.cost >= BLOCK_COST:
                    counts.starts.append(counts.end)
                    counts.before.append(counts.total)
                    counts.cost = 0
                if span.base_offset < counts.end:  # the origin lies inside a batch
                    chosen = _selected(span, records, tags)
                    counts.total += sum(offset >= counts.end for offset in chosen)
                else:
                    counts.total += _count(span, records, tags)
                counts.end = span.base_offset + span.count
                counts.cost += span.length + BATCH_COST
                cost += span.length + BATCH_COST
            if not spans:
                counts.end = end  # nothing but a gap
            yield cost

    def _of_tags(
        self,
        queue: int,
        counts: _Counts,
        tags: frozenset[str],
        floor: int,
        acked: Bounds,
        end: int,
    ) -> Generator[int, None, Lag]:
        messages, oldest = 0, None
        for start, stop in _not_done(floor, acked, end):
            before = yield from self._up_to(queue, counts, tags, start)
            behind = yield from self._up_to(queue, counts, tags, stop)
            messages += behind - before
            if oldest is None and behind > before:
                block = bisect_right(counts.before, before) - 1
                looked = yield from self._look_into(queue, counts, tags, block)
                at = bisect_left(looked, start)
                oldest = looked[at] if at < len(looked) else None
        if oldest is None:
            return Lag(0, 0)
        span = self._span_at(queue, oldest)
        return Lag(messages, 0 if span is None else span.stored_at_ms)

    def _up_to(
        self, queue: int, counts: _Counts, tags: frozenset[str], offset: int
    ) -> Generator[int, None, int]:
        """Selected messages below `offset`, from the origin on."""
        block = max(0, counts.block_of(offset))
        if offset <= counts.starts[block]:
            return counts.before[block]
        stop, behind = counts.stop_of(block)
        if offset >= stop or behind == counts.before[block]:
            return behind
        looked = yield from self._look_into(queue, counts, tags, block)
        # From the block's end: retention may have taken some of its front by now.
        return behind - (len(looked) - bisect_left(looked, offset))

    def _look_into(
        self, queue: int, counts: _Counts, tags: frozenset[str], block: int
    ) -> Generator[int, None, array[int]]:
        """Offsets of a block's selected messages."""
        stop, _ = counts.stop_of(block)
        if counts.looked_at == (block, stop):
            return counts.looked
        looked, at, cost = array("Q"), counts.starts[block], 0
        while at < stop and (spans := self._spans(queue, at, stop)):
            records = read_sound(self._journal, spans)
            for span in spans:
                looked.extend(_selected(span, records, tags))
                cost += span.length + BATCH_COST
            at = spans[-1].base_offset + spans[-1].count
        counts.looked, counts.looked_at = looked, (block, stop)
        yield cost
        return looked

    def _spans(self, queue: int, offset: int, end: int) -> list[Span]:
        spans = self._journal.spans(queue, offset, PIECE_BYTES, self._journal.durable)
        while spans and spans[-1].base_offset >= end:
            spans.pop()
        return spans


def _not_done(floor: int, acked: Bounds, end: int) -> Iterator[tuple[int, int]]:
    """The stretches between the ranges, up to `end`."""
    start = floor
    for first, behind in pairs(acked):
        if first >= end:
            break
        yield start, first
        start = behind
    if start < end:
        yield start, end


def _count(span: Span, records: dict[int, bytes], tags: frozenset[str]) -> int:
    """How many messages of a batch are selected."""
    column = _column(span, records, tags)
    if column is None:
        return 0
    rows, wanted = column
    if len(wanted) > _COUNTED_MAX:  # a hostile batch may name one tag a thousand times
        return sum(index in wanted for index in rows)
    return sum(map(rows.count, wanted))


def _selected(span: Span, records: dict[int, bytes], tags: frozenset[str]) -> list[int]:
    """Offsets of the selected messages of a batch."""
    column = _column(span, records, tags)
    if column is None:
        return []
    rows, wanted = column
    base = span.base_offset
    return [base + row for row, index in enumerate(rows) if index in wanted]


def _column(
    span: Span, records: dict[int, bytes], tags: frozenset[str]
) -> tuple[Sequence[int], set[int]] | None:
    """Tag index of each message of a batch, and which of them are wanted; None if none is, or if
    the batch cannot be read."""
    record = records.get(span.lsn)
    if record is None:
        return None
    try:
        column = view_of(record).tag_rows()
    except BatchError:
        return None
    if column is None or tags.isdisjoint(column[0]):
        return None
    names, rows = column
    return rows, {index for index, name in enumerate(names) if name in tags}
