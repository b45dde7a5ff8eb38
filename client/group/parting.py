"""Parting: whether somebody is there to hear what a member that leaves has still to tell. Pure.

With the connection gone for a while nobody can be told anything, and nothing of it is needed:
leases and receipts run out by themselves, and what was not acked is delivered again. So closing
waits for the broker only while it may be there, and says in the log what was not told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from shardmq.actors.kernel.ports import Now

from ..link.core import ClientCore
from ..link.timers import Timer

__all__ = ["ALONE_MS", "Parting", "warn_of"]

ALONE_MS = 1_000.0
"""A router that was killed is back by then, as a rule."""
LOOK_MS = 50.0

_log = logging.getLogger("shardmq.client")


class Parting:
    """The end of one member; `end` must follow."""

    def __init__(self, core: ClientCore, now: Now) -> None:
        self.is_alone = False
        """No broker has been there for `ALONE_MS`. May change until the end."""
        self._core = core
        self._timer: Timer | None = None
        self._look(now)

    def unless_alone(self, done: Callable[[], bool]) -> Callable[[], bool]:
        """What to wait for: `done()`, or that there is nobody to wait for."""
        return lambda: done() or self.is_alone

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, now: Now) -> None:
        self.is_alone = now.mono_ms - self._core.away_since_ms >= ALONE_MS
        self._timer = self._core.timers.at(now.mono_ms + LOOK_MS, self._look)


def warn_of(group: str, *, left: bool, failures: int = 0, settlements: int = 0) -> None:
    """Logs what the broker was not told of a member that is closed.

    Args:
        left: it knows that the member left.
        failures: messages whose listeners failed.
        settlements: messages that were acked, nacked, kept longer or given back.
    """
    untold = []
    if failures:
        untold.append(f"of {failures} messages that failed (they come again)")
    if settlements:
        untold.append(f"what became of {settlements} messages (they come again after their time)")
    if not left:
        untold.append("that it left (its lease runs out)")
    if untold:
        _log.warning(
            "a member of group %r is closed, and no broker was told %s", group, ", ".join(untold)
        )
