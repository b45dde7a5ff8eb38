"""Segments: the files that a log consists of, and the descriptors that are open on them.

Owns which segments there are, the active one among them, and how the next one comes to be. Knows
no record: it deals in lsns and bytes.

The next segment is prepared ahead of time as a draft: created, given real blocks, synced. So a
roll is one rename. The rename is durable only after the directory has been synced, which the next
sync does before anything behind the roll counts as durable. A full disk is met while preparing,
long before anything was promised, and never by a write: blocks are there before bytes are.
"""

from __future__ import annotations

from collections import OrderedDict

from . import names
from .io import LogIO, is_disk_full
from .options import JournalOptions

__all__ = ["Segment", "SegmentFiles"]


class Segment:
    """What is known of one segment."""

    __slots__ = ("base", "end", "first_stored_ms", "last_crc", "records", "sealed")

    def __init__(self, base: int, end: int, first_stored_ms: int) -> None:
        self.base = base
        self.end = end
        """Lsn behind its last record; for the active one as of its last roll or start."""
        self.first_stored_ms = first_stored_ms
        self.last_crc = 0
        """Crc of its last prefix, which the index file names."""
        self.records = 0
        self.sealed = False
        """Its index file is written, and its file cut to the bytes that are used."""


class SegmentFiles:
    """The segments of one log, oldest first; the last one is being written."""

    def __init__(self, io: LogIO, options: JournalOptions) -> None:
        self._io = io
        self._directory = options.directory
        self._segment_bytes = options.segment_bytes
        self._reserve_bytes = options.reserve_bytes
        self._open_max = options.files_open_max
        self._open: OrderedDict[int, int] = OrderedDict()
        self.segments: list[Segment] = []
        self.pinned: set[int] = set()
        """Bases whose descriptors must stay open: they hold bytes that are not synced."""
        self.prepared_bytes = 0
        """Size of the prepared next segment, 0 if there is none."""
        self._prepared_path = ""
        self.active_bytes = 0
        """Allocated size of the active segment."""

    @property
    def active(self) -> Segment:
        return self.segments[-1]

    def path(self, base: int) -> str:
        return names.path_of(self._directory, names.log_name(base))

    def index_path(self, base: int) -> str:
        return names.path_of(self._directory, names.index_name(base))

    @property
    def next_path(self) -> str:
        """Where a job may prepare a segment. Not where `allocate_next` does: the loop may have to
        roll while the job is still at it."""
        return names.path_of(self._directory, names.NEXT)

    def take_prepared(self, path: str, size: int) -> None:
        """A job has made the file `path`; it is dropped if the loop has made one meanwhile."""
        if self.prepared_bytes:
            self._io.unlink(path)
        else:
            self._prepared_path, self.prepared_bytes = path, size

    def file(self, base: int) -> int:
        """An open descriptor of the segment `base`. It may be closed by the next call for another
        one, unless it is pinned or active."""
        file = self._open.get(base)
        if file is not None:
            self._open.move_to_end(base)
            return file
        file = self._open[base] = self._io.open(self.path(base), write=True)
        if len(self._open) > self._open_max:
            keep = self.pinned | {base, self.segments[-1].base}
            for old in [one for one in self._open if one not in keep][:1]:
                self._io.close(self._open.pop(old))
        return file

    def segment_of(self, lsn: int) -> Segment:
        """The segment that holds `lsn`."""
        low, high = 0, len(self.segments)
        while high - low > 1:
            middle = (low + high) // 2
            if self.segments[middle].base <= lsn:
                low = middle
            else:
                high = middle
        return self.segments[low]

    def allocate_next(self, bytes_wanted: int) -> None:
        """Have a next segment with so many bytes of real blocks, here and now.

        Raises:
            OSError: no room; nothing is left behind.
        """
        if self.prepared_bytes >= bytes_wanted:
            return
        if not self.prepared_bytes:
            self._prepared_path = names.path_of(self._directory, names.NEXT_AT_ONCE)
        self.prepared_bytes = 0
        file = self._io.open(self._prepared_path, create=True)
        try:
            self._io.fallocate(file, bytes_wanted)
        except OSError:
            self._io.unlink(self._prepared_path)
            raise
        finally:
            self._io.close(file)
        self.prepared_bytes = bytes_wanted

    def roll(self, base: int, least_bytes: int, stored_at_ms: int) -> None:
        """Make a new segment `base` the active one, with room for at least `least_bytes`.

        Raises:
            OSError: there is no room even for the reserve.
        """
        try:
            self.allocate_next(max(self._segment_bytes, least_bytes))
        except OSError as error:
            # Only state records come here: user data was refused before. They get a short segment.
            if not is_disk_full(error) or self.prepared_bytes:
                raise
            self.allocate_next(max(self._reserve_bytes, least_bytes))
        self._io.rename(self._prepared_path, self.path(base))
        self.active_bytes, self.prepared_bytes = self.prepared_bytes, 0
        self.segments.append(Segment(base, base, stored_at_ms))
        self.file(base)

    def forget_oldest(self) -> Segment:
        """Take the oldest segment out of the list; its files are removed by a job."""
        segment = self.segments.pop(0)
        assert self.segments, "the active segment stays"
        file = self._open.pop(segment.base, None)
        if file is not None:
            self._io.close(file)
        return segment

    def bytes(self) -> int:
        """Length of the whole log, from the first byte of its oldest segment to its end as known
        here."""
        return self.segments[-1].end - self.segments[0].base

    def close(self) -> None:
        """Close every descriptor."""
        while self._open:
            self._io.close(self._open.popitem()[1])
