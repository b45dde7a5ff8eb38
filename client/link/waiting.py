"""Who waits on a connection with threads, and what its driver must know of them. Plain values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from shardmq.actors.kernel.ports import Now

__all__ = ["Awaited", "Member", "Waiter"]


class Member(Protocol):
    """Something that still has to leave before the interpreter does."""

    def flush(self, now: Now) -> None: ...

    @property
    def idle(self) -> bool: ...


class Awaited(Protocol):
    """Something that is settled one day; whoever waits looks at it at `until_ms` (monotonic)."""

    until_ms: float

    @property
    def settled(self) -> bool: ...


class Waiter:
    """Somebody blocked until `done()`; `wake` may be called from any thread."""

    __slots__ = ("done", "leaves", "wake")

    def __init__(
        self, done: Callable[[], bool], wake: Callable[[], Any], *, leaves: bool = False
    ) -> None:
        self.done = done
        self.wake = wake
        self.leaves = leaves
        """Once woken it does not come back to the connection: who wakes it counts it out."""
