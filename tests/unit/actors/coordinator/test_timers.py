"""Timers: nothing comes early, late or twice, and putting off costs no memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shardmq.actors.coordinator.timers import STALE_SLACK, Timers

steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 4), st.integers(0, 30)),
        st.tuples(st.just("drop"), st.integers(0, 4), st.just(0)),
        st.tuples(st.just("wait"), st.just(0), st.integers(0, 8)),
    )
)


@given(steps)
def test_each_key_comes_once_at_the_moment_that_was_set_last(
    wishes: list[tuple[str, int, int]],
) -> None:
    timers: Timers[int] = Timers()
    expected: dict[int, int] = {}
    now = 0
    for wish, key, span in wishes:
        if wish == "set":
            expected[key] = now + span
            timers.set(key, now + span)
        elif wish == "drop":
            expected.pop(key, None)
            timers.drop(key)
        else:
            now += span
            due = [one for one in expected if expected[one] <= now]
            found = timers.due(now)
            assert sorted(found) == sorted(due)
            moments = [expected.pop(one) for one in found]
            assert moments == sorted(moments)
        wake_at_ms = timers.wake_at_ms
        if expected:
            assert wake_at_ms is not None
            assert wake_at_ms <= min(expected.values())
        assert len(timers) == len(expected)


def test_they_come_in_the_order_of_their_moments() -> None:
    timers: Timers[str] = Timers()
    timers.set("late", 30)
    timers.set("put off", 10)
    timers.set("put off", 20)
    timers.set("early", 5)
    assert timers.due(30) == ["early", "put off", "late"]
    assert timers.wake_at_ms is None


def test_putting_off_again_and_again_keeps_one_entry() -> None:
    timers: Timers[str] = Timers()
    for now in range(1_000):
        timers.set("lease", now + 10_000)
    assert len(timers._heap) == 1
    assert timers.due(10_500) == []
    assert timers.wake_at_ms == 10_999


def test_a_moment_that_was_brought_forward_comes_once() -> None:
    timers: Timers[str] = Timers()
    timers.set("lease", 100)
    timers.set("lease", 50)
    assert timers.due(60) == ["lease"]
    timers.set("lease", 90)
    assert timers.due(200) == ["lease"]
    assert timers.due(300) == []


def test_moments_that_are_brought_forward_again_and_again_cost_no_memory() -> None:
    timers: Timers[str] = Timers()
    for now in range(10_000):
        timers.set("lease", now + 1_000_000)
        timers.set("lease", now + 100_000 - now)
        timers.drop("lease")
        timers.set(f"member {now}", now + 10)
        timers.drop(f"member {now}")
        assert len(timers._heap) <= STALE_SLACK + 6
        assert len(timers._queued) <= len(timers._heap)
    assert timers.due(2_000_000) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 50)), max_size=400))
def test_a_heap_that_is_made_anew_forgets_no_key(
    wishes: list[tuple[int, bool, int]],
) -> None:
    timers: Timers[int] = Timers()
    expected: dict[int, int] = {}
    for key, is_far, span in wishes * 5:
        expected[key] = 1_000 + span if is_far else span
        timers.set(key, expected[key])
    moments = sorted(set(expected.values()))
    found = [(moment, key) for moment in moments for key in timers.due(moment)]
    assert sorted(found) == sorted((moment, key) for key, moment in expected.items())
