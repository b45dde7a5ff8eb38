"""Slots: a key keeps its queue unless that queue is closed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from shardmq.actors.protocol.limits import SLOTS
from shardmq.actors.protocol.slots import slot_of, slots_moved, slots_spread


def test_slots_are_fixed_for_ever() -> None:
    known = {"": 0, "order-1": 2156, "N14228": 39, "ключ": 2990, "🛫": 1544}
    assert {key: slot_of(key) for key in known} == known


@given(st.integers(1, 200))
def test_a_fresh_table_is_even(count: int) -> None:
    shares = Counter(slots_spread(range(count)))
    assert len(shares) == count
    assert max(shares.values()) - min(shares.values()) <= 1


def test_more_queues_than_slots_leave_the_last_ones_without_keys() -> None:
    table = slots_spread(range(5_000))
    assert table == list(range(SLOTS))


@given(st.integers(1, 40), st.data())
def test_closing_queues_moves_only_their_slots(count: int, data: st.DataObject) -> None:
    table = slots_spread(range(count))
    left = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    moved = slots_moved(table, sorted(left))
    assert set(moved) <= left
    for before, after in zip(table, moved, strict=True):
        assert after == before or before not in left


def test_the_slots_of_a_closed_queue_are_dealt_evenly() -> None:
    moved = slots_moved(slots_spread(range(4)), [0, 1, 2])
    shares = Counter(moved)
    assert max(shares.values()) - min(shares.values()) <= 1
