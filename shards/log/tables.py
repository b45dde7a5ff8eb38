"""The index of all segments: from their index files where these are sound, else from the log.

Owns where index entries come from at a start and when a sealed segment is first asked for. The
search itself is `queueindex`'s, the layout `indexfile`'s.
"""

from __future__ import annotations

from array import array

from .decide import Case, decide
from .indexfile import IndexFile, directory_bytes, encode_index, first_offsets, open_index
from .io import LogIO
from .logscan import LogScan
from .options import JournalOptions
from .queueindex import QueueIndex
from .reader import iterate
from .record import BATCH
from .report import LostStretch, lost_stretch
from .scan import Found, scan
from .segment import Segment, SegmentFiles

__all__ = ["SegmentTables", "rows_of_log"]

_FRONT_BYTES = 64 * 1024


class SegmentTables:
    """The queue index of one log, with its way to the disk."""

    def __init__(self, io: LogIO, options: JournalOptions, files: SegmentFiles) -> None:
        self._io = io
        self._files = files
        self.index = QueueIndex(self._load, options.indexes_cached)
        self.rebuilt = 0
        """Index files that had to be built again."""
        self.lost: list[LostStretch] = []
        """Damages met while building."""

    def open_older(self, found: LogScan) -> None:
        """Register the segments that recovery did not scan: their entries stay on the disk."""
        scanned = {one.base for one in found.scans}
        for segment in self._files.segments:
            if segment.base in scanned:
                return
            offsets = self._offsets_in_file(segment)
            if offsets is not None:
                segment.sealed = True
                self.index.add_sealed(segment.base, offsets)
                continue
            self.rebuilt += 1
            rows = self._from_log(segment)
            self.index.open_segment(segment.base)
            for queue, words in rows.items():
                for at in range(0, len(words), 4):
                    offset, lsn, packed, stored = words[at : at + 4]
                    self.index.add(queue, offset, lsn, packed & 0xFFFFFFFF, packed >> 32, stored)

    def adopt_sealed(self, found: LogScan) -> None:
        """Prefer the index files of scanned segments: they still name a batch whose prefix was
        damaged since, and need no memory."""
        for segment in self._files.segments[:-1]:
            if segment.sealed or all(one.base != segment.base for one in found.scans):
                continue
            if self._offsets_in_file(segment) is not None:
                segment.sealed = True
                self.index.sealed(segment.base)

    def _offsets_in_file(self, segment: Segment) -> dict[int, int] | None:
        front = self._read(segment, _FRONT_BYTES)
        length = directory_bytes(front)
        if length > len(front):
            front = self._read(segment, length)
        return first_offsets(front[:length], segment.base, segment.end, segment.last_crc)

    def _read(self, segment: Segment, size: int | None = None) -> bytes:
        """The index file or its front; nothing if it is missing or cannot be read: it is derived,
        so whatever is wrong with it is healed by building it again."""
        try:
            file = self._io.open(self._files.index_path(segment.base))
        except OSError:
            return b""
        try:
            return self._io.pread(file, self._io.size(file) if size is None else size, 0)
        except OSError:
            return b""
        finally:
            self._io.close(file)

    def _load(self, base: int) -> IndexFile:
        segment = self._files.segment_of(base)
        found = open_index(self._read(segment), base, segment.end, segment.last_crc)
        if found is None:
            self.rebuilt += 1
            rows = self._from_log(segment)
            data = encode_index(base, segment.end, segment.last_crc, rows)
            found = open_index(data, base, segment.end, segment.last_crc)
            assert found is not None, "what was just encoded can be opened"
        return found

    def _from_log(self, segment: Segment) -> dict[int, array[int]]:
        file = self._files.file(segment.base)
        rows, lost = rows_of_log(self._io, file, segment.base, segment.end)
        self.lost += lost
        return rows


def rows_of_log(
    io: LogIO, file: int, base: int, end: int
) -> tuple[dict[int, array[int]], list[LostStretch]]:
    """Index entries of the sealed segment [base, end), read from its records, and what is damaged
    in it (rot in data: a snapshot behind it holds every state)."""
    found = scan(io, file, base, end - base, sealed=True, header_bytes=0)
    rows: dict[int, array[int]] = {}
    lost = []
    at = base
    for damage in [*found.damages, None]:
        for one in iterate(io, file, base, at, end if damage is None else damage.start):
            if one.kind == BATCH:
                words = (one.base_offset, one.lsn, one.length | one.count << 32, one.stored_at_ms)
                rows.setdefault(one.queue, array("Q")).extend(words)
        if damage is None:
            break
        row = decide(Case(True, damage.found, True, False, False))
        lost.append(lost_stretch(damage, row))
        if damage.found is Found.BODY:
            length = damage.end - damage.start
            words = (
                damage.base_offset, damage.start, length | damage.messages << 32,
                damage.stored_at_ms,
            )  # fmt: skip
            rows.setdefault(damage.queue, array("Q")).extend(words)
        at = max(at, damage.end)
    return rows, lost
