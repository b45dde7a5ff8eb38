"""OFFSETS: where queues begin and end, and which offset a point in time has.

Owns the verb. What is not durable does not exist here, as for FETCH.
"""

from __future__ import annotations

from shardmq.actors.kernel.ports import Letter, Now, QueueLog
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.limits import REQUEST_QUEUES_MAX
from shardmq.actors.protocol.messages import Offsets, OffsetsQueue, OffsetsReply, OffsetsResult

from .requests import Request
from .retention import earliest_readable
from .serving import Serving

__all__ = ["OffsetsOf"]


class OffsetsOf:
    """The verb OFFSETS."""

    def __init__(self, journal: QueueLog, serving: Serving) -> None:
        self._journal = journal
        self._served = serving.by_number

    def handle(self, request: Request, header: Offsets, now: Now, out: list[Letter]) -> None:
        """Answer one OFFSETS: a result for each queue, in the order of the request."""
        if not 0 < len(header.queues) <= REQUEST_QUEUES_MAX:
            text = f"OFFSETS names 1 to {REQUEST_QUEUES_MAX} queues"
            out.append(request.refuse(Code.BAD_REQUEST, text))
            return
        results = [self._of(item) for item in header.queues]
        out.append(request.answer(OffsetsReply(queues=results)))

    def _of(self, item: OffsetsQueue) -> OffsetsResult:
        served = self._served.get(item.queue)
        if served is None:
            return OffsetsResult(queue=item.queue, code=Code.STALE_ROUTE)
        earliest, latest = earliest_readable(self._journal, served), served.offsets.visible
        at_time = None
        if item.time_ms is not None:
            journal = self._journal
            found = journal.offset_at_time(item.queue, item.time_ms, journal.durable)
            at_time = latest if found is None else max(earliest, found)
        return OffsetsResult(queue=item.queue, earliest=earliest, latest=latest, at_time=at_time)
