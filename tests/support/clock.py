"""A clock that only the test moves."""

from __future__ import annotations

from shardmq.actors.kernel.ports import Now

WALL_MS = 1_700_000_000_000


class ManualClock:
    """The Clock port. Starts at 0 ms; both readings move together unless the wall is stepped."""

    def __init__(self, mono_ms: float = 0.0, wall_ms: int = WALL_MS) -> None:
        self._now = Now(mono_ms, wall_ms)

    def now(self) -> Now:
        return self._now

    def advance(self, span_ms: float) -> Now:
        """Lets `span_ms` pass, and returns the new reading."""
        assert span_ms >= 0, "monotonic time does not go back"
        mono_ms = self._now.mono_ms + span_ms
        self._now = Now(mono_ms, self._now.wall_ms + int(mono_ms) - int(self._now.mono_ms))
        return self._now

    def step_wall(self, span_ms: int) -> Now:
        """Sets the wall clock forward, or back, while no time passes."""
        self._now = self._now._replace(wall_ms=self._now.wall_ms + span_ms)
        return self._now
