"""Options of a journal: every bound, with its unit, its default and its reason.

Owns the values and the relations between them; knows nothing of how they are used.
"""

from __future__ import annotations

import msgspec

__all__ = ["JournalOptions"]

_KIB = 1024
_MIB = 1024 * _KIB


class JournalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one journal.

    Raises:
        ValueError: values that contradict each other.
    """

    directory: str
    owner: str = "journal"
    """Name of the actor; a directory that another one filled is refused."""

    segment_bytes: int = 128 * _MIB
    """A segment is rolled at so many bytes ..."""
    segment_records: int = 131_072
    """... or so many records: recovery reads two segments at most, so both bound its time."""

    unsynced_bytes_max: int = 64 * _MIB
    """Appended and not yet synced, then BUSY: a disk that hangs must not fill the memory."""
    reserve_bytes: int = 4 * _MIB
    """End of a segment that only state records may use while no next segment can be had."""
    free_bytes_min: int = 256 * _MIB
    """Below so much free space user data is refused with DISK_FULL ..."""
    free_bytes_retain: int = 512 * _MIB
    """... and below so much the oldest segments go early, so that it need not come to that."""

    retention_ms: int | None = None
    """Segments whose last record is older are dropped; None keeps them."""
    retention_bytes: int | None = None
    """Oldest segments are dropped while the whole log is larger; None for no bound."""

    mark_after_ms: float = 50.0
    """How long after the last append a mark names everything as durable."""
    slice_bytes: int = 64 * _KIB
    """A snapshot slice is closed at so many bytes ..."""
    slice_buckets: int = 512
    """... or so many buckets, about a millisecond of work; one slice a tick."""
    slice_every_ms: float = 2.0
    """Least time between two slices."""
    housekeeping_every_ms: float = 1_000.0
    """How often free space and retention are looked at."""
    scrub_bytes: int = 1 * _MIB
    """What one scrub step reads; at the default pace 86 GB a day."""
    scrub_every_ms: float = 1_000.0
    """Least time between two scrub steps; 0 turns scrubbing off."""

    indexes_cached: int = 8
    """Index files of sealed segments kept in memory, at most 4 MiB each."""
    files_open_max: int = 32
    """Descriptors of segments kept open for reading."""

    def __post_init__(self) -> None:
        if not self.directory:
            raise ValueError("a journal needs a directory")
        if self.segment_bytes < 1 * _KIB or self.segment_records < 8:
            raise ValueError("a segment holds at least 1 KiB and 8 records")
        if not 0 <= self.reserve_bytes <= self.segment_bytes // 2:
            raise ValueError("reserve_bytes is at most half a segment")
        if self.slice_bytes < 1 or self.slice_buckets < 1:
            raise ValueError("a slice holds at least one bucket")
        if self.indexes_cached < 1 or self.files_open_max < 2:
            raise ValueError("at least one index and two files stay open")
