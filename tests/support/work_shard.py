"""A shard under test with a work group: plays members that receive and settle.

Owns the requests about it, and the reading of what was handed out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol.batch import BatchView, check_batch
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.plain import plain_messages
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.work_messages import (
    EVERYBODY,
    Receive,
    ReceiveReply,
    Settle,
    SettleItem,
    SettleResult,
)

from .grouped import GROUP
from .retrying import DEAD, DLQ_TOPIC, QUEUE, RetryingShard
from .shards import Reply, topic

OTHER = 2
INVISIBLE_MS = 1_000


class Got(NamedTuple):
    """A message as its receiver sees it."""

    queue: int
    offset: int
    body: bytes
    attempt: int


class WorkingShard(RetryingShard):
    """See the module. QUEUE and OTHER are granted to everybody with generation 1."""

    def prepare(self) -> None:
        self.define(topic(numbers=(QUEUE, OTHER)), topic(DLQ_TOPIC, 3, (DEAD,)))
        for queue in (QUEUE, OTHER):
            self.grant(queue, member=EVERYBODY)
        self.receipt = 0

    def receive_letter(
        self, count_max: int = 32, *, receipt: int | None = None, group_id: int = GROUP,
        invisible_ms: int = INVISIBLE_MS, wait_ms: int = 0, max_attempts: int = 16,
        fifo: bool = False, bytes_max: int = 1 << 20, **how: Any,
    ) -> Letter:  # fmt: skip
        """A RECEIVE; its receipt is the next number, unless one is given."""
        if receipt is None:
            self.receipt = receipt = self.receipt + 1
        header = Receive(
            group_id=group_id, receipt=receipt, count_max=count_max, bytes_max=bytes_max,
            invisible_ms=invisible_ms, wait_ms=wait_ms, max_attempts=max_attempts, fifo=fifo,
        )  # fmt: skip
        return self.letter(Verb.RECEIVE, header, **how)

    def receive_reply(self, *args: Any, **how: Any) -> ReceiveReply:
        """The reply to a RECEIVE that does not wait; it leaves without a sync."""
        (reply,) = self.turn([self.receive_letter(*args, **how)])
        assert isinstance(reply.header, ReceiveReply), reply
        return reply.header

    def receive(self, *args: Any, **how: Any) -> list[Got]:
        (reply,) = self.turn([self.receive_letter(*args, **how)])
        return got(reply)

    def offsets(self, *args: Any, **how: Any) -> list[int]:
        """Offsets of what a RECEIVE got; all of them of one queue."""
        found = self.receive(*args, **how)
        assert len({one.queue for one in found}) <= 1, found
        return [one.offset for one in found]

    def rows(self, queue: int = QUEUE) -> list[tuple[int, int, int, int, bool]]:
        """(start, stop, attempt, receipt, held) of what is handed out."""
        cursor = self.state.cursors.get(GROUP, queue)
        assert cursor is not None
        return [
            (row.start, row.stop, row.attempt, row.receipt, row.held)
            for row in cursor.handouts or ()
        ]

    def item(
        self, start: int, stop: int | None = None, *, receipt: int | None = None,
        queue: int = QUEUE, generation: int = 1, **what: Any,
    ) -> SettleItem:  # fmt: skip
        """What became of messages; of the receipt given last, unless one is named."""
        return SettleItem(
            queue=queue, generation=generation, start=start, **what,
            stop=start + 1 if stop is None else stop,
            receipt=self.receipt if receipt is None else receipt,
        )  # fmt: skip

    def settle_letter(self, *items: SettleItem, max_attempts: int = 16, **how: Any) -> Letter:
        header = Settle(group_id=GROUP, max_attempts=max_attempts, items=list(items))
        return self.letter(Verb.SETTLE, header, **how)

    def settled(self, *items: SettleItem, **how: Any) -> list[SettleResult]:
        """The results of a SETTLE, once they are durable."""
        reply = self._answer(self.settle_letter(*items, **how))
        assert reply.code == Code.OK, reply
        results: list[SettleResult] = reply.header.results
        return results

    def codes(self, *items: SettleItem, **how: Any) -> list[int]:
        return [one.code for one in self.settled(*items, **how)]


def got(reply: Reply) -> list[Got]:
    """What a RECEIVE was answered."""
    assert isinstance(reply.header, ReceiveReply), reply
    found: list[Got] = []
    frames = iter(reply.payload)
    for part in reply.header.parts:
        frame = next(frames)
        view = BatchView(frame, check_batch(frame))
        assert view.head.count == part.count
        for at, body in enumerate(view.bodies()):
            found.append(Got(part.queue, part.offset + at, body, part.attempt))
    assert next(frames, None) is None
    return found


def ids(reply: Reply) -> list[str]:
    """Message ids of what a RECEIVE was answered."""
    found = []
    for part, frame in zip(reply.header.parts, reply.payload, strict=True):
        view = BatchView(frame, check_batch(frame))
        for plain in plain_messages(view, part.offset, 0):
            assert plain.message_id is not None
            found.append(plain.message_id)
    return found
