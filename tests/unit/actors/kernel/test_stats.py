"""Figures of a loop, with time that only the test moves."""

from __future__ import annotations

from shardmq.actors.kernel.stats import LoopStats
from support.clock import ManualClock


def test_turns_and_drains_are_counted() -> None:
    stats = LoopStats(0.0)
    for letters in (1, 4, 0, 3):
        stats.woke(0.0, letters)
        stats.sleeps(0.0)
    figures = stats.figures(0.0)
    assert figures["turns"] == 4
    assert figures["letters"] == 8
    assert figures["drain_avg"] == 2.0
    assert figures["drain_max"] == 4


def test_the_busy_ratio_is_that_of_the_last_second() -> None:
    clock = ManualClock()
    stats = LoopStats(clock.now().mono_ms)
    for _ in range(10):  # busy for 90 of 100 ms
        stats.woke(clock.now().mono_ms, 2)
        stats.sleeps(clock.advance(90).mono_ms)
        clock.advance(10)
    stats.sleeps(clock.now().mono_ms)
    busy = stats.figures(clock.now().mono_ms)
    assert busy["busy_ratio"] > 0.9
    assert busy["turns_per_s"] == 10.0
    assert busy["letters_per_s"] == 20.0
    for _ in range(10):  # then for 1 of 100 ms
        stats.woke(clock.advance(99).mono_ms, 1)
        stats.sleeps(clock.advance(1).mono_ms)
    assert stats.figures(clock.now().mono_ms)["busy_ratio"] == 0.01


def test_jobs_have_a_mean_and_a_maximum() -> None:
    stats = LoopStats(0.0)
    assert stats.figures(1.0)["job_ms_avg"] == 0.0
    stats.job_ended(1.0)
    stats.job_ended(5.0)
    figures = stats.figures(1.0)
    assert (figures["jobs"], figures["job_ms_avg"], figures["job_ms_max"]) == (2, 3.0, 5.0)


def test_a_loop_that_never_turned_has_figures_too() -> None:
    assert LoopStats(10.0).figures(25.0)["up_ms"] == 15
    assert LoopStats(0.0).figures(0.0)["drain_avg"] == 0.0
