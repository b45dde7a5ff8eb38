"""Answers: what a FETCH gets to read.

Owns the choice (which queues, how much of each), the read, and what is said of a queue that cannot
be read. Knows nothing of waiting.

    offset                                   answer for that queue
    queue not readable on this shard         STALE_ROUTE
    read for a group without its grant       FENCED
    below the earliest, above the latest     OFFSET_OUT_OF_RANGE, with both
    at a damaged batch                       DAMAGED, with the offset behind it
    in a gap (a crash took unsynced tails)   nothing, and the offset behind the gap
    else                                     whole batches from the one that holds the offset on

Fairness. Each queue that is ready gets an equal part of what is left of the credit, and the first
one at least one batch; what it does not use goes to those behind it. The round starts at another
queue every time, so no queue waits behind the same neighbour twice.

The reads of all queues are sorted by log position: batches that lie side by side in the log, which
is how they were written, are one read, whatever their queues.

Who reads for a group gets the batches that hold a message of its tags (`filters.py`), and passes
the others. Where nothing but such others was found, there is nothing to say yet: no answer, but the
poll remembers how far it has come.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shardmq.actors.kernel.ports import Letter, QueueLog, Span
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_JSON
from shardmq.actors.protocol.limits import MIB
from shardmq.actors.protocol.messages import FetchReply, FetchResult

from .filters import Found, Search, read_sound, tags_of
from .granted import fault_of_grant
from .plain_fetch import PlainPage
from .polls import GroupRead, Poll
from .retention import earliest_readable, earliest_stored
from .serving import ServedQueue, Serving
from .state.cursors import Cursors

__all__ = ["Answers", "Built"]

SEARCH_COST_MAX = 2 * MIB
"""What one poll may search in one turn (`filters.py` has the prices)."""

_GOLDEN = 0x9E3779B1
"""2^32 / golden ratio: its multiples fall evenly into a circle of any size."""


class _Part(NamedTuple):
    """What one queue will contribute."""

    served: ServedQueue
    offset: int
    spans: list[Span]
    tags: frozenset[str] | None = None
    found: Found | None = None
    """Where only batches with one of `tags` are wanted."""


Built = tuple[Letter | None, int, int]
"""The answer to a poll, None if there is nothing to say yet; the bytes of its payload; what it all
cost, in bytes."""


class Answers:
    """Builds the answers of one shard."""

    def __init__(self, journal: QueueLog, serving: Serving, cursors: Cursors) -> None:
        self._journal = journal
        self._serving = serving
        self._cursors = cursors
        self._search = Search(journal)
        self._turn = 0
        self.damaged = 0
        self.fenced = 0

    @property
    def passed(self) -> int:
        """Batches that were looked at for a group, and held nothing that it selects."""
        return self._search.passed

    def build(self, poll: Poll) -> Built:
        """The answer to `poll`."""
        results: list[FetchResult] = []
        parts, cost = self._choose(poll, results)
        if poll.group is not None:
            if not parts and not results:
                return None, 0, cost
            results += self.passed_by(poll, parts, results)
        records = self._read(parts)
        if poll.request.route.flags & FLAG_JSON:
            page = PlainPage(poll.bytes_max)
            for part in parts:
                result = self._whole_part(part, records)
                queue_id = part.served.queue_id
                if result.code != Code.OK or page.take(
                    result, queue_id, part.offset, part.spans, records, part.tags
                ):
                    results.append(result)
            letter = poll.request.answer(FetchReply(queues=results))
            return letter, page.bytes, page.bytes + cost
        payload = []
        for part in parts:
            result = self._whole_part(part, records)
            if result.code == Code.OK:
                result.frames = 1
                found = [records[span.lsn] for span in part.spans if span.lsn in records]
                payload.append(found[0] if len(found) == 1 else b"".join(found))
            results.append(result)
        letter = poll.request.answer(FetchReply(queues=results), payload)
        size = sum(map(len, payload))
        return letter, size, size + cost

    def passed_by(
        self, poll: Poll, parts: Sequence[_Part] = (), results: Sequence[FetchResult] = ()
    ) -> list[FetchResult]:
        """Where to go on in queues of which only messages that nobody wants were found."""
        if poll.moved is None:
            return []
        told = {part.served.number for part in parts}.union(one.queue for one in results)
        served_of = self._serving.by_number
        return [
            _result(served_of[queue], offset)
            for queue, offset in poll.moved.items()
            if queue not in told and queue in served_of
        ]

    def fenced_of(self, group: GroupRead, queues: Iterable[ServedQueue]) -> list[int]:
        """Numbers of those of `queues` that are not granted so."""
        get, group_id, generations = self._cursors.get, group.group_id, group.generations
        numbers = [served.number for served in queues]
        return [
            queue
            for queue in numbers
            if fault_of_grant(get(group_id, queue), generations[queue]) is not None
        ]

    # ------------------------------------------------------------------ choosing

    def _choose(self, poll: Poll, results: list[FetchResult]) -> tuple[list[_Part], int]:
        """Parts within the poll's credit, and what searching for them cost; of queues without a
        part, a result goes to `results`."""
        journal, durable = self._journal, self._journal.durable
        queues, group = poll.ready, poll.group
        start = self._start(len(queues))
        bytes_left, queues_left, cost = poll.bytes_max, len(queues), 0
        parts: list[_Part] = []
        tags = None
        for at in range(start, start + len(queues)):
            number = queues[at - len(queues)]
            share = max(1, bytes_left // queues_left)
            queues_left -= 1
            offset = poll.wanted[number]
            served = self._serving.by_number.get(number)
            if served is None or not served.readable:
                text = f"queue {number} is not readable on this shard"
                results.append(FetchResult(queue=number, code=Code.STALE_ROUTE, message=text))
                continue
            if group is not None:
                fenced, tags = self._right(group, number)
                if fenced is not None:
                    results.append(fenced)
                    continue
            offsets = served.offsets
            if not offsets.earliest <= offset <= offsets.visible:
                results.append(_out_of_range(served, earliest_readable(journal, served)))
                continue
            if offset == offsets.visible or (bytes_left <= 0 and parts):
                continue
            if tags is not None and cost >= SEARCH_COST_MAX:
                continue  # its turn comes: the round starts elsewhere next time
            if tags is None:
                spans = journal.spans(number, offset, share, durable)
            else:
                spans = self._search.first(number, offset, durable)
            if not spans or spans[0].base_offset > offset:
                gap = self._gap(served, offset, spans)
                if gap is not None:
                    results.append(gap)
                    continue
            part = _Part(served, offset, spans)
            if tags is not None:
                cost_max = (SEARCH_COST_MAX - cost) // (queues_left + 1)
                found = self._search.run(number, spans, tags, share, cost_max, durable)
                cost += found.cost
                part = _Part(served, offset, found.spans, tags, found)
                if not self._is_worth_telling(poll, part):
                    continue
            size = sum(span.length for span in part.spans)
            if size > bytes_left and parts:
                continue  # a single batch, too large for what is left: it comes first some time
            bytes_left -= size
            parts.append(part)
        return parts, cost

    def _right(
        self, group: GroupRead, queue: int
    ) -> tuple[FetchResult | None, frozenset[str] | None]:
        """A refusal if the queue is not granted so; else the tags that the group selects."""
        cursor = self._cursors.get(group.group_id, queue)
        fault = fault_of_grant(cursor, group.generations[queue])
        if cursor is None or fault is not None:
            self.fenced += 1
            return FetchResult(queue=queue, code=Code.FENCED, message=str(fault)), None
        return None, tags_of(cursor.expression)

    def _is_worth_telling(self, poll: Poll, part: _Part) -> bool:
        """False if a search found nothing. Then the poll remembers how far it came."""
        assert part.found is not None
        if part.spans:
            return True
        if poll.moved is None:
            poll.moved = {}
        number = part.served.number
        poll.moved[number] = poll.wanted[number] = part.found.behind
        return False

    def _start(self, queues: int) -> int:
        if queues < 2:
            return 0
        self._turn = (self._turn + _GOLDEN) & 0xFFFFFFFF
        return self._turn * queues >> 32

    def _gap(self, served: ServedQueue, offset: int, spans: list[Span]) -> FetchResult | None:
        """What to say of an offset at which no batch lies; None to go on behind the gap."""
        earliest = earliest_stored(self._journal, served)
        if offset < earliest:
            # Its segment has just been dropped; the round of `retention.py` has not come by yet.
            return _out_of_range(served, earliest)
        if spans:
            return None
        return _result(served, served.offsets.visible)

    # ------------------------------------------------------------------ reading

    def _read(self, parts: list[_Part]) -> dict[int, bytes]:
        """Records by lsn; damaged ones are missing."""
        spans = [span for part in parts if part.found is None for span in part.spans]
        if len(parts) > 1:
            spans.sort(key=_lsn_of)
        records = read_sound(self._journal, spans)
        self.damaged += len(spans) - len(records)
        for part in parts:
            if part.found is not None:
                records.update(part.found.records)
        return records

    def _whole_part(self, part: _Part, records: dict[int, bytes]) -> FetchResult:
        """Result of a part as far as its records are sound; DAMAGED if already the first is not."""
        served, spans = part.served, part.spans
        for at, span in enumerate(spans):
            if span.lsn not in records:
                if at == 0:
                    return _damaged(served, span)
                del spans[at:]
                break
        if part.found is not None:
            return _result(served, part.found.behind)
        last = spans[-1]
        return _result(served, last.base_offset + last.count)


def _lsn_of(span: Span) -> int:
    return span.lsn


def _result(served: ServedQueue, next_offset: int) -> FetchResult:
    offsets = served.offsets
    return FetchResult(
        queue=served.number,
        next_offset=next_offset,
        earliest=offsets.earliest,
        latest=max(offsets.visible, next_offset),
    )


def _out_of_range(served: ServedQueue, earliest: int) -> FetchResult:
    latest = served.offsets.visible
    return FetchResult(
        queue=served.number,
        code=Code.OFFSET_OUT_OF_RANGE,
        earliest=earliest,
        latest=latest,
        message=f"the queue has the offsets {earliest} to {latest}",
    )


def _damaged(served: ServedQueue, span: Span) -> FetchResult:
    behind = span.base_offset + span.count
    return FetchResult(
        queue=served.number,
        code=Code.DAMAGED,
        next_offset=behind,
        earliest=served.offsets.earliest,
        latest=served.offsets.visible,
        message=f"the batch at offsets {span.base_offset} to {behind - 1} fails its checksum",
    )
