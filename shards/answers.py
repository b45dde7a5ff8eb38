"""Answers: what a FETCH gets to read.

Owns the choice (which queues, how much of each), the read, and what is said of a queue that cannot
be read. Knows nothing of waiting.

    offset                                   answer for that queue
    queue not readable on this shard         STALE_ROUTE
    below the earliest, above the latest     OFFSET_OUT_OF_RANGE, with both
    at a damaged batch                       DAMAGED, with the offset behind it
    in a gap (a crash took unsynced tails)   nothing, and the offset behind the gap
    else                                     whole batches from the one that holds the offset on

Fairness. Each queue that is ready gets an equal part of what is left of the credit, and the first
one at least one batch; what it does not use goes to those behind it. The round starts at another
queue every time, so no queue waits behind the same neighbour twice.

The reads of all queues are sorted by log position: batches that lie side by side in the log, which
is how they were written, are one read, whatever their queues.
"""

from __future__ import annotations

from typing import NamedTuple

from shardmq.actors.kernel.ports import Letter, QueueLog, Span
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_JSON
from shardmq.actors.protocol.messages import FetchReply, FetchResult

from .log.errors import DamagedRecord
from .plain_fetch import PlainPage
from .polls import Poll
from .retention import earliest_readable, earliest_stored
from .serving import ServedQueue, Serving

__all__ = ["Answers"]

_GOLDEN = 0x9E3779B1
"""2^32 / golden ratio: its multiples fall evenly into a circle of any size."""


class _Part(NamedTuple):
    """What one queue will contribute."""

    served: ServedQueue
    offset: int
    spans: list[Span]


class Answers:
    """Builds the answers of one shard."""

    def __init__(self, journal: QueueLog, serving: Serving) -> None:
        self._journal = journal
        self._serving = serving
        self._turn = 0
        self.damaged = 0

    def build(self, poll: Poll) -> tuple[Letter, int]:
        """The answer to `poll`, and the bytes of its payload."""
        results: list[FetchResult] = []
        parts = self._choose(poll, results)
        records = self._read(parts)
        if poll.request.route.flags & FLAG_JSON:
            page = PlainPage(poll.bytes_max)
            for part in parts:
                result = self._whole_part(part, records)
                queue_id = part.served.queue_id
                if result.code != Code.OK or page.take(
                    result, queue_id, part.offset, part.spans, records
                ):
                    results.append(result)
            return poll.request.answer(FetchReply(queues=results)), page.bytes
        payload = []
        for part in parts:
            result = self._whole_part(part, records)
            if result.code == Code.OK:
                result.frames = 1
                found = [records[span.lsn] for span in part.spans if span.lsn in records]
                payload.append(found[0] if len(found) == 1 else b"".join(found))
            results.append(result)
        letter = poll.request.answer(FetchReply(queues=results), payload)
        return letter, sum(map(len, payload))

    # ------------------------------------------------------------------ choosing

    def _choose(self, poll: Poll, results: list[FetchResult]) -> list[_Part]:
        """Parts within the poll's credit; of queues without a part, a result goes to `results`."""
        journal, durable = self._journal, self._journal.durable
        queues = poll.ready
        start = self._start(len(queues))
        bytes_left, queues_left = poll.bytes_max, len(queues)
        parts: list[_Part] = []
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
            offsets = served.offsets
            if not offsets.earliest <= offset <= offsets.visible:
                results.append(_out_of_range(served, earliest_readable(journal, served)))
                continue
            if offset == offsets.visible or (bytes_left <= 0 and parts):
                continue
            spans = journal.spans(number, offset, share, durable)
            if not spans or spans[0].base_offset > offset:
                gap = self._gap(served, offset, spans)
                if gap is not None:
                    results.append(gap)
                    continue
            size = sum(span.length for span in spans)
            if size > bytes_left and parts:
                continue  # a single batch, too large for what is left: it comes first some time
            bytes_left -= size
            parts.append(_Part(served, offset, spans))
        return parts

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
        spans = [span for part in parts for span in part.spans]
        if len(parts) > 1:
            spans.sort(key=_lsn_of)
        try:
            return dict(zip(map(_lsn_of, spans), self._journal.read(spans), strict=True))
        except DamagedRecord:
            return self._read_one_by_one(spans)

    def _read_one_by_one(self, spans: list[Span]) -> dict[int, bytes]:
        records = {}
        for span in spans:
            try:
                records[span.lsn] = self._journal.read([span])[0]
            except DamagedRecord:
                self.damaged += 1
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
