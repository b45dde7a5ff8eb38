"""ACK: a member says what its group is done with.

Owns the verb, and where a cursor stands once retention is taken into account. How moves are merged
stands in `state/cursors.py`.

Only who has the grant in force moves a cursor: any other generation is fenced. A move that brings
nothing new writes nothing, so an ACK may be sent again at will. All queues of a request that lie in
one bucket share one record.
"""

from __future__ import annotations

from array import array

from shardmq.actors.kernel.ports import Letter, Now, QueueLog
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import Ack, AckQueue, AckReply, AckResult
from shardmq.actors.protocol.limits import ACK_RANGES_MAX

from .cursors_log import CursorLog
from .granted import GrantedQueues, Refused
from .requests import Request, why_not_queues
from .retention import earliest_readable
from .serving import ServedQueue, Serving
from .state.buckets import BUCKET_MASK
from .state.cursors import Cursor, Cursors, merged
from .state.ranges import Bounds, add, cut_below
from .state.records import CursorMove, CursorsMoved

__all__ = ["Acking", "done_now", "fault_of_ranges"]

_Moves = dict[int, list[CursorMove]]
"""Bucket -> moves of queues in it."""


def done_now(journal: QueueLog, served: ServedQueue, cursor: Cursor) -> tuple[int, Bounds]:
    """Floor and ranges of a cursor: what retention has taken is done, too."""
    earliest = earliest_readable(journal, served)
    if earliest <= cursor.floor:
        return cursor.floor, cursor.acked
    return merged(cursor, earliest, ())


def fault_of_ranges(cursor: Cursor, acked: Bounds) -> str | None:
    """Why `acked` is too much for a cursor; None if it is not, or no more than it holds already."""
    if len(acked) <= max(2 * ACK_RANGES_MAX, len(cursor.acked)):
        return None
    return f"{ACK_RANGES_MAX} ranges above the floor are the limit; ack what lies between"


class Acking:
    """The verb ACK."""

    def __init__(
        self, journal: QueueLog, serving: Serving, cursors: Cursors, log: CursorLog
    ) -> None:
        self._journal = journal
        self.granted = GrantedQueues(serving, cursors)
        self._log = log
        self.moved = 0
        """Queues whose cursors went on."""

    def handle(self, request: Request, header: Ack, now: Now, out: list[Letter]) -> None:
        """Take one ACK; the reply leaves once it is durable."""
        items = header.queues
        fault = why_not_queues("ACK", len(items), len({item.queue for item in items}))
        if fault is not None:
            out.append(request.refuse(Code.BAD_REQUEST, fault))
            return
        refused = self._log.refused(request)
        if refused is not None:
            out.append(refused)
            return
        moves: _Moves = {}
        results = [self._one(header.group_id, item, moves) for item in items]
        for bucket, of_bucket in moves.items():
            self._log.append(CursorsMoved(header.group_id, of_bucket), bucket, now)
            self.moved += len(of_bucket)
        self._log.answer(request, AckReply(queues=results), out)

    def _one(self, group_id: int, item: AckQueue, moves: _Moves) -> AckResult:
        try:
            served, cursor = self.granted.of(group_id, item.queue, item.generation)
        except Refused as error:
            return AckResult(queue=item.queue, code=error.code, message=str(error))
        fault = _fault_of(item, served)
        if fault is not None:
            return AckResult(queue=item.queue, code=Code.INVALID_ARGUMENT, message=fault)
        return self._move(served, cursor, item, moves)

    def _move(
        self, served: ServedQueue, cursor: Cursor, item: AckQueue, moves: _Moves
    ) -> AckResult:
        floor, acked = merged(cursor, item.floor, item.ranges)
        if (floor, acked) == (cursor.floor, cursor.acked):
            floor, _ = done_now(self._journal, served, cursor)
            return AckResult(queue=item.queue, floor=floor)
        earliest = earliest_readable(self._journal, served)
        if earliest > floor:
            floor, acked = merged(cursor, earliest, item.ranges)
        fault = fault_of_ranges(cursor, acked)
        if fault is not None:
            return AckResult(queue=item.queue, code=Code.BUSY, floor=floor, message=fault)
        fresh = array("Q")
        for start, stop in item.ranges:
            add(fresh, start, stop)
        cut_below(fresh, floor)
        move = CursorMove(item.queue, floor, fresh.tolist())
        moves.setdefault(item.queue & BUCKET_MASK, []).append(move)
        return AckResult(queue=item.queue, floor=floor)


def _fault_of(item: AckQueue, served: ServedQueue) -> str | None:
    visible = served.offsets.visible
    highest = max((stop for _, stop in item.ranges), default=0)
    if max(item.floor, highest) > visible:
        return f"an ack ends at offset {max(item.floor, highest)}, the queue at {visible}"
    if any(start >= stop for start, stop in item.ranges):
        return "a range ends behind its start"
    return None
