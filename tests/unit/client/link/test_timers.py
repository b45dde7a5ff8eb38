"""Timers: in order of time, each once, none after it was cancelled."""

from __future__ import annotations

from shardmq.actors.kernel.ports import Now
from shardmq.client.link.timers import Timers


def test_timers_run_in_order_and_only_when_due() -> None:
    timers = Timers()
    ran: list[str] = []
    timers.at(20, lambda now: ran.append("late"))
    timers.at(10, lambda now: ran.append("first"))
    timers.at(10, lambda now: ran.append("second"))
    assert timers.wake_at_ms == 10
    timers.run(Now(10, 0))
    assert ran == ["first", "second"]
    assert timers.wake_at_ms == 20


def test_a_cancelled_timer_neither_runs_nor_wakes() -> None:
    timers = Timers()
    ran: list[str] = []
    timer = timers.at(10, lambda now: ran.append("never"))
    timer.cancel()
    assert timers.wake_at_ms is None
    timers.run(Now(99, 0))
    assert ran == []


def test_a_timer_made_by_a_timer_runs_in_the_same_turn_if_it_is_due() -> None:
    timers = Timers()
    ran: list[float] = []
    timers.at(10, lambda now: timers.at(now.mono_ms, lambda now: ran.append(now.mono_ms)) and None)
    timers.run(Now(10, 0))
    assert ran == [10]
