"""Ranges: which offsets above a cursor's floor are done with.

Owns the arithmetic. Knows no cursor and no queue.

Disjoint ranges in ascending order are kept as their bounds alone, [start, stop, start, stop, ...],
8 bytes each: a cursor may have thousands. The bounds rise strictly, for ranges that touch are one.
Then the whole arithmetic is bisection: an offset lies inside exactly if an odd number of bounds is
at or below it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

__all__ = ["Bounds", "add", "cut_below", "holds", "missing", "pairs", "size_within"]

Bounds = Sequence[int]


def add(bounds: array[int], start: int, stop: int) -> None:
    """Put the offsets `start` up to, but without, `stop` into `bounds`; none may be none."""
    if start >= stop:
        return
    first = bisect_left(bounds, start)
    behind = bisect_right(bounds, stop)
    fresh = array("Q")
    if first % 2 == 0:
        fresh.append(start)
    if behind % 2 == 0:
        fresh.append(stop)
    bounds[first:behind] = fresh


def cut_below(bounds: array[int], floor: int) -> int:
    """Take out what lies below `floor`; returns the first offset from there on that is not done.
    Where that lies behind a range, the range goes, too."""
    at = bisect_right(bounds, floor)
    if at % 2:
        floor = bounds[at]
        at += 1
    del bounds[:at]
    return floor


def holds(bounds: Bounds, offset: int) -> bool:
    """True if `offset` is in one of the ranges."""
    return bisect_right(bounds, offset) % 2 == 1


def missing(bounds: Bounds, start: int, stop: int) -> list[tuple[int, int]]:
    """What the ranges leave out between `start` and `stop`."""
    if start >= stop:
        return []
    first, behind = bisect_right(bounds, start), bisect_left(bounds, stop)
    inside = list(bounds[first:behind])
    if first % 2 == 0:
        inside.insert(0, start)
    if behind % 2 == 0:
        inside.append(stop)
    return list(pairs(inside))


def size_within(bounds: Bounds, start: int, stop: int) -> int:
    """How many offsets from `start` up to, but without, `stop` the ranges hold."""
    if start >= stop:
        return 0
    first, behind = bisect_right(bounds, start), bisect_left(bounds, stop)
    inside = list(bounds[first:behind])
    if first % 2:
        inside.insert(0, start)
    if behind % 2:
        inside.append(stop)
    return sum(inside[1::2]) - sum(inside[::2])


def pairs(bounds: Bounds) -> Iterable[tuple[int, int]]:
    """The ranges, each as (start, stop)."""
    return zip(bounds[::2], bounds[1::2], strict=True)
