"""Records of a FETCH reply: the log's prefix (64 bytes) and the batch, both checksums verified.

The prefix as the log writes it (docs/format.md draws the same):

    0       4        8        12             16     24                 32      36      40
    | SMQR  | length | crc32c | previous crc | lsn  | durable lsn then | queue | epoch |
    40            48             56        57     58      60      64
    | base offset | stored at ms | version | kind | flags | count |

The prefix's crc covers the prefix but its own four bytes, then the batch's crc; that covers the
batch. So what a producer encoded is checked end to end: the broker cannot vouch for it alone.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from shardmq.actors.protocol.batch import (
    BATCH_HEADER_BYTES,
    BatchError,
    BatchHeader,
    check_batch,
)
from shardmq.actors.protocol.checksum import crc32c, extend

__all__ = ["PREFIX_BYTES", "FetchedRecord", "RecordError", "split_records"]

_PREFIX = struct.Struct("<4sIIIQQIIQQBBHI")
PREFIX_BYTES = _PREFIX.size
assert PREFIX_BYTES == 64, "docs/format.md draws it so"
_MAGIC = b"SMQR"
_BATCH = 1


class RecordError(ValueError):
    """Bytes of a reply that are no sound record; `base_offset` and `next_offset` where readable."""

    def __init__(self, message: str, base_offset: int = -1, next_offset: int = -1) -> None:
        super().__init__(message)
        self.base_offset = base_offset
        self.next_offset = next_offset


class FetchedRecord(NamedTuple):
    """A sound record."""

    queue: int
    base_offset: int
    stored_at_ms: int
    next_offset: int
    head: BatchHeader
    batch: bytes


def split_records(frame: bytes) -> list[FetchedRecord | RecordError]:
    """The records of one payload frame. What cannot be read is an error in its place; the frame
    is given up where not even the length can be trusted."""
    found: list[FetchedRecord | RecordError] = []
    start = 0
    while start < len(frame):
        if len(frame) - start < PREFIX_BYTES + BATCH_HEADER_BYTES:
            found.append(RecordError(f"{len(frame) - start} bytes are too few for a record"))
            break
        magic, length, crc, *_, queue, _, base_offset, stored_at_ms, _, kind, _, count = (
            _PREFIX.unpack_from(frame, start)
        )
        batch_start = start + PREFIX_BYTES
        covered = frame[start : start + 8] + frame[start + 12 : batch_start]
        batch_crc = frame[batch_start + 8 : batch_start + 12]
        if magic != _MAGIC or extend(crc32c(covered), batch_crc) != crc:
            found.append(RecordError("the checksum of a record's prefix does not fit"))
            break
        end = start + length
        if end > len(frame) or length <= PREFIX_BYTES:
            found.append(RecordError("a record is cut off", base_offset, base_offset + count))
            break
        batch = frame[batch_start:end]
        try:
            if kind != _BATCH:
                raise BatchError(f"a record of kind {kind} holds no messages")
            head = check_batch(batch)
        except BatchError as error:
            found.append(RecordError(str(error), base_offset, base_offset + count))
        else:
            found.append(
                FetchedRecord(
                    queue,
                    base_offset,
                    stored_at_ms,
                    base_offset + (count or head.count),
                    head,
                    batch,
                )
            )
        start = end
    return found
