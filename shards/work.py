"""Work: the verbs of work queues, put together.

Owns their wiring, what of the shard's news reaches them, and their figures. What each means stands
in its own file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shardmq.actors.kernel.ports import Letter, Now, QueueLog

from .cursors_log import CursorLog
from .handing import Handing
from .outflow import Outflow
from .receive import Receiving
from .scheduling import Scheduling
from .serving import ServedQueue, Serving
from .settle import Settling
from .state.cursors import Cursors
from .work_groups import WorkGroups

__all__ = ["Work"]


class Work:
    """RECEIVE and SETTLE of one shard."""

    def __init__(
        self, journal: QueueLog, serving: Serving, cursors: Cursors, log: CursorLog,
        groups: WorkGroups, scheduling: Scheduling, outflow: Outflow,
    ) -> None:  # fmt: skip
        self._groups = groups
        handing = Handing(journal, serving, cursors, log, scheduling)
        self.receiving = Receiving(groups, handing, log, outflow)
        self.settling = Settling(journal, serving, cursors, groups, scheduling, log)

    @property
    def faults(self) -> int:
        """Looks that met a bug."""
        return self.receiving.faults

    @property
    def wake_at_ms(self) -> float | None:
        return self.receiving.wake_at_ms

    def durable_advanced(self, news: Iterable[ServedQueue]) -> None:
        """Queues have news, and the journal may have room again."""
        self._groups.news(news)
        self.receiving.durable_advanced()

    def turn(self, now: Now, out: list[Letter]) -> None:
        """The end of a turn."""
        self.receiving.turn(now, out)

    def stop(self, out: list[Letter]) -> None:
        """Send home who waits."""
        self.receiving.stop(out)

    def drained(self) -> bool:
        return not self.receiving

    def stats(self) -> dict[str, Any]:
        """Figures, for the verb STATS."""
        return {**self.receiving.stats(), **self.settling.stats()}
