"""A shard whose retention is shorter than some of its delays, and what its messages look like.

Owns the small log, the writing that makes retention go on, and the full view of a message: all that
it would have without being carried.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from shardmq.actors.protocol.batch import BatchView, check_batch
from shardmq.actors.protocol.group_messages import NackMessage
from shardmq.shards.log.reader import iterate
from shardmq.shards.log.record import LogRecord

from .retrying import QUEUE, RETRIES, RetryingShard
from .shards import batches_in

KIB = 1024
HOUR_MS = 3_600_000
YEAR_MS = 365 * 24 * HOUR_MS
SMALL = {"segment_bytes": 64 * KIB, "reserve_bytes": KIB, "slice_every_ms": 0}
OTHER = 2
"""A queue whose messages nobody needs."""


class CarryingShard(RetryingShard):
    """See the module."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**SMALL, "retention_bytes": 128 * KIB, **options})
        self.prepare()

    def write(self, count: int = 40, span_ms: float = 1_000, queue: int = OTHER) -> None:
        """Messages that nobody needs, and time for what follows of them."""
        for _ in range(count):
            self.fill(queue, b"x" * 10 * KIB)
            self.pass_time(span_ms)

    def write_past(self, lsn: int, queue: int = OTHER) -> None:
        """Until the log in front of `lsn` is gone."""
        for _ in range(100):
            if self.journal.oldest >= lsn:
                return
            self.write(5, queue=queue)
        raise AssertionError(f"the log is kept from {self.journal.oldest} on, not from {lsn}")

    def schedule_one(self, body: bytes = b"kept", delay_ms: int = YEAR_MS) -> int:
        """Position of a message that is to come in a year."""
        offset = self.fill(QUEUE, body).base_offset
        self.nack(NackMessage(offset=offset, delay_ms=delay_ms))
        return self.lsn_of(offset)

    def figure(self, name: str) -> Any:
        """One of those for the verb STATS."""
        return self.core.stats()[name]

    def bodies(self, queue: int = RETRIES) -> list[bytes]:
        """What a reader of the queue gets."""
        return [one.body for one in self.seen(queue)]

    def lsn_of(self, offset: int, queue: int = QUEUE) -> int:
        """Position of the batch with that message."""
        return self.journal.spans(queue, offset, 1, self.journal.durable)[0].lsn

    def path_at(self, lsn: int) -> tuple[str, int]:
        """Of a position: the file that holds it, and where."""
        base = max(one for one in self.bases() if one <= lsn)
        return f"/data/shard/{base:020d}.log", lsn - base

    def bases(self) -> list[int]:
        """Where the segments begin."""
        names = self.io.listdir("/data/shard")
        return sorted(int(name[:20]) for name in names if name.endswith(".log"))

    def records(self) -> list[LogRecord]:
        """All that the log still has, as far as it is durable."""
        found: list[LogRecord] = []
        durable = self.journal.durable
        bases = self.bases()
        for base, end in pairwise([*bases, durable]):
            file = self.io.open(f"/data/shard/{base:020d}.log")
            found += iterate(self.io, file, base, base, min(end, durable))
            self.io.close(file)
        return found

    def full(self, queue: int) -> list[tuple[Any, ...]]:
        """All that a reader of the queue can see of its messages."""
        rows: list[tuple[Any, ...]] = []
        for span in self.journal.spans(queue, 0, 1 << 40, self.journal.durable):
            (frame,) = batches_in(self.journal.read([span])[0])
            head = check_batch(frame)
            view = BatchView(frame, head)
            columns = (
                view.bodies(), view.message_ids(), view.tags(), view.keys(),
                view.ordering_keys(), view.properties(),
            )  # fmt: skip
            born = head.first_born_ms, head.last_born_ms, head.bodies_codec
            rows += [
                (*[column and column[at] for column in columns], *born) for at in range(head.count)
            ]
        return rows
