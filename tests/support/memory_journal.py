"""A journal in memory, synced when the test says so: for cores, where no disk is wanted."""

from __future__ import annotations

from dataclasses import dataclass

from shardmq.actors.kernel.ports import Job, Now, Projection, Refusal

RECORD_PREFIX_BYTES = 64
BATCH, STATE = 1, 2


@dataclass(frozen=True)
class MemoryRecord:
    """One record."""

    lsn: int
    kind: int
    queue: int
    base_offset: int
    stored_at_ms: int
    epoch: int
    payload: bytes

    @property
    def length(self) -> int:
        return RECORD_PREFIX_BYTES + len(self.payload)

    @property
    def count(self) -> int:
        """Messages in a batch; the only thing of a batch that is looked at here."""
        return int.from_bytes(self.payload[16:20], "little") if self.kind == BATCH else 0


class MemoryJournal:
    """The Journal port. `sync()` makes everything durable; `replayed_into` is a power cut."""

    def __init__(self, *projections: Projection, epoch: int = 1) -> None:
        self.records: list[MemoryRecord] = []
        self.end = 0
        self.durable = 0
        self.epoch = epoch
        self.refuses: Refusal | None = None
        self.wake_at_ms: float | None = None
        self._projections = projections

    def refusal(self, payload_bytes: int) -> Refusal | None:
        return self.refuses

    def append_state(self, payload: bytes, now: Now, *, queue: int = 0) -> MemoryRecord:
        return self._append(STATE, queue, 0, payload, now)

    def append_batch(self, queue: int, base_offset: int, batch: bytes, now: Now) -> MemoryRecord:
        return self._append(BATCH, queue, base_offset, batch, now)

    def _append(
        self, kind: int, queue: int, base_offset: int, payload: bytes, now: Now
    ) -> MemoryRecord:
        record = MemoryRecord(self.end, kind, queue, base_offset, now.wall_ms, self.epoch, payload)
        self.records.append(record)
        self.end += record.length
        self._apply(record)
        return record

    def _apply(self, record: MemoryRecord) -> None:
        for projection in self._projections:
            if projection.bucket_of(record) >= 0:
                projection.apply(record)

    def sync(self) -> None:
        """Everything appended is durable from now on."""
        self.durable = self.end

    def replayed_into(self, *projections: Projection, epoch: int = 2) -> MemoryJournal:
        """The journal as a restart finds it after a power cut, applied to fresh projections."""
        again = MemoryJournal(*projections, epoch=epoch)
        again.records = [record for record in self.records if record.lsn < self.durable]
        again.end = again.durable = self.durable
        for record in again.records:
            again._apply(record)
        return again

    def write(self) -> None:
        """Nothing is buffered."""

    def begin_job(self, now: Now) -> Job | None:
        return None

    def finish_job(self, job: Job, now: Now) -> None:
        raise AssertionError("no job was given out")

    def tick(self, now: Now) -> None:
        """Nothing is ever due."""

    def close(self, now: Now) -> None:
        self.sync()
