"""Groups: the verbs about grants and cursors, put together.

Owns their wiring and their figures. What each means stands in its own file.
"""

from __future__ import annotations

from typing import Any

from shardmq.actors.kernel.ports import QueueLog

from .acks import Acking
from .cursors_log import CursorLog
from .cursors_of import CursorsOf
from .durability import Durability
from .fencing import CoordinatorFence
from .fetch import Fetching
from .grants import Granting
from .serving import Serving
from .state.cursors import Cursors
from .work_groups import WorkGroups

__all__ = ["Groups"]


class Groups:
    """GRANT, ACK and CURSORS of one shard."""

    def __init__(
        self,
        journal: QueueLog,
        serving: Serving,
        cursors: Cursors,
        durability: Durability,
        fetching: Fetching,
        fence: CoordinatorFence,
        work: WorkGroups,
    ) -> None:
        self._cursors = cursors
        self.log = CursorLog(journal, durability)
        self.granting = Granting(journal, serving, cursors, self.log, fetching, fence, work)
        self.acking = Acking(journal, serving, cursors, self.log)
        self.cursors_of = CursorsOf(journal, serving, cursors, self.log)

    @property
    def faults(self) -> int:
        """Questions that met a bug."""
        return self.cursors_of.faults

    def stats(self) -> dict[str, Any]:
        """Figures, for the verb STATS."""
        return {
            "cursors": len(self._cursors),
            "queues_granted": self.granting.granted,
            "cursors_moved": self.acking.moved,
            "acks_fenced": self.acking.granted.fenced,
            "cursor_questions_open": len(self.cursors_of),
        }
