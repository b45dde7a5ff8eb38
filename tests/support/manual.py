"""Ports for unit tests: chance that counts, time that only the test moves."""

from __future__ import annotations

from collections.abc import Iterable

from shardmq.actors.kernel.ports import Now

WALL_MS = 1_700_000_000_000


def at(mono_ms: float) -> Now:
    """A reading of both clocks, `mono_ms` after the start."""
    return Now(mono_ms, WALL_MS + int(mono_ms))


class CountingRandomness:
    """The Randomness port: the numbers given, then 1, 2, 3 ..."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._numbers = list(numbers)
        self._count = 0

    def u64(self) -> int:
        if self._numbers:
            return self._numbers.pop(0)
        self._count += 1
        return self._count

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2
