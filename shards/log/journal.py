"""The journal: an append-only log of records, and the state that is a fold over it.

Owns the way of a record: built, buffered, applied to the projections, written, synced. What runs
beside the loop is chosen here and done in `jobs`; recovery, search, retention are their own files.
Knows nothing of topics or messages: the coordinator's journal is the same.

    records below      may
    durable            be seen by consumers, be answered in mode `synced`
    written            be answered in mode `written`; lost only with the machine
    end                be decided upon: the projections have them

`append_*` touches no disk except at a roll. One `write` a turn hands over all that is buffered; one
sync at a time runs beside the loop and covers all that was written when it began, which is group
commit. Shortly after the last append a mark names the end as durable, so that recovery can tell a
torn tail from rot; a mark asks for no mark.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from shardmq.actors.kernel.ports import Job, Now, Projection, Refusal

from . import setaside
from .batches import Batches
from .errors import FatalLogError, ReadOnlyLog
from .flush import Flush
from .housekeeping import RETRY_MS, Housekeeping
from .io import LogIO
from .jobs import DropJob, PrepareJob, ScrubJob, SealJob, SyncJob
from .options import JournalOptions
from .record import (
    BATCH,
    BATCH_CRC,
    FLOOR,
    LAST_SLICE,
    MARK,
    PREFIX_BYTES,
    SEGMENT,
    SNAPSHOT,
    STATE,
    LogRecord,
    encode_prefix,
)  # fmt: skip
from .recovery import Recovered, recover, segment_header
from .report import JournalStats, RecoveryReport
from .snapshot import SeriesWriter

__all__ = ["Journal"]

_BATCH_COUNT = struct.Struct("<16xI")
_JOINED_BYTES_MAX = 4096
"""Average size of buffers up to which copying them together is cheaper than a longer writev."""
_OWN_LSN = -1
"""As base offset: slice 0 names the series after itself."""


class Journal(Batches):
    """See `actors.kernel.ports.QueueLog`; made by `open`.

    Attributes:
        report: what recovery found and did.
        drop_guard: asked with (base, end) before a segment is dropped; False holds it back.
    """

    def __init__(
        self, io: LogIO, options: JournalOptions, projections: Sequence[Projection],
        recovered: Recovered,
    ) -> None:  # fmt: skip
        super().__init__(io, recovered.files, recovered.tables.index)
        self.report: RecoveryReport = recovered.report
        self.drop_guard: Callable[[int, int], bool] = lambda base, end: True
        self._options = options
        self._folds = [(one.bucket_of, one.apply) for one in projections]
        self._lock = recovered.lock
        self._epoch = recovered.epoch
        self._read_only = recovered.report.read_only
        self._end = self._written = self._durable = recovered.end
        self._chain = recovered.chain
        self._stored_at_ms = recovered.stored_at_ms
        self._records = recovered.segment_records
        self._series = SeriesWriter(projections, options)
        self._slice_at_ms = 0.0
        self._keep_from = recovered.found.replay_from
        self._next_keep: tuple[int, int] | None = None
        self._housekeeping = Housekeeping(
            io, options, self._files, self._index, lambda base, end: self.drop_guard(base, end)
        )
        self._pending: list[bytes] = []
        self._flush = Flush(io, options, self._files)
        self._job: Job | None = None
        self._after_sync = False
        self._mark_at_ms: float | None = None
        self._appended = 0

    @classmethod
    def open(
        cls, io: LogIO, options: JournalOptions, projections: Sequence[Projection], now: Now
    ) -> Journal:
        """Recover the log in `options.directory` (made if missing) into fresh `projections`, and
        begin a new epoch, durably.

        Raises:
            LogError: in use, of another format or owner.
            FatalLogError: the disk failed.
        """
        try:
            recovered = recover(io, options, projections)
        except OSError as error:
            raise FatalLogError(f"recovering {options.directory}", error) from error
        journal = cls(io, options, projections, recovered)
        if not journal._read_only:
            journal._begin_epoch(recovered, now)
        journal._housekeeping.tick(now)
        return journal

    def _begin_epoch(self, recovered: Recovered, now: Now) -> None:
        files, fresh = self._files, False
        try:
            if not files.segments:
                self._new_segment(0, now)
                fresh = True
            elif self._end == files.active.base:
                files.active.first_stored_ms = max(self._stored_at_ms, now.wall_ms)
                self._append(SEGMENT, 0, 0, 0, 0, segment_header(self._options.owner), now)
            for queue, floor in sorted(recovered.floors.items()):
                self._fold(self._append(FLOOR, queue, floor, 0, 0, b"\xa9set aside", now))
            self._append(MARK, 0, 0, 0, 0, b"", now)
            self._flush.rolled()  # a roll of the process before us may not be durable yet
            self._sync_now(now)
            setaside.settle(self._io, self._options.directory, recovered.pending)
        except OSError as error:
            raise FatalLogError("beginning an epoch", error) from error
        if not fresh and (recovered.found.findings or self._keep_from < files.active.base):
            self._series.start()  # recovery should not have to go back so far again
        self._mark_at_ms = None

    # ------------------------------------------------------------------ figures

    @property
    def end(self) -> int:
        return self._end

    @property
    def written(self) -> int:
        """All records below this lsn have been handed to the system."""
        return self._written

    @property
    def durable(self) -> int:
        return self._durable

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def directory(self) -> str:
        return self._options.directory

    @property
    def keep_from(self) -> int:
        """Start of the newest whole and durable snapshot: retention stops in front of it."""
        return self._keep_from

    @property
    def read_only(self) -> bool:
        """Damage waits for the operator; appends raise ReadOnlyLog."""
        return self._read_only

    @property
    def wake_at_ms(self) -> float | None:
        if self._read_only:
            return None
        due = self._housekeeping.wake_at_ms(busy=self._job is not None)
        if self._mark_at_ms is not None and self._durable == self._end:
            due = min(due, self._mark_at_ms)
        return min(due, self._slice_at_ms) if self._slices_wanted else due

    @property
    def _slices_wanted(self) -> bool:
        # While no further segment can be had, room is for what the owner decides.
        return self._series.running and not self._housekeeping.space.next_refused

    def stats(self) -> JournalStats:
        """Figures as of now."""
        house, flush = self._housekeeping, self._flush
        syncs = max(flush.syncs, 1)
        lost = len(self.report.lost) + len(house.damages) + len(self.damaged_reads)
        return JournalStats(
            end=self._end, durable=self._durable, epoch=self._epoch,
            segments=len(self._files.segments),
            bytes=self._end - self.oldest,
            read_only=self._read_only, disk_full=house.space.full or house.space.next_refused,
            free_bytes=house.space.free_bytes, syncs=flush.syncs, sync_ms_last=flush.ms_last,
            sync_ms_mean=flush.ms_total / syncs, records=self._appended,
            records_per_sync=flush.records_total / syncs, damaged_records=lost,
            scrubbed_bytes=house.scrubbed_bytes, segments_dropped=house.segments_dropped,
        )  # fmt: skip

    # ------------------------------------------------------------------ appending

    def refusal(self, payload_bytes: int) -> Refusal | None:
        return self._refusal(payload_bytes, full=self._housekeeping.space.full)

    def refusal_to_finish(self, payload_bytes: int) -> Refusal | None:
        return self._refusal(payload_bytes, full=self._housekeeping.space.full_to_finish)

    def _refusal(self, payload_bytes: int, *, full: bool) -> Refusal | None:
        if self._read_only:
            return Refusal.READ_ONLY
        unsynced = self._end - self._durable
        if unsynced and unsynced + payload_bytes > self._options.unsynced_bytes_max:
            return Refusal.BUSY
        used = self._end - self._files.active.base
        if full or not self._housekeeping.make_room(used, payload_bytes + PREFIX_BYTES):
            return Refusal.DISK_FULL
        return None

    def append_batch(self, queue: int, base_offset: int, batch: bytes, now: Now) -> LogRecord:
        (count,) = _BATCH_COUNT.unpack_from(batch)
        record = self._append(BATCH, queue, base_offset, count, 0, batch, now)
        self._index.add(queue, base_offset, record.lsn, record.length, count, record.stored_at_ms)
        return self._fold(record)

    def append_state(self, payload: bytes, now: Now, *, queue: int = 0) -> LogRecord:
        assert payload, "only a mark is empty"
        return self._fold(self._append(STATE, queue, 0, 0, 0, payload, now))

    def _fold(self, record: LogRecord) -> LogRecord:
        for bucket_of, apply in self._folds:
            if bucket_of(record) >= 0:
                apply(record)
        return record

    def _append(
        self, kind: int, queue: int, base_offset: int, count: int, flags: int, payload: bytes,
        now: Now,
    ) -> LogRecord:  # fmt: skip
        if self._read_only:
            raise ReadOnlyLog(self._options.directory)
        length = PREFIX_BYTES + len(payload)
        files = self._files
        # The bound on records waits while the disk is full: this segment has bytes left.
        house = self._housekeeping
        full = not self._fits(length) or (
            self._records >= self._options.segment_records
            and not house.space.full
            and house.make_room(files.active_bytes, length)
        )
        if full and kind != SEGMENT:
            self._new_segment(length, now)
        stored_at_ms = self._stored_at_ms = max(self._stored_at_ms, now.wall_ms)
        lsn = self._end
        if base_offset == _OWN_LSN:
            base_offset = lsn
        record = LogRecord(
            lsn, kind, queue, base_offset, stored_at_ms, self._epoch, payload, length, count, flags
        )
        covered = payload[BATCH_CRC] if kind == BATCH else payload
        prefix, self._chain = encode_prefix(
            record, previous_crc=self._chain, durable=self._durable, covered=covered
        )
        self._pending.append(prefix)
        if payload:
            self._pending.append(payload)
        self._end = lsn + length
        self._records += 1
        self._appended += 1
        self._mark_at_ms = None if kind == MARK else now.mono_ms + self._options.mark_after_ms
        return record

    def _fits(self, length: int) -> bool:
        files = self._files
        return self._end + length <= files.active.base + files.active_bytes

    def _new_segment(self, bytes_wanted: int, now: Now) -> None:
        """Roll. The old segment gets all that is buffered, the new one its header, and room for a
        record of `bytes_wanted`."""
        header = segment_header(self._options.owner)
        self.write()
        files = self._files
        if files.segments:
            files.active.end, files.active.last_crc = self._end, self._chain
            files.active.records = self._records
        try:
            least_bytes = PREFIX_BYTES + len(header) + bytes_wanted
            files.roll(self._end, least_bytes, max(self._stored_at_ms, now.wall_ms))
        except OSError as error:
            raise FatalLogError("beginning a segment", error) from error
        self._flush.rolled()
        self._records = 0
        self._index.open_segment(self._end)
        self._append(SEGMENT, 0, 0, 0, 0, header, now)
        if not self._series.running:
            self._series.start()

    def write(self) -> None:
        pending = self._pending
        if not pending:
            return
        active = self._files.active
        file = self._files.file(active.base)
        if self._end - self._written < _JOINED_BYTES_MAX * len(pending):
            pending = [b"".join(pending)]
        self._flush.wrote(active.base, file)
        try:
            self._io.writev(file, pending, self._written - active.base)
        except OSError as error:
            raise FatalLogError("writing the log", error) from error
        self._pending = []
        self._written = self._end
        active.records = self._records

    # ------------------------------------------------------------------ beside the loop

    def begin_job(self, now: Now) -> Job | None:
        assert self._job is None, "one job at a time"
        if self._read_only:
            return None
        self.write()
        house, job = self._housekeeping, None
        if not self._flush.due or (self._after_sync and house.has_turn(now)):
            job = self._job = house.next_job(
                now, end=self._end, durable=self._durable, keep_from_lsn=self._keep_from
            )
        if job is None and self._flush.due:
            self._job = self._flush.begin(self._end, self._appended, now)
        self._after_sync = job is None and self._job is not None
        return self._job

    def finish_job(self, job: Job, now: Now) -> None:
        assert job is self._job, "the job that is out"
        self._job = None
        if isinstance(job, SyncJob):
            self._synced(job, now)
        elif isinstance(job, PrepareJob | SealJob | DropJob | ScrubJob):
            self._housekeeping.finished(job, now)

    def _synced(self, job: SyncJob, now: Now) -> None:
        self._flush.finish(job, now)
        self._durable = job.end
        if self._next_keep is not None and self._next_keep[1] <= self._durable:
            self._keep_from, self._next_keep = self._next_keep[0], None

    def tick(self, now: Now) -> None:
        if self._read_only:
            return
        self._housekeeping.tick(now)
        if self._slices_wanted and now.mono_ms >= self._slice_at_ms:
            self._slice_at_ms = now.mono_ms + self._options.slice_every_ms
            self._append_slice(now)
        due = self._mark_at_ms
        if due is not None and now.mono_ms >= due and self._durable == self._end:
            self._mark_at_ms = now.mono_ms + RETRY_MS
            if self._may_take(PREFIX_BYTES):
                self._append(MARK, 0, 0, 0, 0, b"", now)

    def _may_take(self, length: int) -> bool:
        """Whether there is room for what nobody waits for: never the last room, which is for the
        owner's decisions."""
        header_bytes = PREFIX_BYTES + len(segment_header(self._options.owner))
        return self._fits(length) or self._housekeeping.has_next(header_bytes + length)

    def _append_slice(self, now: Now) -> None:
        series = self._series
        place = series.place
        payload, last = series.cut()
        if not self._may_take(PREFIX_BYTES + len(payload)):
            series.place = place
            self._slice_at_ms = now.mono_ms + RETRY_MS
            return
        flags = LAST_SLICE if last else 0
        first = series.first_lsn if series.number else _OWN_LSN
        record = self._append(SNAPSHOT, 0, first, series.number, flags, payload, now)
        series.wrote(record.lsn, last=last)
        if last:
            self._next_keep = (series.first_lsn, self._end)

    def _sync_now(self, now: Now) -> None:
        self.write()
        job = self._flush.begin(self._end, self._appended, now)
        job.run()
        self._synced(job, now)

    def close(self, now: Now) -> None:
        assert self._job is None, "the shell takes the job that is out back first"
        if not self._read_only:
            self._sync_now(now)
            if self._mark_at_ms is not None and self._may_take(PREFIX_BYTES):
                self._append(MARK, 0, 0, 0, 0, b"", now)
                self._sync_now(now)
        self._files.close()
        self._io.close(self._lock)
