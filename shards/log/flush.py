"""Group commit: which files hold bytes that are not synced, and what a sync of them cost.

Owns the set of files to sync and the figures. Runs nothing: it makes the job, and takes it back.

A sync covers all that was written when it began, whoever wrote it: of a segment that was rolled
meanwhile its tail, too, and the directory, in which the roll renamed a file.
"""

from __future__ import annotations

from shardmq.actors.kernel.ports import Now

from .io import LogIO
from .jobs import SyncJob
from .options import JournalOptions
from .segment import SegmentFiles

__all__ = ["Flush"]


class Flush:
    """What is written and not yet synced."""

    def __init__(self, io: LogIO, options: JournalOptions, files: SegmentFiles) -> None:
        self._io = io
        self._directory = options.directory
        self._files = files
        self._dirty: dict[int, int] = {}
        self._rolled = False
        self._records_covered = 0
        self.syncs = 0
        self.ms_last = 0.0
        self.ms_total = 0.0
        self.records_total = 0

    @property
    def due(self) -> bool:
        """There is something to sync."""
        return bool(self._dirty) or self._rolled

    def wrote(self, base: int, file: int) -> None:
        """Bytes went into the segment `base`, whose descriptor is `file`."""
        if base not in self._dirty:
            self._dirty[base] = file
            self._files.pinned.add(base)

    def rolled(self) -> None:
        """A segment was renamed into place."""
        self._rolled = True

    def begin(self, end: int, records: int, now: Now) -> SyncJob:
        """The job that makes everything below `end` durable, `records` having been appended."""
        files, self._dirty = list(self._dirty.values()), {}
        directory, self._rolled = (self._directory if self._rolled else None), False
        self.records_total += records - self._records_covered
        self._records_covered = records
        return SyncJob(self._io, files, directory, end, now.mono_ms)

    def finish(self, job: SyncJob, now: Now) -> None:
        """`job` ran: its files are clean but for what was written since."""
        self._files.pinned.intersection_update(self._dirty)
        self.syncs += 1
        self.ms_last = now.mono_ms - job.start_ms
        self.ms_total += self.ms_last
