"""The work queues of a fake broker: what is handed out, to whom, until when.

Knows the rules as far as a client can see them. All members share the queues, so a queue has no
grant of a member but one generation. `clock` is the broker's wall clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shardmq.actors.kernel.clock import SystemClock
from shardmq.actors.protocol import work_messages as w
from shardmq.actors.protocol.batch import BatchView, check_batch, encode_batch
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.columns import Columns
from shardmq.actors.protocol.frames import Route


class Row:
    """One message that was handed out."""

    def __init__(self) -> None:
        self.attempt = 0
        self.until_ms = 0
        self.receipt = 0
        self.is_held = False
        self.is_returned = False

    def is_returned_by(self, receipt: int) -> bool:
        return self.is_returned and self.receipt == receipt


class FakeWork:
    """The handouts of one group."""

    def __init__(self, queues: dict[int, Any], shard_of: Callable[[int], int]) -> None:
        self.clock: Callable[[], int] = lambda: SystemClock().now().wall_ms
        self.generation = 1
        self.rows: dict[tuple[int, int], Row] = {}
        """By queue number and offset."""
        self.done: set[tuple[int, int]] = set()
        self.dead: list[tuple[int, int]] = []
        self.settled: list[list[w.SettleItem]] = []
        """The items of every SETTLE."""
        self.asked: list[tuple[int, w.Receive]] = []
        """Every RECEIVE, and its shard."""
        self.parked: dict[int, tuple[Route, w.Receive]] = {}
        self._queues = queues
        self._shard_of = shard_of

    # -------------------------------------------------------------------------------- receive

    def receive(self, route: Route, asked: w.Receive) -> tuple[Any, list[bytes]] | None:
        """The answer and its payload; None: parked."""
        self.asked.append((route.shard, asked))
        there = self._ready(route.shard, asked.count_max or 1)
        if asked.count_max == 0:
            if there or not asked.wait_ms:
                return w.ReceiveReply(), []
            self.parked[route.request_id] = route, asked
            return None
        until_ms = self.clock() + asked.invisible_ms
        parts: list[w.ReceivedPart] = []
        rows: list[tuple[bytes, int]] = []
        for number, offset, batch, index in there:
            row = self.rows.setdefault((number, offset), Row())
            row.attempt += 1
            row.until_ms, row.receipt, row.is_held = until_ms, asked.receipt, True
            row.is_returned = False
            last = parts[-1] if parts else None
            if (
                last is not None
                and (last.queue, last.offset + last.count) == (number, offset)
                and (last.attempt, rows[-1][0]) == (row.attempt, batch)
            ):
                last.count += 1
                continue
            parts.append(
                w.ReceivedPart(
                    queue=number, generation=self.generation, offset=offset, count=1,
                    attempt=row.attempt, stored_at_ms=1_700_000_000_000,
                )
            )  # fmt: skip
            rows.append((batch, index))
        payload = [
            _cut(batch, index, part.count) for part, (batch, index) in zip(parts, rows, strict=True)
        ]
        return w.ReceiveReply(until_ms=until_ms, parts=parts), payload

    def woken(self, *, all_of_them: bool = False) -> list[tuple[Route, Any]]:
        """The parked requests that are answered now, or whose time is over."""
        found: list[tuple[Route, Any]] = []
        for request_id, (route, _) in list(self.parked.items()):
            if all_of_them or self._ready(route.shard, 1):
                del self.parked[request_id]
                found.append((route, w.ReceiveReply()))
        return found

    def _ready(self, shard: int, count: int) -> list[tuple[int, int, bytes, int]]:
        found = []
        for number, queue in self._queues.items():
            for base, held, batch in queue.records if self._shard_of(number) == shard else ():
                for index in range(held):
                    row = self.rows.get((number, base + index))
                    is_free = row is None or row.until_ms <= self.clock()
                    if is_free and (number, base + index) not in self.done:
                        found.append((number, base + index, batch, index))
        return found[:count]

    # --------------------------------------------------------------------------------- settle

    def settle(self, asked: w.Settle) -> w.SettleReply:
        self.settled.append(asked.items)
        return w.SettleReply(results=[self._settle(item) for item in asked.items])

    def _settle(self, item: w.SettleItem) -> w.SettleResult:
        if item.generation != self.generation:
            return w.SettleResult(code=Code.FENCED, message="granted anew")
        expired = []
        for offset in range(item.start, item.stop):
            row = self.rows.get((item.queue, offset))
            if (item.queue, offset) in self.done:
                continue
            if row is not None and item.act == "return" and row.is_returned_by(item.receipt):
                continue
            if row is None or row.receipt != item.receipt or row.until_ms <= self.clock():
                expired.append((offset, offset + 1))
            elif item.act == "ack":
                self.done.add((item.queue, offset))
            elif item.act == "nack" and item.dead:
                self.done.add((item.queue, offset))
                self.dead.append((item.queue, offset))
            elif item.act == "return":
                row.attempt -= 1
                row.until_ms, row.is_held, row.is_returned = self.clock(), False, True
            else:
                row.is_held = item.act == "invisible"
                row.until_ms = self.clock() + (10_000 if item.delay_ms is None else item.delay_ms)
        if expired:
            return w.SettleResult(code=Code.RECEIPT_EXPIRED, expired=expired)
        return w.SettleResult(code=Code.OK)


def _cut(batch: bytes, index: int, count: int) -> bytes:
    """A batch of some messages of a batch."""
    head = check_batch(batch)
    return encode_batch(
        Columns(BatchView(batch, head).bodies()[index : index + count]),
        producer_id=head.producer_id,
        first_sequence=head.first_sequence + index,
        first_born_ms=head.first_born_ms,
        last_born_ms=head.last_born_ms,
    )
