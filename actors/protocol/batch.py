"""The record batch: what a producer encodes is what the log keeps and what a consumer gets.

    header, 64 bytes, little-endian
     0        4        8        12      13      14      15      16       20
     | "SMQB" | length | crc32c | vers. | meta  | body  | flags | count  | meta length
     24              32               40              48             56                60      64
     | producer id   | first sequence | first born ms | last born ms | bodies raw len  | spare |

    + meta    msgpack array of columns, nil where all are default, maybe compressed
    + bodies  concatenated, maybe compressed

`length` is that of the whole batch; the crc covers all but itself. Message i of a batch has the
sequence `first sequence + i` and, unless a column says otherwise, the offset `base offset + i`.

`columns.py` has the columns. A sound checksum says nothing of a hostile producer: readers compare
what a column declares with what the header declares, and all of it with the limits, before they
make anything of that size.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from io import BytesIO
from itertools import pairwise, repeat
from typing import Any, NamedTuple, TypeVar

import msgspec

from .checksum import crc32c, extend
from .columns import (
    COLUMNS,
    ENTRIES,
    KEYS,
    LENGTHS,
    NATURALS,
    ORDERING_KEYS,
    PROPERTIES,
    STRINGS,
    TAGS,
    Columns,
    encode_columns,
)
from .compress import CodecError, CodecMissing, Compression, compress, decompress
from .limits import BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, META_BYTES_MAX, SEQUENCE_MAX

__all__ = [
    "BATCH_HEADER_BYTES",
    "BATCH_VERSION",
    "FLAG_COPIES",
    "BatchError",
    "BatchHeader",
    "BatchView",
    "BatchUnopened",
    "Columns",
    "batch_crc",
    "check_batch",
    "encode_batch",
    "message_id",
    "read_batch_header",
]

BATCH_MAGIC = b"SMQB"
BATCH_VERSION = 1
_HEADER = struct.Struct("<4sIIBBBBIIQQqqII")
BATCH_HEADER_BYTES = _HEADER.size
assert BATCH_HEADER_BYTES == 64, "docs/format.md draws it so"

FLAG_COPIES = 1
"""Single messages copied by a shard: each keeps its first id, offsets may have gaps."""
_CODEC_MAX = int(max(Compression))

_T = TypeVar("_T")


class BatchError(ValueError):
    """Bytes that are no batch, or a batch that contradicts itself; the text says how."""


class BatchUnopened(BatchError):
    """A batch that may be sound, whose codec is not installed here."""


class BatchHeader(NamedTuple):
    """The fixed part of a batch."""

    length: int
    crc: int
    version: int
    meta_codec: int
    bodies_codec: int
    flags: int
    count: int  # type: ignore[assignment]  # tuple.count is of no use here
    meta_bytes: int
    producer_id: int
    first_sequence: int
    first_born_ms: int
    last_born_ms: int
    bodies_raw_bytes: int


def message_id(producer_id: int, sequence: int) -> str:
    """A message's id, final with its receipt: 32 hex digits."""
    return f"{producer_id:016x}{sequence:016x}"


def encode_batch(
    columns: Columns,
    *,
    producer_id: int,
    first_sequence: int,
    first_born_ms: int,
    last_born_ms: int,
    compression: int = Compression.NONE,
) -> bytes:
    """A batch of `columns` (at least one message), compressed only where that makes it smaller.

    Raises:
        BatchError: more messages or bytes than the limits allow; deal them to several batches.
        CodecError: `compression` is unknown or not installed.
    """
    count = len(columns.bodies)
    raw_bodies = b"".join(columns.bodies)
    raw_meta = encode_columns(columns, count)
    _check_encodable(count, len(raw_meta), len(raw_bodies))
    assert 0 <= first_sequence <= SEQUENCE_MAX - count, "a producer counts from 0 upwards"
    meta_codec, meta = _smaller(compression, raw_meta)
    bodies_codec, bodies = _smaller(compression, raw_bodies)
    of_copies = (columns.message_ids, columns.offset_deltas, columns.entries)
    flags = 0 if of_copies == (None, None, None) else FLAG_COPIES
    head = _HEADER.pack(
        BATCH_MAGIC, BATCH_HEADER_BYTES + len(meta) + len(bodies), 0, BATCH_VERSION,
        meta_codec, bodies_codec, flags, count, len(meta), producer_id, first_sequence,
        first_born_ms, last_born_ms, len(raw_bodies), 0,
    )  # fmt: skip
    crc = extend(extend(crc32c(head[:8] + head[12:]), meta), bodies)
    return b"".join((head[:8], crc.to_bytes(4, "little"), head[12:], meta, bodies))


def read_batch_header(frame: bytes, start: int = 0) -> BatchHeader:
    """The header of the batch at `start`, its fields checked against each other.

    Raises:
        BatchError: not a batch, of another version, or out of limits.
    """
    if len(frame) - start < BATCH_HEADER_BYTES:
        raise BatchError(f"a batch has at least {BATCH_HEADER_BYTES} bytes")
    magic, *fields, _spare = _HEADER.unpack_from(frame, start)
    head = BatchHeader._make(fields)
    if magic != BATCH_MAGIC:
        raise BatchError("a batch starts with 'SMQB'")
    if head.version != BATCH_VERSION:
        raise BatchError(f"batch version {head.version} is not read here, only {BATCH_VERSION}")
    if not 1 <= head.count <= BATCH_MESSAGES_MAX:
        raise BatchError(f"a batch has 1 to {BATCH_MESSAGES_MAX} messages, not {head.count}")
    if head.meta_codec > _CODEC_MAX or head.bodies_codec > _CODEC_MAX:
        raise BatchError(f"compression codecs are 0 to {_CODEC_MAX}")
    if head.flags > FLAG_COPIES:
        raise BatchError(f"flags {head.flags:#04x} are not known in version {BATCH_VERSION}")
    if not BATCH_HEADER_BYTES + head.meta_bytes <= head.length <= BATCH_BYTES_MAX:
        raise BatchError(f"length {head.length} does not fit meta of {head.meta_bytes} bytes")
    if head.meta_bytes > META_BYTES_MAX:
        raise BatchError(f"meta of {head.meta_bytes} bytes exceeds {META_BYTES_MAX}")
    if not head.count <= head.bodies_raw_bytes <= BATCH_BYTES_MAX:
        raise BatchError(f"{head.count} bodies cannot have {head.bodies_raw_bytes} bytes")
    if head.first_sequence > SEQUENCE_MAX - head.count:
        raise BatchError("sequences stay below 2^63")
    return head


def check_batch(frame: bytes) -> BatchHeader:
    """The header of a whole frame, its checksum verified.

    Raises:
        BatchError: as `read_batch_header`, or the checksum does not fit.
    """
    head = read_batch_header(frame)
    if head.length != len(frame):
        raise BatchError(f"declares {head.length} bytes and has {len(frame)}")
    if batch_crc(frame) != head.crc:
        raise BatchError("the checksum does not fit")
    return head


def batch_crc(batch: bytes) -> int:
    """The checksum that a batch should carry."""
    return extend(crc32c(batch[:8]), batch[12:])


class BatchView:
    """A batch opened for reading: columns are decoded when first asked for, bodies split once.

    Raises BatchError from any access that meets malformed content.
    """

    __slots__ = ("_columns", "_frame", "_meta_start", "head")

    def __init__(self, frame: bytes, head: BatchHeader, start: int = 0) -> None:
        if start + head.length > len(frame):
            raise BatchError(f"declares {head.length} bytes and has {len(frame) - start}")
        self.head = head
        self._frame = frame
        self._meta_start = start + BATCH_HEADER_BYTES
        self._columns: list[msgspec.Raw] | None = None

    def bodies(self) -> list[bytes]:
        """All bodies, in order."""
        head = self.head
        raw_bytes = head.bodies_raw_bytes
        lengths: Iterable[int]
        lengths = column = self._column(0, LENGTHS)
        if isinstance(column, int):
            sound = column > 0 and column * head.count == raw_bytes
            lengths = repeat(column, head.count)
        else:
            sound = column is not None and len(column) == head.count
            sound = sound and min(column) > 0 and sum(column) == raw_bytes
        if not sound:
            raise BatchError("body lengths do not add up")
        # Of all ways to cut bytes into many pieces, reading them off is the quickest.
        return list(map(self._open_bodies().read, lengths))

    def _open_bodies(self) -> BytesIO:
        head = self.head
        start = self._meta_start + head.meta_bytes
        end = self._meta_start - BATCH_HEADER_BYTES + head.length
        if head.bodies_codec == Compression.NONE:
            raw_bytes = end - start
            reader = BytesIO(self._frame)  # shares the frame's memory
            reader.seek(start)
        else:
            raw = _open(head.bodies_codec, self._frame[start:end], head.bodies_raw_bytes)
            raw_bytes = len(raw)
            reader = BytesIO(raw)
        if raw_bytes != head.bodies_raw_bytes:
            raise BatchError("bodies have another length than declared")
        return reader

    def tags(self) -> list[str | None] | None:
        """The tag of each message; None if none has one."""
        column = self.tag_rows()
        if column is None:
            return None
        names, rows = column
        try:
            return [names[index] for index in rows]
        except IndexError:
            raise BatchError("a tag index has no name") from None

    def tag_rows(self) -> tuple[list[str | None], Sequence[int]] | None:
        """The distinct tags, and each message's index in them; None if no message has a tag."""
        column = self._column(1, TAGS)
        if column is None:
            return None
        names, indexes = column
        count = self.head.count
        if len(indexes) == 2 * count:
            return names, struct.unpack(f"<{count}H", indexes)
        if len(indexes) != count:
            raise BatchError(f"a column has {len(indexes)} rows for {count} messages")
        return names, indexes

    def tag_names(self) -> list[str | None] | None:
        """The distinct tags of the batch: one look tells a filter whether to skip it."""
        column = self._column(1, TAGS)
        names: list[str | None] | None = None if column is None else column[0]
        return names

    def keys(self) -> list[list[str]] | None:
        return self._whole(self._column(2, KEYS))

    def ordering_keys(self) -> list[str | None] | None:
        return self._whole(self._column(3, ORDERING_KEYS))

    def properties(self) -> list[dict[str, str]] | None:
        return self._whole(self._column(4, PROPERTIES))

    def due_times_ms(self) -> list[int] | None:
        return self._whole(self._column(5, NATURALS))

    def message_ids(self) -> list[str] | None:
        """Explicit ids; None where id = producer id + sequence."""
        return self._whole(self._column(6, STRINGS)) if self._has_copies() else None

    def offset_deltas(self) -> list[int] | None:
        """Each message's offset less the base offset; None where they are 0, 1, 2, ..."""
        column = self._whole(self._column(7, NATURALS)) if self._has_copies() else None
        if column is not None and any(later <= former for former, later in pairwise(column)):
            raise BatchError("offset deltas do not ascend")
        return column

    def entries(self) -> list[tuple[int, int, int]] | None:
        """The entries of the shard's schedule that the copies end; None if they end none."""
        return self._whole(self._column(8, ENTRIES)) if self._has_copies() else None

    def _has_copies(self) -> bool:
        return self.head.flags & FLAG_COPIES != 0

    def _column(self, index: int, decoder: msgspec.msgpack.Decoder[Any]) -> Any:
        columns = self._columns
        try:
            if columns is None:
                end = self._meta_start + self.head.meta_bytes
                meta = self._frame[self._meta_start : end]
                if self.head.meta_codec != Compression.NONE:
                    meta = _open(self.head.meta_codec, meta, META_BYTES_MAX)
                columns = self._columns = COLUMNS.decode(meta)
            return decoder.decode(columns[index]) if index < len(columns) else None
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise BatchError(f"column {index} is malformed: {error}") from None

    def _whole(self, column: list[_T] | None) -> list[_T] | None:
        if column is not None and len(column) != self.head.count:
            raise BatchError(f"a column has {len(column)} rows for {self.head.count} messages")
        return column


def _open(codec: int, data: bytes, raw_bytes_max: int) -> bytes:
    try:
        return decompress(codec, data, raw_bytes_max)
    except CodecMissing as error:
        raise BatchUnopened(str(error)) from None
    except CodecError as error:
        raise BatchError(str(error)) from None


def _check_encodable(count: int, meta_bytes: int, bodies_bytes: int) -> None:
    if count > BATCH_MESSAGES_MAX:
        raise BatchError(f"a batch has at most {BATCH_MESSAGES_MAX} messages, not {count}")
    if meta_bytes > META_BYTES_MAX:
        raise BatchError(f"meta of {meta_bytes} bytes exceeds {META_BYTES_MAX}")
    if BATCH_HEADER_BYTES + meta_bytes + bodies_bytes > BATCH_BYTES_MAX:
        raise BatchError(f"a batch has at most {BATCH_BYTES_MAX} bytes, this one would have more")


def _smaller(codec: int, raw: bytes) -> tuple[int, bytes]:
    if codec == Compression.NONE:
        return Compression.NONE, raw
    packed = compress(codec, raw)
    return (codec, packed) if len(packed) < len(raw) else (int(Compression.NONE), raw)
