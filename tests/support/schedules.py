"""A schedule over a real journal on a simulated disk, without a shard around it.

Owns the making of entries. Time is the test's.
"""

from __future__ import annotations

from shardmq.actors.kernel.ports import Now
from shardmq.shards.log.journal import Journal
from shardmq.shards.log.options import JournalOptions
from shardmq.shards.state.records import (
    EntriesEnded,
    QueuesDropped,
    Scheduled,
    ScheduledEntry,
    encode_state,
)
from shardmq.shards.state.schedule import RETRY, Period, Schedule

from .disk import SimDisk

NOW = Now(0.0, 1_700_000_000_000)
RETRIES = 70
_OPTIONS = JournalOptions(
    directory="/log", segment_bytes=1 << 20, reserve_bytes=0, scrub_every_ms=0, free_bytes_min=0,
    free_bytes_retain=0,
)  # fmt: skip


class ScheduleUnderTest:
    """See the module."""

    def __init__(self) -> None:
        self.disk = SimDisk()
        self.open()

    def open(self) -> None:
        """Start anew on what the disk holds."""
        self.schedule = Schedule()
        self.journal = Journal.open(self.disk.io(), _OPTIONS, [self.schedule], NOW)

    def sync(self) -> None:
        while (job := self.journal.begin_job(NOW)) is not None:
            job.run()
            self.journal.finish_job(job, NOW)

    def add(self, *due_in_ms: int, queue: int = RETRIES, sync: bool = True) -> int:
        """Position of a record with entries that are due so far from now."""
        entries = [ScheduledEntry(at, 0, NOW.wall_ms + due, 2) for at, due in enumerate(due_in_ms)]
        one = Scheduled(queue & 63, queue, RETRY, False, 7, "orders", 0, entries)
        lsn = self.journal.append_state(encode_state(one), NOW, queue=3).lsn
        if sync:
            self.sync()
        return lsn

    def end(self, period: Period, *places: int) -> None:
        names = [period.name(at) for at in places]
        payload = encode_state(EntriesEnded(names, "tested"))
        self.journal.append_state(payload, NOW, queue=period.queue)

    def drop(self, queue: int = RETRIES) -> None:
        self.journal.append_state(encode_state(QueuesDropped([queue])), NOW, queue=queue)
