"""The sparse index: where each queue's batches lie.

Owns the entries of the segment being written (in memory) and the way to those of the sealed ones
(in their index files, a few of which are kept open). Knows no record and no projection.

An entry is four 64-bit words, one entry a batch: base offset, lsn, length | count << 32, stored at.
A queue without batches costs nothing here; one with batches costs an array per segment in memory
plus two words for each segment in which it occurs. Offsets, lsns and stamps of a queue all rise
together, so every search is a bisection over words, without an object per step.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from shardmq.actors.kernel.ports import Span

from .indexfile import ENTRY_WORDS, IndexFile, Rows

__all__ = ["QueueIndex"]

Load = Callable[[int], IndexFile]
"""Reads, or builds again, the index of the sealed segment with that base."""

_LOW = 0xFFFFFFFF


class _Lost(Exception):
    """A segment's index had to be built again from a damaged log, and holds nothing of the queue
    any more; where the queue is to be found has been mended, so look again."""


class _Words(NamedTuple):
    """The entries of one queue in one segment."""

    words: Sequence[int]
    first: int
    stop: int


class QueueIndex:
    """Batches of all queues, found by offset or by time.

    Args:
        load: reads a sealed segment's index when it is first needed.
        cached_max: how many of those stay in memory.
    """

    def __init__(self, load: Load, cached_max: int) -> None:
        self._load = load
        self._cached_max = cached_max
        self._cache: OrderedDict[int, IndexFile] = OrderedDict()
        self._memory: dict[int, dict[int, array[int]]] = {}
        self._bases: list[int] = []
        self._where: dict[int, array[int]] = {}
        """Queue: (segment base, first offset there) for each segment with batches of it."""
        self._rows: dict[int, array[int]] = {}
        self._base = -1

    # ------------------------------------------------------------------ writing

    def open_segment(self, base: int) -> None:
        """Batches added from now on lie in the segment `base`, the newest one."""
        assert not self._bases or base > self._bases[-1]
        self._bases.append(base)
        self._base = base
        self._rows = self._memory[base] = {}

    def add(
        self, queue: int, base_offset: int, lsn: int, length: int, count: int, stored_at_ms: int
    ) -> None:
        """One batch was appended."""
        row = self._rows.get(queue)
        if row is None:
            row = self._rows[queue] = array("Q")
            where = self._where.get(queue)
            if where is None:
                where = self._where[queue] = array("Q")
            where.extend((self._base, base_offset))
        row.extend((base_offset, lsn, length | count << 32, stored_at_ms))

    def rows(self, base: int) -> Rows:
        """Entries of a segment that is still in memory."""
        return self._memory[base]

    def sealed(self, base: int) -> None:
        """The index file of `base` is written: its entries may leave the memory."""
        assert base != self._base
        self._memory.pop(base, None)

    # ------------------------------------------------- opening and dropping segments

    def add_sealed(self, base: int, first_offsets: dict[int, int]) -> None:
        """A segment found at start with a sound index file; to be called oldest first."""
        assert not self._bases or base > self._bases[-1]
        self._bases.append(base)
        for queue, offset in first_offsets.items():
            where = self._where.get(queue)
            if where is None:
                where = self._where[queue] = array("Q")
            where.extend((base, offset))

    def drop(self, base: int) -> None:
        """The oldest segment is gone."""
        assert self._bases[0] == base != self._base
        self._bases.pop(0)
        self._memory.pop(base, None)
        self._cache.pop(base, None)
        emptied = []
        for queue, where in self._where.items():
            if where[0] == base:
                del where[:2]
                if not where:
                    emptied.append(queue)
        for queue in emptied:
            del self._where[queue]

    # ------------------------------------------------------------------ reading

    def queues(self) -> list[int]:
        """Queues that have batches."""
        return list(self._where)

    def earliest(self, queue: int) -> int | None:
        """Offset of the oldest message still stored, None if there is none."""
        where = self._where.get(queue)
        return None if where is None else where[1]

    def next_offset(self, queue: int) -> int:
        """Offset behind the newest batch still stored, 0 if there is none."""
        while (where := self._where.get(queue)) is not None:
            try:
                words, _, stop = self._entries(where[-2], queue)
            except _Lost:
                continue
            return words[stop - 4] + (words[stop - 2] >> 32)
        return 0

    def spans(self, queue: int, offset: int, bytes_max: int, below_lsn: int) -> list[Span]:
        """See `QueueLog.spans`."""
        while (where := self._where.get(queue)) is not None:
            try:
                return self._spans(where, queue, offset, bytes_max, below_lsn)
            except _Lost:
                continue
        return []

    def _spans(
        self, where: array[int], queue: int, offset: int, bytes_max: int, below_lsn: int
    ) -> list[Span]:
        found: list[Span] = []
        taken = 0
        segment = max(_last_at_most(where, 1, 2, 0, len(where), offset), 0)
        for at in range(segment, len(where), 2):
            words, first, stop = self._entries(where[at], queue)
            row = first
            if not found:
                row = max(_last_at_most(words, 0, ENTRY_WORDS, first, stop, offset), first)
                if words[row] + (words[row + 2] >> 32) <= offset:
                    row += ENTRY_WORDS  # in a gap of offsets, or behind this segment's last
            for index in range(row, stop, ENTRY_WORDS):
                lsn, packed = words[index + 1], words[index + 2]
                length = packed & _LOW
                if lsn + length > below_lsn or (found and taken + length > bytes_max):
                    return found
                found.append(Span(words[index], lsn, length, packed >> 32, words[index + 3]))
                taken += length
                if taken >= bytes_max:
                    return found
        return found

    def offset_at_time(self, queue: int, wall_ms: int, below_lsn: int) -> int | None:
        """See `QueueLog.offset_at_time`."""
        while (where := self._where.get(queue)) is not None:
            try:
                return self._offset_at_time(where, queue, wall_ms, below_lsn)
            except _Lost:
                continue
        return None

    def _offset_at_time(
        self, where: array[int], queue: int, wall_ms: int, below_lsn: int
    ) -> int | None:
        low, high = 0, len(where) // 2
        while low < high:  # the first segment whose last batch is not too old
            middle = (low + high) // 2
            words, _, stop = self._entries(where[2 * middle], queue)
            if words[stop - 1] < wall_ms:
                low = middle + 1
            else:
                high = middle
        if 2 * low >= len(where):
            return None
        words, first, stop = self._entries(where[2 * low], queue)
        row = _last_at_most(words, 3, ENTRY_WORDS, first, stop, wall_ms - 1) + ENTRY_WORDS
        row = max(row, first)
        if words[row + 1] + (words[row + 2] & _LOW) > below_lsn:
            return None
        return words[row]

    def queue_at(self, span: Span, base: int) -> int:
        """The queue of a batch found earlier, which lies in the segment `base`. A slow search, for
        naming a damaged record."""
        for queue, where in list(self._where.items()):
            if base in where[0::2]:
                try:
                    words, first, stop = self._entries(base, queue)
                except _Lost:
                    continue
                row = _last_at_most(words, 1, ENTRY_WORDS, first, stop, span.lsn)
                if row >= first and words[row + 1] == span.lsn:
                    return queue
        return -1

    def _entries(self, base: int, queue: int) -> _Words:
        rows = self._memory.get(base)
        if rows is not None:
            row = rows[queue]
            return _Words(row, 0, len(row))
        loaded = self._cache.get(base)
        if loaded is None:
            loaded = self._cache[base] = self._load(base)
            if len(self._cache) > self._cached_max:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(base)
        found = loaded.directory.get(queue)
        if found is None:
            self._mend(base, queue)
            raise _Lost
        return _Words(loaded.words, *found)

    def _mend(self, base: int, queue: int) -> None:
        where = self._where[queue]
        at = 2 * where[0::2].index(base)
        del where[at : at + 2]
        if not where:
            del self._where[queue]


def _last_at_most(
    words: Sequence[int], column: int, stride: int, first: int, stop: int, value: int
) -> int:
    """Start of the last entry in words[first:stop] whose `column` is at most `value`; one entry
    in front of `first` if there is none."""
    low, high = 0, (stop - first) // stride
    while low < high:
        middle = (low + high) // 2
        if words[first + middle * stride + column] <= value:
            low = middle + 1
        else:
            high = middle
    return first + (low - 1) * stride
