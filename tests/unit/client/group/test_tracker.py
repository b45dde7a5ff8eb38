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


def test_a_message_says_all_of_it() -> None:
    done = tracker(2, (4, 6))
    message = done.message()
    assert (message.queue, message.generation) == (1, 3)
    assert (message.floor, message.ranges) == (2, [(4, 6)])


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
