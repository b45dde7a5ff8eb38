"""Granted queues: whether who speaks of a queue of its group has the grant in force.

Owns the answer to that for the verbs that change a cursor (ACK, NACK, SETTLE). What a FETCH may
read is `answers.py`'s, which asks `fault_of_grant` of many queues at once.
"""

from __future__ import annotations

from shardmq.actors.protocol.codes import Code

from .serving import ServedQueue, Serving
from .state.cursors import Cursor, Cursors

__all__ = ["GrantedQueues", "Refused", "fault_of_grant"]


class Refused(Exception):
    """Ends the handling of one queue, or of one item."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def fault_of_grant(cursor: Cursor | None, generation: int) -> str | None:
    """Why `generation` gives no right to a queue; None if it is that of the grant in force."""
    if cursor is None:
        return "the queue was not granted to the group"
    if cursor.generation != generation:
        return f"generation {generation} is not in force, {cursor.generation} is"
    if not cursor.member:
        return f"generation {generation} is nobody's"
    return None


class GrantedQueues:
    """The queues of one shard, as members of groups ask for them."""

    def __init__(self, serving: Serving, cursors: Cursors) -> None:
        self._served = serving.by_number
        self._cursors = cursors
        self.fenced = 0
        """Times that somebody without the grant in force asked."""

    def of(self, group_id: int, queue: int, generation: int) -> tuple[ServedQueue, Cursor]:
        """A queue, and the cursor of the group on it.

        Raises:
            Refused: STALE_ROUTE, the queue is elsewhere; FENCED, the grant is not in force.
        """
        served = self._served.get(queue)
        if served is None:
            raise Refused(Code.STALE_ROUTE, f"queue {queue} is not on this shard")
        cursor = self._cursors.get(group_id, queue)
        fault = fault_of_grant(cursor, generation)
        if cursor is None or fault is not None:
            self.fenced += 1
            raise Refused(Code.FENCED, str(fault))
        return served, cursor
