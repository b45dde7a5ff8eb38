"""Ranges: the arithmetic agrees with sets of offsets, whatever is added and cut."""

from __future__ import annotations

from array import array
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shardmq.shards.state.ranges import add, cut_below, holds, missing, pairs, size_within

OFFSETS = st.integers(0, 40)
RANGES = st.lists(st.tuples(OFFSETS, OFFSETS), max_size=12)


def bounds_of(ranges: list[tuple[int, int]]) -> array[int]:
    bounds = array("Q")
    for start, stop in ranges:
        add(bounds, start, stop)
    return bounds


def offsets_of(ranges: list[tuple[int, int]]) -> set[int]:
    return {offset for start, stop in ranges for offset in range(start, stop)}


def test_ranges_that_touch_become_one() -> None:
    assert list(bounds_of([(2, 4), (6, 8)])) == [2, 4, 6, 8]
    assert list(bounds_of([(2, 4), (6, 8), (4, 6)])) == [2, 8]
    assert list(bounds_of([(5, 5), (7, 3)])) == []


def test_offsets_up_to_the_largest_fit() -> None:
    top = (1 << 63) - 1
    assert list(bounds_of([(top - 1, top)])) == [top - 1, top]


@given(RANGES)
def test_bounds_rise_strictly_and_hold_what_was_added(ranges: list[tuple[int, int]]) -> None:
    bounds = bounds_of(ranges)
    assert all(former < later for former, later in pairwise(bounds))
    assert len(bounds) % 2 == 0
    wanted = offsets_of(ranges)
    assert {offset for offset in range(45) if holds(bounds, offset)} == wanted
    assert offsets_of(list(pairs(bounds))) == wanted


@given(RANGES, RANGES)
def test_the_order_and_repetition_of_additions_do_not_matter(
    some: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    assert bounds_of(some + others) == bounds_of(others + some + others)


@given(RANGES, OFFSETS)
def test_a_cut_leaves_what_lies_above_and_finds_the_first_gap(
    ranges: list[tuple[int, int]], floor: int
) -> None:
    bounds = bounds_of(ranges)
    wanted = offsets_of(ranges)
    found = cut_below(bounds, floor)
    first = floor
    while first in wanted:
        first += 1
    assert found == first
    assert offsets_of(list(pairs(bounds))) == {offset for offset in wanted if offset >= first}
    assert not bounds or bounds[0] > found


@given(RANGES, OFFSETS, OFFSETS)
def test_sizes_are_those_of_the_sets(ranges: list[tuple[int, int]], start: int, stop: int) -> None:
    wanted = offsets_of(ranges)
    inside = sum(start <= offset < stop for offset in wanted)
    assert size_within(bounds_of(ranges), start, stop) == inside


@given(RANGES, OFFSETS, OFFSETS)
def test_what_is_missing_is_the_rest(ranges: list[tuple[int, int]], start: int, stop: int) -> None:
    found = missing(bounds_of(ranges), start, stop)
    assert offsets_of(found) == set(range(start, stop)) - offsets_of(ranges)
    assert all(first < behind for first, behind in found)
