"""CURSORS: where a group is in queues, and how far behind.

Owns the verb. Anybody who may describe the group may ask; nothing is changed by it.
"""

from __future__ import annotations

from shardmq.actors.kernel.ports import Letter, Now, QueueLog
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import CursorResult, CursorsReply
from shardmq.actors.protocol.group_messages import Cursors as CursorsHeader
from shardmq.actors.protocol.limits import REQUEST_QUEUES_MAX

from .acks import done_now
from .cursors_log import CursorLog
from .requests import Request
from .retention import earliest_readable
from .serving import Serving
from .state.cursors import Cursors
from .state.ranges import pairs, size_within

__all__ = ["CursorsOf"]


class CursorsOf:
    """The verb CURSORS."""

    def __init__(
        self, journal: QueueLog, serving: Serving, cursors: Cursors, log: CursorLog
    ) -> None:
        self._journal = journal
        self._served = serving.by_number
        self._cursors = cursors
        self._log = log

    def handle(self, request: Request, header: CursorsHeader, now: Now, out: list[Letter]) -> None:
        """Answer one CURSORS: a result for each queue, in the order of the request."""
        if not header.queues:
            text = f"CURSORS names 1 to {REQUEST_QUEUES_MAX} queues"
            out.append(request.refuse(Code.BAD_REQUEST, text))
            return
        results = [self._of(header.group_id, queue) for queue in header.queues]
        self._log.answer(request, CursorsReply(queues=results), out)

    def _of(self, group_id: int, queue: int) -> CursorResult:
        served = self._served.get(queue)
        if served is None:
            text = f"queue {queue} is not on this shard"
            return CursorResult(queue=queue, code=Code.STALE_ROUTE, message=text)
        result = CursorResult(
            queue=queue,
            earliest=earliest_readable(self._journal, served),
            latest=served.offsets.visible,
        )
        cursor = self._cursors.get(group_id, queue)
        if cursor is None:
            result.code = Code.GROUP_NOT_FOUND
            result.message = f"the group has no cursor on queue {queue}"
            return result
        floor, acked = done_now(self._journal, served, cursor)
        result.floor, result.ranges = floor, list(pairs(acked))
        result.generation, result.member = cursor.generation, cursor.member
        result.lag = max(0, result.latest - floor) - size_within(acked, floor, result.latest)
        return result
