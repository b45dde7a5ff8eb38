"""Handouts: rows against a naive model, offset by offset; what is free; snapshots; size."""

from __future__ import annotations

import tracemalloc
from array import array
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shardmq.shards.state.handouts import NEVER, Handout, Handouts, free_stretch
from shardmq.shards.state.ranges import add, holds

SIZE = 40
MODEL = dict[int, tuple[int, int, int, bool]]
"""Offset -> until, attempt, receipt, held."""


def of(*rows: Handout) -> Handouts:
    handouts = Handouts()
    for row in rows:
        handouts.put(row)
    return handouts


def spread(handouts: Handouts) -> MODEL:
    return {
        offset: (row.until_ms, row.attempt, row.receipt, row.held)
        for row in handouts
        for offset in range(row.start, row.stop)
    }


stretches = st.tuples(st.integers(0, SIZE), st.integers(1, 10)).map(lambda one: (one[0], sum(one)))
puts = st.tuples(stretches, st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.booleans())
steps = st.lists(puts | stretches, max_size=30)


def walked(walk: list[object]) -> tuple[Handouts, MODEL]:
    """The rows after a walk, and the naive model of them."""
    handouts, model = Handouts(), MODEL()
    for step in walk:
        if len(step) == 5:  # type: ignore[arg-type]
            (start, stop), until_ms, attempt, receipt, held = step  # type: ignore[misc]
            handouts.put(Handout(start, stop, until_ms, attempt, receipt, held))
            model.update(dict.fromkeys(range(start, stop), (until_ms, attempt, receipt, held)))
        else:
            start, stop = step  # type: ignore[misc]
            handouts.cut(start, stop)
            model = {at: row for at, row in model.items() if not start <= at < stop}
    return handouts, model


@given(steps)
def test_rows_are_what_the_model_says(walk: list[object]) -> None:
    handouts, model = walked(walk)
    assert spread(handouts) == model
    rows = list(handouts)
    assert len(handouts) == len(rows)
    assert all(row.start < row.stop for row in rows)
    for former, later in pairwise(rows):
        assert former.stop <= later.start
        assert former.stop < later.start or former[2:] != later[2:]  # alike ones are one row
    again = Handouts.restored(handouts.snapshot())
    assert list(again) == rows


@given(steps, stretches)
def test_questions_are_answered_as_the_model_does(
    walk: list[object], asked: tuple[int, int]
) -> None:
    handouts, model = walked(walk)
    start, stop = asked
    within = of(*handouts.within(start, stop))
    assert spread(within) == {at: row for at, row in model.items() if start <= at < stop}
    for now_ms in (0, 1, 2, 3):
        starts, next_ms = handouts.visible(now_ms)
        seen = {row.start for row in handouts if row.until_ms <= now_ms}
        assert starts == sorted(seen)
        later = [row[0] for row in model.values() if row[0] > now_ms]
        assert next_ms == min(later, default=NEVER)
        assert handouts.in_flight(now_ms, 0) == len(later)
        above = [row for at, row in model.items() if row[0] > now_ms and at >= start]
        assert handouts.in_flight(now_ms, start) == len(above)
        held = {at for at, row in model.items() if row[2] == 1 and row[3] and row[0] > now_ms}
        assert set(spread(of(*handouts.held_by(1, now_ms)))) == held
    assert handouts.latest_ms() == max((row[0] for row in model.values()), default=0)
    assert handouts.receipts() == {row[2] for row in model.values()}
    found = handouts.from_offset(start)
    behind = [at for at in model if at >= start]
    assert (found is None) == (not behind)
    assert found is None or found.start <= min(behind) < found.stop


@given(steps, st.lists(stretches, max_size=5), st.integers(0, SIZE))
def test_what_is_free_is_neither_done_nor_handed_out(
    walk: list[object], done: list[tuple[int, int]], offset: int
) -> None:
    handouts, model = walked(walk)
    acked = array("Q")
    for start, stop in done:
        add(acked, start, stop)

    def is_free(at: int) -> bool:
        return at not in model and not holds(acked, at)

    start, stop = free_stretch(offset, acked, handouts)
    assert start == next(at for at in range(offset, 99) if is_free(at))
    assert all(is_free(at) for at in range(start, min(stop, 99)))
    assert stop == NEVER or not is_free(stop)


def test_without_rows_all_is_free() -> None:
    assert free_stretch(5, (), None) == (5, NEVER)
    assert free_stretch(5, array("Q", [5, 7, 9, 10]), None) == (7, 9)
    assert Handouts().visible(9) == ([], NEVER)


def test_a_hundred_thousand_rows_take_a_few_megabytes() -> None:
    tracemalloc.start()
    handouts = Handouts()
    for at in range(100_000):
        handouts.put(Handout(2 * at, 2 * at + 1, 1 << 41, 1, (1 << 63) - at - 1, True))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(handouts) == 100_000
    assert size < 6_000_000, size
