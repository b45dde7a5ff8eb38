"""GRANT: the coordinator tells the shard who reads which queue for a group.

Owns the verb, and what a start position means in a queue. How grants are kept stands in
`state/cursors.py`.

    generation of the grant      answer
    below the known one          FENCED, with the known one
    equal to it                  as the first time; nothing is written
    above it                     in force once it is decided; answered once it is durable

From the moment of the decision the former generation is fenced, its parked polls included: so no
two members ever read a queue for the same group, whatever the former one has heard.

The first grant makes the cursor. Where it starts is resolved here, once, and written as a number: a
replay must not ask again what the latest offset is. A reset does the same to a cursor that exists.

A list of the groups that live lets the cursors of all others go. A list of a coordinator that never
gave an id which this shard knows (its directory was lost, or is an old copy) is refused.
"""

from __future__ import annotations

import logging

from shardmq.actors.kernel.logs import fields
from shardmq.actors.kernel.ports import Letter, Now, QueueLog
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import (
    Grant,
    GrantQueue,
    GrantReply,
    GrantResult,
    Start,
)
from shardmq.actors.protocol.tags import TagFilter, why_invalid_expression

from .acks import done_now
from .cursors_log import CursorLog
from .fencing import CoordinatorFence
from .fetch import Fetching
from .requests import Request
from .retention import earliest_readable
from .serving import ServedQueue, Serving
from .state.buckets import BUCKET_MASK
from .state.cursors import Cursor, Cursors
from .state.records import Granted, GrantedQueue, GroupsForgotten
from .work_groups import WorkGroups

__all__ = ["Granting"]

_log = logging.getLogger("shardmq.shard")
_FOREIGN = (
    "the coordinator knows fewer groups than this shard: its directory was lost or restored from an"
    " old copy; nothing is forgotten, restore all of the data directory from one backup"
)


class Granting:
    """The verb GRANT."""

    def __init__(
        self,
        journal: QueueLog,
        serving: Serving,
        cursors: Cursors,
        log: CursorLog,
        fetching: Fetching,
        fence: CoordinatorFence,
        work: WorkGroups,
    ) -> None:
        self._journal = journal
        self._served = serving.by_number
        self._cursors = cursors
        self._log = log
        self._fetching = fetching
        self._fence = fence
        self._work = work
        self.granted = 0
        """Queues whose grant changed."""

    def handle(self, request: Request, header: Grant, now: Now, out: list[Letter]) -> None:
        """Take grants over; the reply leaves once they are durable."""
        if self._fence.is_stale(request):
            out.append(request.refuse(Code.FENCED, "a later GRANT was taken already"))
            return
        items = header.queues
        if (items and not header.group_id) or len({one.queue for one in items}) != len(items):
            text = "GRANT names a group and its queues, each of them once"
            out.append(request.refuse(Code.BAD_REQUEST, text))
            return
        if header.dry_run:
            results = [self._would_be(header.group_id, item) for item in items]
            self._log.answer(request, GrantReply(queues=results), out)
            return
        refused = self._log.refused(request)
        if refused is not None:
            out.append(refused)
            return
        if header.live_group_ids is not None:
            if self._is_foreign(header):
                out.append(request.refuse(Code.INVALID_ARGUMENT, _FOREIGN))
                return
            self._forget({*header.live_group_ids, header.group_id}, now)
        rows: dict[int, list[GrantedQueue]] = {}
        results = [self._one(header.group_id, item, rows) for item in items]
        for bucket, of_bucket in rows.items():
            self._log.append(Granted(header.group_id, header.group, of_bucket), bucket, now)
            self.granted += len(of_bucket)
            for row in of_bucket:
                self._fetching.fence(self._served[row.queue], header.group_id)
                self._work.granted(header.group_id, row.queue)
        self._log.answer(request, GrantReply(queues=results), out)

    # ------------------------------------------------------------------ one queue

    def _would_be(self, group_id: int, item: GrantQueue) -> GrantResult:
        served = self._served.get(item.queue)
        if served is None:
            return _elsewhere(item)
        cursor = self._cursors.get(group_id, item.queue)
        before = self._floor(served, cursor)
        floor = before
        if floor is None or item.reset:
            floor = self._place(served, item.start)
        generation = 0 if cursor is None else cursor.generation
        return GrantResult(queue=item.queue, generation=generation, before=before, floor=floor)

    def _one(
        self, group_id: int, item: GrantQueue, rows: dict[int, list[GrantedQueue]]
    ) -> GrantResult:
        served = self._served.get(item.queue)
        if served is None:
            return _elsewhere(item)
        why = why_invalid_expression(item.expression)
        if why is None and not item.generation:
            why = "generations count from 1"
        if why is not None:
            return GrantResult(queue=item.queue, code=Code.INVALID_ARGUMENT, message=why)
        cursor = self._cursors.get(group_id, item.queue)
        before = self._floor(served, cursor)
        if cursor is not None and item.generation <= cursor.generation:
            code = Code.OK if item.generation == cursor.generation else Code.FENCED
            return GrantResult(
                queue=item.queue,
                code=code,
                generation=cursor.generation,
                before=before,
                floor=before or 0,
            )
        floor = before
        if floor is None or item.reset:
            floor = self._place(served, item.start)
        row = GrantedQueue(
            item.queue,
            item.generation,
            item.member,
            TagFilter(item.expression).canonical,
            floor if before is None or item.reset else None,
        )
        rows.setdefault(item.queue & BUCKET_MASK, []).append(row)
        return GrantResult(queue=item.queue, generation=item.generation, before=before, floor=floor)

    def _floor(self, served: ServedQueue, cursor: Cursor | None) -> int | None:
        return None if cursor is None else done_now(self._journal, served, cursor)[0]

    def _place(self, served: ServedQueue, start: Start) -> int:
        """The offset that `start` means now, between the earliest and the latest."""
        earliest, latest = earliest_readable(self._journal, served), served.offsets.visible
        if start.at == "earliest":
            return earliest
        if start.at == "latest":
            return latest
        wanted: int | None = start.offset
        if start.at == "time":
            journal = self._journal
            wanted = journal.offset_at_time(served.number, start.time_ms, journal.durable)
        return latest if wanted is None else min(max(earliest, wanted), latest)

    # ------------------------------------------------------------------ forgotten groups

    def _is_foreign(self, header: Grant) -> bool:
        """True for a coordinator that never gave a group id which this shard knows."""
        if header.group_id_max is None:
            return False
        known_max = max((group_id for group_id, _, _ in self._cursors.all()), default=0)
        if known_max <= header.group_id_max:
            return False
        _log.critical(_FOREIGN, extra=fields(group_id=known_max, group_id_max=header.group_id_max))
        return True

    def _forget(self, live: set[int], now: Now) -> None:
        gone: dict[int, set[int]] = {}
        fenced = []
        for group_id, queue, _ in self._cursors.all():
            if group_id not in live:
                gone.setdefault(queue & BUCKET_MASK, set()).add(group_id)
                fenced.append((group_id, queue))
        for bucket, group_ids in gone.items():
            self._log.append(GroupsForgotten(sorted(group_ids)), bucket, now)
        for group_id, queue in fenced:
            self._work.granted(group_id, queue)
            served = self._served.get(queue)
            if served is not None:
                self._fetching.fence(served, group_id)
        if gone:
            group_ids = set().union(*gone.values())
            _log.info("groups are forgotten", extra=fields(group_ids=sorted(group_ids)))


def _elsewhere(item: GrantQueue) -> GrantResult:
    text = f"queue {item.queue} is not on this shard"
    return GrantResult(queue=item.queue, code=Code.STALE_ROUTE, message=text)
