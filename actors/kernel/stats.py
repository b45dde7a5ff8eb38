"""Figures of an actor's loop: how often it turns, how much it takes at once, how busy it is.

Owns: the counting. Must not know sockets, nor read a clock or a file: the shell hands it what it
read anyway. Every actor answers STATS with these beside its core's own; bench, console and metrics
read them.

The busy ratio is over the last whole second, so that a glance at a running broker shows now, not
the average since the morning.
"""

from __future__ import annotations

from typing import Any

__all__ = ["LoopStats"]

WINDOW_MS = 1_000.0


class LoopStats:
    """Counters of one loop. `woke` and `sleeps` are called once a turn each."""

    __slots__ = (
        "_busy_from_ms",
        "_busy_window_ms",
        "_letters_window",
        "_turns_window",
        "_window_from_ms",
        "busy_ms",
        "busy_ratio",
        "drain_max",
        "letters",
        "letters_per_s",
        "started_ms",
        "jobs",
        "job_ms",
        "job_ms_max",
        "turns",
        "turns_per_s",
    )

    def __init__(self, mono_ms: float) -> None:
        self.started_ms = mono_ms
        self.turns = 0
        self.letters = 0
        self.drain_max = 0
        self.busy_ms = 0.0
        self.busy_ratio = 0.0
        self.turns_per_s = 0.0
        self.letters_per_s = 0.0
        self.jobs = 0
        self.job_ms = 0.0
        self.job_ms_max = 0.0
        self._busy_from_ms = mono_ms
        self._window_from_ms = mono_ms
        self._busy_window_ms = 0.0
        self._turns_window = 0
        self._letters_window = 0

    def woke(self, mono_ms: float, letters: int) -> None:
        """A turn begins, with `letters` drained."""
        self._busy_from_ms = mono_ms
        self.turns += 1
        self.letters += letters
        if letters > self.drain_max:
            self.drain_max = letters

    def sleeps(self, mono_ms: float) -> None:
        """The turn ends."""
        self.busy_ms += mono_ms - self._busy_from_ms
        if mono_ms - self._window_from_ms >= WINDOW_MS:
            self._roll(mono_ms)

    def job_ended(self, took_ms: float) -> None:
        """A job beside the loop ended after `took_ms`."""
        self.jobs += 1
        self.job_ms += took_ms
        if took_ms > self.job_ms_max:
            self.job_ms_max = took_ms

    def _roll(self, mono_ms: float) -> None:
        span_ms = mono_ms - self._window_from_ms
        self.busy_ratio = (self.busy_ms - self._busy_window_ms) / span_ms
        self.turns_per_s = (self.turns - self._turns_window) * 1e3 / span_ms
        self.letters_per_s = (self.letters - self._letters_window) * 1e3 / span_ms
        self._window_from_ms = mono_ms
        self._busy_window_ms = self.busy_ms
        self._turns_window = self.turns
        self._letters_window = self.letters

    def figures(self, mono_ms: float) -> dict[str, Any]:
        """All of it, ready for a STATS reply."""
        return {
            "up_ms": round(mono_ms - self.started_ms),
            "turns": self.turns,
            "letters": self.letters,
            "drain_avg": round(self.letters / self.turns, 2) if self.turns else 0.0,
            "drain_max": self.drain_max,
            "busy_ms": round(self.busy_ms),
            "busy_ratio": round(self.busy_ratio, 4),
            "turns_per_s": round(self.turns_per_s, 1),
            "letters_per_s": round(self.letters_per_s, 1),
            "jobs": self.jobs,
            "job_ms_avg": round(self.job_ms / self.jobs, 3) if self.jobs else 0.0,
            "job_ms_max": round(self.job_ms_max, 3),
        }
