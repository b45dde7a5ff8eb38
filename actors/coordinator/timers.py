"""Timers: for many things, each one moment at which it wants to be looked at.

Owns the moments. Knows neither what the things are nor what happens then.

A moment is moved far more often than it comes: every sign of life puts a lease off. So a later
moment is only noted, and the heap keeps the entry that it has; when that comes up, it goes back in
for the moment that was noted. Putting off costs O(1), each entry that comes up O(log n).

A moment that is brought forward, and a key that is dropped, leave an entry behind that means
nothing any more. When there are many more of those than keys, the heap is made anew.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, Generic, TypeVar

__all__ = ["Timers"]

K = TypeVar("K", bound=Hashable)
STALE_SLACK: Final = 64
"""Stale entries that the heap may hold beyond twice as many as there are keys."""


class Timers(Generic[K]):
    """Moments (monotonic, ms) by key."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._queued: dict[K, float] = {}
        """The earliest entry of each key in the heap."""
        self._heap: list[tuple[float, int, K]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._due)

    @property
    def wake_at_ms(self) -> float | None:
        """Not later than the next moment; maybe earlier, where one was put off."""
        return self._heap[0][0] if self._heap else None

    def set(self, key: K, due_ms: float) -> None:
        """`key` wants to be looked at at `due_ms`, and at no other moment."""
        self._due[key] = due_ms
        queued = self._queued.get(key)
        if queued is None or due_ms < queued:
            self._push(key, due_ms)

    def drop(self, key: K) -> None:
        """`key` does not want to be looked at any more."""
        self._due.pop(key, None)
        self._tidy()

    def due(self, now_ms: float) -> list[K]:
        """Takes the keys whose moment has come, in the order of their moments."""
        found: list[tuple[float, K]] = []
        heap = self._heap
        while heap and heap[0][0] <= now_ms:
            queued_ms, _, key = heappop(heap)
            if self._queued.get(key) != queued_ms:
                continue  # an earlier entry of the same key came up before
            del self._queued[key]
            due_ms = self._due.get(key)
            if due_ms is None:
                continue
            if due_ms > now_ms:
                self._push(key, due_ms)
            else:
                del self._due[key]
                found.append((due_ms, key))
        return [key for _, key in sorted(found, key=lambda one: one[0])]

    def _push(self, key: K, due_ms: float) -> None:
        self._queued[key] = due_ms
        heappush(self._heap, (due_ms, next(self._order), key))
        self._tidy()

    def _tidy(self) -> None:
        """One entry for each key, where there were many more; O(1) for each of those."""
        if len(self._heap) > 3 * len(self._due) + STALE_SLACK:
            self._queued = dict(self._due)
            self._heap[:] = [(due_ms, next(self._order), key) for key, due_ms in self._due.items()]
            heapify(self._heap)
