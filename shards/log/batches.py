"""Finding and reading the batches of queues: the reading side of a journal.

Owns what a consumer's fetch comes down to. Knows nothing of appending: it is given the files and
the index, which somebody else keeps.
"""

from __future__ import annotations

from collections.abc import Sequence

from shardmq.actors.kernel.ports import Record, Span

from .errors import DamagedRecord
from .io import LogIO
from .queueindex import QueueIndex
from .reader import read_checked, read_spans
from .segment import SegmentFiles

__all__ = ["Batches"]


class Batches:
    """The batches of one log; see `actors.kernel.ports.QueueLog`."""

    def __init__(self, io: LogIO, files: SegmentFiles, index: QueueIndex) -> None:
        self._io = io
        self._files = files
        self._index = index
        self.damaged_reads: set[int] = set()
        """Lsns of records that were asked for and found damaged."""

    def spans(self, queue: int, offset: int, bytes_max: int, below_lsn: int) -> list[Span]:
        return self._index.spans(queue, offset, bytes_max, below_lsn)

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """See `QueueLog.read`.

        Raises:
            DamagedRecord: the first of `spans` that is damaged; those before it can be read.
        """
        records, damaged = read_spans(self._io, self._files, spans)
        for span in damaged:
            self.damaged_reads.add(span.lsn)
            queue = self._index.queue_at(span, self._files.segment_of(span.lsn).base)
            raise DamagedRecord(queue, span.base_offset, span.count, span.lsn)
        return records

    def record(self, lsn: int) -> Record | None:
        found = read_checked(self._io, self._files, lsn)
        if found is None:
            self.damaged_reads.add(lsn)
        return found

    def offset_at_time(self, queue: int, wall_ms: int, below_lsn: int) -> int | None:
        return self._index.offset_at_time(queue, wall_ms, below_lsn)

    def earliest(self, queue: int) -> int | None:
        """Offset of the oldest message of `queue` that is still stored; None if none is. Retention
        moves it; what lies below is gone."""
        return self._index.earliest(queue)

    @property
    def oldest(self) -> int:
        """Lsn of the oldest record that is kept."""
        return self._files.segments[0].base if self._files.segments else 0
