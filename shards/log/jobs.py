"""Jobs: disk work that runs beside the loop.

Owns what each kind of job does. A job touches only what it was given and what it returns in its
own fields; the journal hands out one at a time and reads the fields when it is finished.

An OSError in a job ends the process, with one exception: a disk that is full while the next
segment is prepared, or while derived data is written, is a state that passes (`disk_full`).
"""

from __future__ import annotations

from collections.abc import Sequence

from .errors import FatalLogError
from .indexfile import Rows, encode_index
from .io import LogIO, is_disk_full
from .scan import Damage, scan

__all__ = ["DropJob", "PrepareJob", "ScrubJob", "SealJob", "SyncJob"]


class SyncJob:
    """Make everything below `end` durable."""

    def __init__(
        self, io: LogIO, files: Sequence[int], directory: str | None, end: int, start_ms: float
    ) -> None:
        self._io = io
        self._files = files
        self._directory = directory
        self.end = end
        self.start_ms = start_ms
        """When it was handed out, for the statistics."""

    def run(self) -> None:
        try:
            for file in self._files:
                self._io.fdatasync(file)
            if self._directory is not None:
                self._io.fsync_dir(self._directory)
        except OSError as error:
            raise FatalLogError("syncing the log", error) from error


class PrepareJob:
    """Create and allocate the next segment."""

    def __init__(self, io: LogIO, path: str, size: int) -> None:
        self._io = io
        self.path = path
        self.size = size
        self.disk_full = False

    def run(self) -> None:
        try:
            file = self._io.open(self.path, create=True)
            try:
                self._io.truncate(file, 0)
                self._io.fallocate(file, self.size)
                self._io.fdatasync(file)
            except OSError as error:
                self.disk_full = is_disk_full(error)
                self._io.unlink(self.path)
                if not self.disk_full:
                    raise
            finally:
                self._io.close(file)
        except OSError as error:
            self.disk_full = is_disk_full(error)
            if not self.disk_full:
                raise FatalLogError("preparing the next segment", error) from error


class SealJob:
    """Write the index file of a segment that is full, and give back what it did not use."""

    def __init__(
        self, io: LogIO, directory: str, log_path: str, index_path: str, base: int, end: int,
        last_crc: int, rows: Rows,
    ) -> None:  # fmt: skip
        self._io = io
        self._directory = directory
        self._log_path = log_path
        self._index_path = index_path
        self._last_crc = last_crc
        self._rows = rows
        self.base = base
        self.end = end
        self.disk_full = False

    def run(self) -> None:
        try:
            self._write_index()
            self._cut_log()
        except OSError as error:
            self.disk_full = is_disk_full(error)
            if not self.disk_full:
                raise FatalLogError("sealing a segment", error) from error

    def _write_index(self) -> None:
        data = encode_index(self.base, self.end, self._last_crc, self._rows)
        draft = self._index_path + ".tmp"
        file = self._io.open(draft, create=True)
        try:
            self._io.truncate(file, 0)
            self._io.writev(file, [data], 0)
            self._io.fdatasync(file)
        finally:
            self._io.close(file)
        self._io.rename(draft, self._index_path)
        self._io.fsync_dir(self._directory)

    def _cut_log(self) -> None:
        file = self._io.open(self._log_path, write=True)
        try:
            if self._io.size(file) > self.end - self.base:
                self._io.truncate(file, self.end - self.base)
                self._io.fdatasync(file)
        finally:
            self._io.close(file)


class DropJob:
    """Remove the files of one segment. One a job: two removals could become durable in either
    order, and a hole in the log would look like damage."""

    def __init__(self, io: LogIO, directory: str, paths: Sequence[str]) -> None:
        self._io = io
        self._directory = directory
        self._paths = paths

    def run(self) -> None:
        try:
            for path in self._paths:
                self._io.unlink(path)
            self._io.fsync_dir(self._directory)
        except OSError as error:
            raise FatalLogError("removing a segment", error) from error


class ScrubJob:
    """Read a piece of a sealed segment again and check every checksum in it."""

    def __init__(self, io: LogIO, path: str, base: int, end: int, start: int, size: int) -> None:
        self._io = io
        self._path = path
        self._base = base
        self._end = end
        self.start = start
        self._size = size
        self.next_lsn = end
        """Where the next step goes on; `end` if the segment is done."""
        self.damages: list[Damage] = []

    def run(self) -> None:
        try:
            file = self._io.open(self._path)
        except OSError as error:
            raise FatalLogError("opening a segment to scrub it", error) from error
        try:
            found = scan(
                self._io, file, self._base, self._end - self._base, sealed=True, header_bytes=0,
                start=self.start, budget_bytes=self._size,
            )  # fmt: skip
        finally:
            self._io.close(file)
        self.damages = found.damages
        self.next_lsn = found.stopped_at
