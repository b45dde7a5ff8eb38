"""Handouts: which messages of a queue are in somebody's hands, until when, and by which receipt.

Owns the rows of one cursor and their arithmetic. Knows no cursor, no clock and no message.

A row is a stretch of offsets that were handed out alike: until when they are invisible to others,
how often they have been handed out, by which receipt, and whether the receiver still holds them (it
does not once it has said that they failed). Rows are disjoint and in ascending order; none of their
offsets is done with. What lies below the last row and is neither done with nor in a row was never
handed out.

A queue may have thousands of rows, a shard hundreds of thousands, so they lie in columns: 40 bytes
each, found by bisection.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from .ranges import Bounds

__all__ = ["NEVER", "Handout", "Handouts", "free_stretch"]

NEVER: Final = (1 << 63) - 1


class Handout(NamedTuple):
    """One row."""

    start: int
    stop: int
    """Behind the last."""
    until_ms: int
    """By the wall clock."""
    attempt: int
    """How often the messages have been handed out."""
    receipt: int
    held: bool


class Handouts:
    """The rows of one group in one queue."""

    __slots__ = ("_marks", "_receipts", "_starts", "_stops", "_untils")

    def __init__(self) -> None:
        self._starts = array("Q")
        self._stops = array("Q")
        self._untils = array("Q")
        self._receipts = array("Q")
        self._marks = array("Q")
        """Attempt and, as the lowest bit, whether it is held."""

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Handout]:
        return map(self._row, range(len(self._starts)))

    def _row(self, at: int) -> Handout:
        mark = self._marks[at]
        return Handout(
            self._starts[at], self._stops[at], self._untils[at], mark >> 1, self._receipts[at],
            mark & 1 == 1,
        )  # fmt: skip

    # ------------------------------------------------------------------ changes

    def cut(self, start: int, stop: int) -> None:
        """Take the offsets `start` up to, but without, `stop` out."""
        starts, stops = self._starts, self._stops
        first, behind = bisect_right(stops, start), bisect_left(starts, stop)
        if first >= behind:
            return
        left, right = starts[first], stops[behind - 1]
        kept = []
        if left < start:
            kept.append(self._row(first)._replace(stop=start))
        if right > stop:
            kept.append(self._row(behind - 1)._replace(start=stop))
        self._replace(first, behind, kept)

    def put(self, row: Handout) -> None:
        """Put a row in, in place of what its offsets were in before."""
        start, stop, until_ms, attempt, receipt, held = row
        assert start < stop, "a row has messages"
        self.cut(start, stop)
        starts, stops = self._starts, self._stops
        alike = (until_ms, attempt << 1 | held, receipt)
        first = behind = bisect_left(starts, start)
        if first and stops[first - 1] == start and self._alike(first - 1) == alike:
            first -= 1
            row = row._replace(start=starts[first])
        if behind < len(starts) and starts[behind] == stop and self._alike(behind) == alike:
            row = row._replace(stop=stops[behind])
            behind += 1
        self._replace(first, behind, [row])

    def _alike(self, at: int) -> tuple[int, int, int]:
        return self._untils[at], self._marks[at], self._receipts[at]

    def _replace(self, first: int, behind: int, rows: Sequence[Handout]) -> None:
        if first == behind == len(self._starts) and len(rows) == 1:
            row = rows[0]
            self._starts.append(row.start)
            self._stops.append(row.stop)
            self._untils.append(row.until_ms)
            self._receipts.append(row.receipt)
            self._marks.append(row.attempt << 1 | row.held)
            return
        if not rows:
            for column in (self._starts, self._stops, self._untils, self._receipts, self._marks):
                del column[first:behind]
            return
        self._starts[first:behind] = array("Q", [row.start for row in rows])
        self._stops[first:behind] = array("Q", [row.stop for row in rows])
        self._untils[first:behind] = array("Q", [row.until_ms for row in rows])
        self._receipts[first:behind] = array("Q", [row.receipt for row in rows])
        self._marks[first:behind] = array("Q", [row.attempt << 1 | row.held for row in rows])

    # ------------------------------------------------------------------ questions

    def from_offset(self, offset: int) -> Handout | None:
        """The row that holds `offset`, else the first one behind it."""
        at = bisect_right(self._stops, offset)
        return self._row(at) if at < len(self._starts) else None

    def within(self, start: int, stop: int) -> list[Handout]:
        """The rows between `start` and `stop`, cut to these."""
        first, behind = bisect_right(self._stops, start), bisect_left(self._starts, stop)
        found = [self._row(at) for at in range(first, behind)]
        if found and found[0].start < start:
            found[0] = found[0]._replace(start=start)
        if found and found[-1].stop > stop:
            found[-1] = found[-1]._replace(stop=stop)
        return found

    def held_by(self, receipt: int, now_ms: int) -> list[Handout]:
        """The rows that the receiver with that receipt holds at `now_ms`."""
        if receipt not in self._receipts:
            return []
        found = [self._row(at) for at, one in enumerate(self._receipts) if one == receipt]
        return [row for row in found if row.held and row.until_ms > now_ms]

    def receipts(self) -> set[int]:
        """All receipts that are known."""
        return set(self._receipts)

    def visible(self, now_ms: int) -> tuple[list[int], int]:
        """First offsets of the rows that are visible again at `now_ms`, and when the next one of
        the others is, `NEVER` if there is none."""
        untils = self._untils
        soonest_ms = min(untils, default=NEVER)
        if soonest_ms > now_ms:
            return [], soonest_ms
        starts = [start for start, until in zip(self._starts, untils, strict=True)
                  if until <= now_ms]  # fmt: skip
        return starts, min((until for until in untils if until > now_ms), default=NEVER)

    def latest_ms(self) -> int:
        """When the last row is visible again; 0 without rows."""
        return max(self._untils, default=0)

    def in_flight(self, now_ms: int, floor: int) -> int:
        """Messages from `floor` on that are invisible at `now_ms`."""
        columns = zip(self._starts, self._stops, self._untils, strict=True)
        return sum(
            stop - max(start, floor)
            for start, stop, until in columns
            if until > now_ms and stop > floor
        )

    # ------------------------------------------------------------------ snapshots

    def snapshot(self) -> list[int]:
        """The rows as one list of small numbers."""
        found: list[int] = []
        behind = 0
        for row in self:
            mark = row.attempt << 1 | row.held
            found += (row.start - behind, row.stop - row.start, row.until_ms, row.receipt, mark)
            behind = row.stop
        return found

    @classmethod
    def restored(cls, snapshot: Sequence[int]) -> Handouts:
        """What `snapshot` told of."""
        one = cls()
        behind = 0
        for at in range(0, len(snapshot), 5):
            gap, count, until_ms, receipt, mark = snapshot[at : at + 5]
            one._starts.append(behind + gap)
            behind += gap + count
            one._stops.append(behind)
            one._untils.append(until_ms)
            one._receipts.append(receipt)
            one._marks.append(mark)
        return one


def free_stretch(offset: int, acked: Bounds, handouts: Handouts | None) -> tuple[int, int]:
    """The first offset from `offset` on that is neither in `acked` nor handed out, and up to where
    that goes on."""
    rows = Handouts() if handouts is None else handouts
    starts, stops = rows._starts, rows._stops
    while True:
        at = bisect_right(acked, offset)
        if at % 2:
            offset = acked[at]
            continue
        stop = acked[at] if at < len(acked) else NEVER
        at = bisect_right(stops, offset)
        if at == len(starts):
            return offset, stop
        if starts[at] > offset:
            return offset, min(stop, starts[at])
        offset = stops[at]
