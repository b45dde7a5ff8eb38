"""The system clock reads both clocks in milliseconds."""

from __future__ import annotations

import time

from shardmq.actors.kernel.clock import SystemClock
from support.clock import ManualClock


def test_both_readings_are_milliseconds_of_now() -> None:
    before_mono, before_wall = time.monotonic() * 1e3, time.time_ns() // 1_000_000
    now = SystemClock().now()
    assert before_mono <= now.mono_ms <= time.monotonic() * 1e3
    assert before_wall <= now.wall_ms <= time.time_ns() // 1_000_000


def test_the_manual_clock_moves_only_by_hand_and_its_wall_can_jump() -> None:
    clock = ManualClock(5.0, 1_000)
    assert clock.now() == (5.0, 1_000)
    assert clock.advance(2.5) == (7.5, 1_002)
    assert clock.advance(0.5) == (8.0, 1_003)
    assert clock.step_wall(-500) == (8.0, 503)
