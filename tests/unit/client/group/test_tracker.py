"""Tracker: done ranges join, the floor passes them, and nothing done is ever forgotten."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from shardmq.client.group.tracker import Tracker


def tracker(floor: int = 0, *ranges: tuple[int, int]) -> Tracker:
    return Tracker(1, 0, 3, floor, ranges)


def test_done_in_order_only_moves_the_floor() -> None:
    done = tracker()
    done.add(0, 5)
    done.add(5, 9)
    assert (done.floor, done.ranges) == (9, [])


def test_a_gap_keeps_the_floor_until_it_is_filled() -> None:
    done = tracker()
    done.add(3, 5)
    done.add(7, 9)
    assert (done.floor, done.ranges) == (0, [(3, 5), (7, 9)])
    done.add(5, 7)
    assert (done.floor, done.ranges) == (0, [(3, 9)])
    done.add(0, 3)
    assert (done.floor, done.ranges) == (9, [])


def test_what_the_shard_knew_already_is_a_start_and_no_news() -> None:
    done = tracker(2, (4, 6))
    assert not done.is_dirty
    done.add(2, 4)
    assert (done.floor, done.is_dirty) == (6, True)


def test_the_same_again_is_no_news() -> None:
    done = tracker(2, (4, 6))
    for first, end in ((0, 2), (4, 6), (5, 6), (3, 3)):
        done.add(first, end)
    assert not done.is_dirty


def test_a_piece_with_room_says_all_of_it() -> None:
    done = tracker(2, (4, 6))
    message, version, is_last = done.piece(10)
    assert (message.queue, message.generation) == (1, 3)
    assert (message.floor, message.ranges) == (2, [(4, 6)])
    assert (version, is_last) == (0, True)


def test_more_than_there_is_room_for_is_durable_with_the_last_piece() -> None:
    done = tracker()
    for first in (1, 3, 5):
        done.add(first, first + 1)
    piece = done.piece(2)
    assert (piece.message.ranges, piece.is_last) == ([(1, 2), (3, 4)], False)
    done.told(piece)
    assert done.durable_version == 0
    last = done.piece(2)
    assert (last.message.ranges, last.is_last) == ([(5, 6)], True)
    done.told(last)
    assert not done.is_dirty


def test_what_is_done_below_while_a_sweep_is_under_way_is_for_the_next() -> None:
    done = tracker()
    for first in (1, 3, 5):
        done.add(first, first + 1)
    done.told(done.piece(2))
    done.add(7, 8)
    done.add(0, 1)
    last = done.piece(2)
    assert (last.message.floor, last.message.ranges) == (2, [(5, 6), (7, 8)])
    done.told(last)
    assert done.is_dirty
    assert done.piece(9).message.ranges == [(3, 4), (5, 6), (7, 8)]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=40))
def test_floor_and_ranges_are_the_set_of_what_was_added(steps: list[tuple[int, int]]) -> None:
    done = tracker()
    expected: set[int] = set()
    for first, count in steps:
        done.add(first, first + count)
        expected.update(range(first, first + count))
    told = set(range(done.floor)).union(*(range(*one) for one in done.ranges))
    assert told == expected
    edges = [done.floor, *(edge for one in done.ranges for edge in one)]
    assert all(low < high for low, high in itertools.pairwise(edges))
