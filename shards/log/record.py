"""One record of the log: its prefix, its kinds, its checksums.

Owns the 64 bytes that the log writes in front of every payload. Knows nothing of segments or files,
and of a batch only where its length, crc and count stand.

    0       4        8        12             16     24                 32      36      40
    | SMQR  | length | crc32c | previous crc | lsn  | durable lsn then | queue | epoch |
    40            48             56        57     58      60      64
    | base offset | stored at ms | version | kind | flags | count |
    + payload: a batch as the producer made it, or msgpack

`length` counts the whole record. The crc covers the prefix but its own four bytes, then, for a
batch, the batch's crc (which covers the batch: nothing is summed twice), else the whole payload.
`previous crc` chains the records: a missing, stale or misdirected write breaks the chain even if
every record is sound by itself. `count` is the number of offsets that the record takes, so that
they stay taken even if the batch behind a sound prefix is damaged.

What the fields of the prefix mean depends on the kind:

    kind      queue   base offset         count        flags         payload
    BATCH     queue   of message 0        messages     -             batch
    STATE     given   -                   -            -             the projections' own
    SNAPSHOT  -       lsn of slice 0      slice no.    1: last one   [projection, from, to, states]
    MARK      -       -                   -            -             none
    SEGMENT   -       -                   -            -             [format version, owner]
    FLOOR     queue   least next offset   -            -             [reason]
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import msgspec

from shardmq.actors.protocol.checksum import crc32c, extend

__all__ = [
    "BATCH", "BATCH_CRC", "BATCH_HEADER_BYTES", "FLOOR", "FORMAT_VERSION", "KIND_NAMES",
    "LAST_SLICE", "MAGIC", "MARK", "PREFIX", "PREFIX_BYTES", "SEGMENT", "SNAPSHOT", "STATE",
    "LogRecord", "Prefix", "batch_is_sound", "encode_prefix", "prefix_is_sound", "record_at",
    "record_is_sound",
]  # fmt: skip

MAGIC: Final = b"SMQR"
FORMAT_VERSION: Final = 1
PREFIX: Final = struct.Struct("<4sIIIQQIIQQBBHI")
PREFIX_BYTES: Final = PREFIX.size
assert PREFIX_BYTES == 64, "docs/format.md draws it so"

BATCH: Final = 1
STATE: Final = 2
SNAPSHOT: Final = 3
MARK: Final = 4
SEGMENT: Final = 5
FLOOR: Final = 6
KIND_NAMES: Final = {
    BATCH: "batch",
    STATE: "state",
    SNAPSHOT: "snapshot",
    MARK: "mark",
    SEGMENT: "segment",
    FLOOR: "floor",
}

LAST_SLICE: Final = 1
"""Flag of a SNAPSHOT record: the series is whole with it."""

BATCH_HEADER_BYTES: Final = 64
BATCH_CRC: Final = slice(8, 12)
"""Where a batch carries its crc."""

_HEAD = struct.Struct("<4sI")
_CRC = struct.Struct("<I")
_REST = struct.Struct("<IQQIIQQBBHI")


class Prefix(NamedTuple):
    """The decoded prefix, field by field as it lies there."""

    magic: bytes
    length: int
    crc: int
    previous_crc: int
    lsn: int
    durable: int
    queue: int
    epoch: int
    base_offset: int
    stored_at_ms: int
    version: int
    kind: int
    flags: int
    messages: int
    """`count` in the drawing; a tuple has a method of that name."""


class LogRecord(msgspec.Struct, gc=False):
    """A record as projections see it (`actors.kernel.ports.Record`), live and replayed alike."""

    lsn: int
    kind: int
    queue: int
    base_offset: int
    stored_at_ms: int
    epoch: int
    payload: bytes
    length: int
    count: int
    flags: int

    @property
    def end(self) -> int:
        """Lsn behind the record."""
        return self.lsn + self.length


def encode_prefix(
    record: LogRecord, *, previous_crc: int, durable: int, covered: bytes
) -> tuple[bytes, int]:
    """The prefix of `record` and its crc; `covered` is what the crc covers behind the prefix."""
    head = _HEAD.pack(MAGIC, record.length)
    rest = _REST.pack(
        previous_crc, record.lsn, durable, record.queue, record.epoch, record.base_offset,
        record.stored_at_ms, FORMAT_VERSION, record.kind, record.flags, record.count,
    )  # fmt: skip
    crc = crc32c(head + rest + covered)
    return head + _CRC.pack(crc) + rest, crc


def prefix_is_sound(data: bytes, start: int, prefix: Prefix) -> bool:
    """True if the crc of the prefix at `start` fits; the whole record lies in `data`, unless it
    is a batch, of which the first 12 bytes are enough."""
    body = start + PREFIX_BYTES
    covered = (
        data[body + 8 : body + 12] if prefix.kind == BATCH else data[body : start + prefix.length]
    )
    summed = data[start : start + 8] + data[start + 12 : body] + covered
    return crc32c(summed) == prefix.crc


def batch_is_sound(data: bytes, start: int, end: int) -> bool:
    """True if the batch that fills `data[start:end]` carries the crc of its bytes."""
    declared = _CRC.unpack_from(data, start + 8)[0]
    crc = extend(crc32c(data[start : start + 8]), data[start + 12 : end])
    return bool(crc == declared)


def record_at(data: bytes, start: int, lsn: int) -> Prefix | None:
    """The prefix at `start` if it can be one of a record at `lsn` (no checksum looked at)."""
    if len(data) - start < PREFIX_BYTES:
        return None
    prefix = Prefix._make(PREFIX.unpack_from(data, start))
    least = PREFIX_BYTES + BATCH_HEADER_BYTES if prefix.kind == BATCH else PREFIX_BYTES
    fits = (
        prefix.magic == MAGIC
        and prefix.lsn == lsn
        and prefix.length >= least
        and prefix.durable <= lsn
        and prefix.kind in KIND_NAMES
    )
    return prefix if fits else None


def record_is_sound(data: bytes, lsn: int) -> bool:
    """True if `data` is exactly the record that belongs at `lsn`, with all checksums right."""
    prefix = record_at(data, 0, lsn)
    if prefix is None or prefix.length != len(data) or not prefix_is_sound(data, 0, prefix):
        return False
    return prefix.kind != BATCH or batch_is_sound(data, PREFIX_BYTES, len(data))
