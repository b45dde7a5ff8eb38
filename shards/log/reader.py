"""Reading records back: one after the other, or the batches at given spans.

Owns how spans are joined into reads, and that nothing leaves unchecked. Knows no queue's state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from shardmq.actors.kernel.ports import Span
from shardmq.actors.protocol.checksum import crc32c

from .io import LogIO
from .record import (
    BATCH,
    BATCH_HEADER_BYTES,
    MAGIC,
    PREFIX,
    PREFIX_BYTES,
    LogRecord,
    batch_is_sound,
    record_at,
    record_is_sound,
)  # fmt: skip
from .scan import CHUNK_BYTES, read_around_errors
from .segment import SegmentFiles

__all__ = ["iterate", "read_checked", "read_record", "read_spans"]

JOIN_GAP_BYTES: Final = 16 * 1024
"""Bytes between two spans that are cheaper to read and drop than to make a second call for."""
JOIN_BYTES_MAX: Final = 4 << 20
_GLANCE_BYTES: Final = 4 * 1024
"""What is read of a record whose length is not known; most state records are shorter."""


def iterate(io: LogIO, file: int, base: int, start: int, stop: int) -> Iterator[LogRecord]:
    """The records in [start, stop) of the segment `base`, which a scan has found sound."""
    unpack, at, wanted = PREFIX.unpack_from, start, CHUNK_BYTES
    while at < stop:
        data = read_around_errors(io, file, min(wanted, stop - at), at - base)
        have, pos, wanted = len(data), 0, CHUNK_BYTES
        while pos + PREFIX_BYTES <= have:
            (_, length, _, _, lsn, _, queue, epoch, base_offset, stored, _, kind, flags,
             count) = unpack(data, pos)  # fmt: skip
            end = pos + length
            if end > have:
                wanted = max(length, CHUNK_BYTES)
                break
            yield LogRecord(
                lsn, kind, queue, base_offset, stored, epoch, data[pos + PREFIX_BYTES : end],
                length, count, flags,
            )  # fmt: skip
            pos = end
        at += pos
        if pos == 0 and wanted <= CHUNK_BYTES:
            raise OSError(f"the log ends at {at} while it is read, a scan found it sound to {stop}")


def read_record(io: LogIO, file: int, base: int, lsn: int, length: int) -> LogRecord:
    """The one record at `lsn`."""
    return next(iterate(io, file, base, lsn, lsn + length))


def read_checked(io: LogIO, files: SegmentFiles, lsn: int) -> LogRecord | None:
    """The record that begins at `lsn`, written before; None if it is damaged."""
    base = files.segment_of(lsn).base
    file = files.file(base)
    data = read_around_errors(io, file, _GLANCE_BYTES, lsn - base)
    prefix = record_at(data, 0, lsn)
    if prefix is None:
        return None
    length = prefix.length
    if length > len(data):
        data = read_around_errors(io, file, length, lsn - base)
    data = data[:length]
    if not record_is_sound(data, lsn):
        return None
    return LogRecord(
        lsn, prefix.kind, prefix.queue, prefix.base_offset, prefix.stored_at_ms, prefix.epoch,
        data[PREFIX_BYTES:], length, prefix.messages, prefix.flags,
    )  # fmt: skip


def read_spans(
    io: LogIO, files: SegmentFiles, spans: Sequence[Span]
) -> tuple[list[bytes], list[Span]]:
    """(records at `spans` in order, the spans that are damaged). Reading stops at the first one
    that is damaged: what comes behind it would leave a gap unnoticed."""
    records: list[bytes] = []
    at, total = 0, len(spans)
    while at < total:
        start = spans[at].lsn
        segment = files.segment_of(start)
        limit = start + JOIN_BYTES_MAX
        if segment is not files.active:
            limit = min(limit, segment.end)
        end = start + spans[at].length
        stop = at + 1
        while stop < total:
            lsn, length = spans[stop].lsn, spans[stop].length
            if not end <= lsn <= end + JOIN_GAP_BYTES or lsn + length > limit:
                break
            end = lsn + length
            stop += 1
        file = files.file(segment.base)
        data = read_around_errors(io, file, end - start, start - segment.base)
        for span in spans[at:stop]:
            first = span.lsn - start
            whole = first == 0 and span.length == len(data)
            record = data if whole else data[first : first + span.length]
            if not _is_sound(record, span):
                return records, [span]
            records.append(record)
        at = stop
    return records, []


def _is_sound(record: bytes, span: Span) -> bool:
    if len(record) != span.length or len(record) < PREFIX_BYTES + BATCH_HEADER_BYTES:
        return False
    magic, length, crc, _, lsn, _, _, _, base_offset, _, _, kind, _, _ = PREFIX.unpack_from(record)
    body = PREFIX_BYTES
    return (
        length == len(record)
        and lsn == span.lsn
        and base_offset == span.base_offset
        and kind == BATCH
        and magic == MAGIC
        and crc32c(record[:8] + record[12:body] + record[body + 8 : body + 12]) == crc
        and batch_is_sound(record, body, length)
    )
