"""Retention: which segments may go.

Owns the choice, one segment at a time. Touches no file: a job does that.

Whole segments go, the oldest first, by age, by total bytes and by free disk space; consuming
deletes nothing. None goes that recovery would need: only what lies wholly behind the newest whole
snapshot series, once that is durable. The owner of the journal may hold a segment back until what
still lives in it (scheduled messages, longer-kept topics) has been appended again.
"""

from __future__ import annotations

from collections.abc import Sequence

from .options import JournalOptions
from .segment import Segment

__all__ = ["may_drop_oldest"]


def may_drop_oldest(
    segments: Sequence[Segment],
    options: JournalOptions,
    *,
    end: int,
    keep_from_lsn: int,
    wall_ms: int,
    disk_tight: bool,
) -> bool:
    """True if the oldest of `segments` is to go.

    Args:
        end: lsn behind the log's last record.
        keep_from_lsn: start of the newest whole and durable series; nothing from there on goes.
        wall_ms: now, compared with stamps of records only.
        disk_tight: free space is below its watermark.
    """
    if len(segments) < 2:
        return False
    oldest, second = segments[0], segments[1]
    if second.base > keep_from_lsn:
        return False
    # The stamps of a log never fall, so its last record is not younger than the next one's first.
    age_ms = wall_ms - second.first_stored_ms
    too_old = options.retention_ms is not None and age_ms > options.retention_ms
    too_much = options.retention_bytes is not None and end - oldest.base > options.retention_bytes
    return too_old or too_much or disk_tight
