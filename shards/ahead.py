"""Ahead: where the next batches of a work queue lie that have something for its group.

Owns the look ahead: batches that lie side by side are found, read and opened together, because a
queue is handed out in order. What was found is noted in the queue (`work_groups.py`). Knows no
receiver.
"""

from __future__ import annotations

from shardmq.actors.kernel.ports import QueueLog, Span

from .cut import OpenedBatches
from .filters import PIECE_BYTES, Search, read_sound
from .work_groups import WorkQueue

__all__ = ["Ahead"]


class Ahead:
    """Looks ahead in the queues of one shard."""

    def __init__(self, journal: QueueLog, opened: OpenedBatches) -> None:
        self._journal = journal
        self._opened = opened
        self._search = Search(journal)

    def next(
        self, work: WorkQueue, at: int, stop: int, tags: frozenset[str] | None, cost_max: int
    ) -> tuple[Span | None, int, int]:
        """The batch that holds the offset `at`, which lies below `stop`; or none, because the group
        selects nothing there, and the offset up to which that is known. Last, what it has cost."""
        spans = work.spans
        while spans and spans[0].base_offset + spans[0].count <= at:
            spans.popleft()
            work.searched = (at, work.searched[1])
        cost = 0
        if not work.searched[0] <= at < work.searched[1]:
            cost = self._look(work, at, stop, tags, cost_max)
        if spans and spans[0].base_offset <= at:
            return spans[0], at, cost
        return None, min(stop, spans[0].base_offset if spans else work.searched[1]), cost

    def _look(
        self, work: WorkQueue, at: int, stop: int, tags: frozenset[str] | None, cost_max: int
    ) -> int:
        journal, durable = self._journal, self._journal.durable
        work.spans.clear()
        spans = journal.spans(work.number, at, PIECE_BYTES, durable)
        if not spans:
            work.searched = (at, stop)
            return 0
        behind, cost = spans[-1].base_offset + spans[-1].count, 0
        records: dict[int, bytes] = {}
        if tags is not None:
            found = self._search.run(work.number, spans, tags, PIECE_BYTES, cost_max, durable)
            spans, behind, records, cost = found.spans, found.behind, found.records, found.cost
        elif spans[0].lsn not in self._opened:
            records = read_sound(journal, spans)
        self._opened.add(spans, records)
        work.spans.extend(spans)
        work.searched = (at, behind)
        return cost
