"""Housekeeping: everything that is not on the way of a record, a piece at a time.

Owns what is due when: the next segment, sealing, retention, scrubbing, looking at the free space.
Runs nothing by itself: `next_job` says what to do beside the loop, `finished` takes the outcome.

Order: prepare, seal, drop, scrub. A sync goes before all of them, but under load there is always
something to sync, so after a sync one piece of housekeeping has its turn, at most one every few
milliseconds; all of them are short.
"""

from __future__ import annotations

from collections.abc import Callable

from shardmq.actors.kernel.ports import Now

from .io import LogIO, is_disk_full
from .jobs import DropJob, PrepareJob, ScrubJob, SealJob
from .options import JournalOptions
from .queueindex import QueueIndex
from .retention import may_drop_oldest
from .scan import Damage
from .segment import SegmentFiles
from .space import Space

__all__ = ["RETRY_MS", "Housekeeping"]

TURN_EVERY_MS = 20.0
"""Least time between two pieces of housekeeping while there is something to sync."""
RETRY_MS = 1_000.0
"""After the disk was full."""

HousekeepingJob = PrepareJob | SealJob | DropJob | ScrubJob


class Housekeeping:
    """What one journal has to do besides appending and syncing."""

    def __init__(
        self, io: LogIO, options: JournalOptions, files: SegmentFiles, index: QueueIndex,
        drop_guard: Callable[[int, int], bool],
    ) -> None:  # fmt: skip
        self._io = io
        self._options = options
        self._files = files
        self._index = index
        self._drop_guard = drop_guard
        self.space = Space(options)
        self.damages: list[Damage] = []
        """Found by scrubbing."""
        self.segments_dropped = 0
        self.scrubbed_bytes = 0
        self._look_at_ms = 0.0
        self._prepare_at_ms = 0.0
        self._seal_at_ms = 0.0
        self._scrub_at_ms = 0.0
        self._scrub_lsn = -1
        self._last_turn_ms = float("-inf")

    # ------------------------------------------------------------------ on the loop

    def tick(self, now: Now) -> None:
        """Look at the disk, if that is due."""
        if now.mono_ms < self._look_at_ms:
            return
        self._look_at_ms = now.mono_ms + self._options.housekeeping_every_ms
        self.space.looked(self._io.free_bytes(self._options.directory))

    def wake_at_ms(self, *, busy: bool) -> float:
        """When there is something to do next, apart from what an append brings. What is due and
        waits for the job that is out (`busy`) is found when that is finished."""
        scrubs = not busy and self._options.scrub_every_ms > 0
        if scrubs and any(one.sealed for one in self._files.segments[:-1]):
            return min(self._look_at_ms, self._scrub_at_ms)
        return self._look_at_ms

    def make_room(self, used_bytes: int, payload_bytes: int) -> bool:
        """True if user data of `payload_bytes` can be taken: it fits before the reserve of the
        active segment, or the next one can be had (which is tried here and now if it must)."""
        files = self._files
        if files.prepared_bytes or self.space.fits(used_bytes, files.active_bytes, payload_bytes):
            return True
        return not self.space.next_refused and self._has_next(self._options.segment_bytes)

    def has_next(self, first_bytes: int) -> bool:
        """True if the next segment can be had for what may wait. `first_bytes`: of all that it
        begins with."""
        least_bytes = max(self._options.segment_bytes, first_bytes)
        return not self.space.next_refused and self._has_next(least_bytes)

    def _has_next(self, least_bytes: int) -> bool:
        try:
            self._files.allocate_next(least_bytes)
        except OSError as error:
            if not is_disk_full(error):
                raise
            self.space.next_refused = True
        return not self.space.next_refused

    # ------------------------------------------------------------------ beside the loop

    def has_turn(self, now: Now) -> bool:
        """True if a piece of housekeeping may go before a sync that is due."""
        return now.mono_ms >= self._last_turn_ms + TURN_EVERY_MS

    def next_job(
        self, now: Now, *, end: int, durable: int, keep_from_lsn: int
    ) -> HousekeepingJob | None:
        """The next piece of work, if any is due."""
        job = (
            self._prepare(now, end)
            or self._seal(now, durable)
            or self._drop(now, end, keep_from_lsn)
            or self._scrub(now)
        )
        if job is not None:
            self._last_turn_ms = now.mono_ms
        return job

    def finished(self, job: HousekeepingJob, now: Now) -> None:
        """Take the outcome of `job`."""
        if isinstance(job, PrepareJob):
            self.space.next_refused = job.disk_full
            if job.disk_full:
                self._prepare_at_ms = now.mono_ms + RETRY_MS
            else:
                self._files.take_prepared(job.path, job.size)
        elif isinstance(job, SealJob):
            if job.disk_full:
                self._seal_at_ms = now.mono_ms + RETRY_MS
                return
            for segment in self._files.segments:
                if segment.base == job.base:
                    segment.sealed = True
                    self._index.sealed(job.base)
        elif isinstance(job, ScrubJob):
            self.scrubbed_bytes += job.next_lsn - job.start
            self._scrub_lsn = job.next_lsn
            known = {one.start for one in self.damages}  # of an earlier round
            self.damages += [one for one in job.damages if one.start not in known]

    def _prepare(self, now: Now, end: int) -> PrepareJob | None:
        files = self._files
        half = (end - files.active.base) * 2 >= min(files.active_bytes, self._options.segment_bytes)
        wanted = half or self.space.next_refused or self._records_half_full()
        if files.prepared_bytes or not wanted or now.mono_ms < self._prepare_at_ms:
            return None
        return PrepareJob(self._io, files.next_path, self._options.segment_bytes)

    def _records_half_full(self) -> bool:
        return self._files.active.records * 2 >= self._options.segment_records

    def _seal(self, now: Now, durable: int) -> SealJob | None:
        if now.mono_ms < self._seal_at_ms:
            return None
        for segment in self._files.segments[:-1]:
            if not segment.sealed and segment.end <= durable:
                base = segment.base
                return SealJob(
                    self._io, self._options.directory, self._files.path(base),
                    self._files.index_path(base), base, segment.end, segment.last_crc,
                    self._index.rows(base),
                )  # fmt: skip
        return None

    def _drop(self, now: Now, end: int, keep_from_lsn: int) -> DropJob | None:
        files = self._files
        if not may_drop_oldest(
            files.segments, self._options, end=end, keep_from_lsn=keep_from_lsn,
            wall_ms=now.wall_ms, disk_tight=self.space.tight,
        ):  # fmt: skip
            return None
        oldest = files.segments[0]
        if not self._drop_guard(oldest.base, oldest.end):
            return None
        files.forget_oldest()
        self._index.drop(oldest.base)
        self.segments_dropped += 1
        self._look_at_ms = now.mono_ms  # there is more room when it is done
        paths = [files.index_path(oldest.base)] if oldest.sealed else []
        return DropJob(self._io, self._options.directory, [*paths, files.path(oldest.base)])

    def _scrub(self, now: Now) -> ScrubJob | None:
        sealed = [one for one in self._files.segments[:-1] if one.sealed]
        if self._options.scrub_every_ms <= 0 or now.mono_ms < self._scrub_at_ms or not sealed:
            return None
        self._scrub_at_ms = now.mono_ms + self._options.scrub_every_ms
        segment = next((one for one in sealed if one.end > self._scrub_lsn), sealed[0])
        start = self._scrub_lsn
        if not segment.base <= start < segment.end:
            start = segment.base
        return ScrubJob(
            self._io, self._files.path(segment.base), segment.base, segment.end, start,
            self._options.scrub_bytes,
        )  # fmt: skip
