"""Timers of a pure core: a heap of (due, what to call). Knows no clock; `run` is told the time."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from shardmq.actors.kernel.ports import Now

__all__ = ["Timer", "Timers"]


class Timer:
    """One appointment; `cancel` is cheap, the heap drops it when it comes up."""

    __slots__ = ("call", "due_ms")

    def __init__(self, due_ms: float, call: Callable[[Now], None]) -> None:
        self.due_ms = due_ms
        self.call: Callable[[Now], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Timers:
    """Appointments in order of time; those of the same time in the order they were made."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._made = 0

    @property
    def wake_at_ms(self) -> float | None:
        """When the next one is due; None for never."""
        heap = self._heap
        while heap and heap[0][2].call is None:
            heappop(heap)
        return heap[0][0] if heap else None

    def at(self, due_ms: float, call: Callable[[Now], None]) -> Timer:
        """Calls `call(now)` once when `due_ms` (monotonic) has come."""
        timer = Timer(due_ms, call)
        self._made += 1
        heappush(self._heap, (due_ms, self._made, timer))
        return timer

    def run(self, now: Now) -> None:
        """Calls everything that is due."""
        heap = self._heap
        while heap and heap[0][0] <= now.mono_ms:
            call = heappop(heap)[2].call
            if call is not None:
                call(now)
