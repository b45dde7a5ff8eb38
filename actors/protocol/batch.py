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

The columns, in order (later ones may be appended; a reader skips what it does not know):

    0 body lengths   one integer where all are equal, else a list
    1 tags           [names, indexes]: indexes are bytes, 1 or 2 wide, nil is a name too
    2 keys           list of lists of strings
    3 ordering keys  list of strings or nil
    4 properties     list of maps
    5 due times      list of ms or 0
    6 message ids    list of strings (copies of single messages keep their first id)
    7 offset deltas  list of integers: offset - base offset
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import msgspec

from .checksum import crc32c, extend
from .compress import CodecError, Compression, compress, decompress
from .limits import BATCH_BYTES_MAX, BATCH_MESSAGES_MAX

__all__ = [
    "BATCH_HEADER_BYTES",
    "BATCH_VERSION",
    "BatchError",
    "BatchHeader",
    "BatchView",
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

_encode = msgspec.msgpack.Encoder().encode
_columns_of = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class BatchError(ValueError):
    """Bytes that are no batch, or a batch that contradicts itself; the text says how."""


class BatchHeader(NamedTuple):
    """The fixed part of a batch."""

    length: int
    crc: int
    version: int
    meta_codec: int
    bodies_codec: int
    flags: int
    count: int
    meta_bytes: int
    producer_id: int
    first_sequence: int
    first_born_ms: int
    last_born_ms: int
    bodies_raw_bytes: int


class Columns(NamedTuple):
    """What differs from message to message; None where all are default."""

    bodies: Sequence[bytes]
    tags: Sequence[str | None] | None = None
    keys: Sequence[Sequence[str]] | None = None
    ordering_keys: Sequence[str | None] | None = None
    properties: Sequence[dict[str, str]] | None = None
    due_times_ms: Sequence[int] | None = None
    message_ids: Sequence[str] | None = None
    offset_deltas: Sequence[int] | None = None


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
        CodecError: `compression` is unknown or not installed.
    """
    raw_bodies = b"".join(columns.bodies)
    raw_meta = _encode(_meta_of(columns))
    meta_codec, meta = _smaller(compression, raw_meta)
    bodies_codec, bodies = _smaller(compression, raw_bodies)
    head = _HEADER.pack(
        BATCH_MAGIC, BATCH_HEADER_BYTES + len(meta) + len(bodies), 0, BATCH_VERSION,
        meta_codec, bodies_codec, 0, len(columns.bodies), len(meta), producer_id, first_sequence,
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
    if not BATCH_HEADER_BYTES + head.meta_bytes <= head.length <= BATCH_BYTES_MAX:
        raise BatchError(f"length {head.length} does not fit meta of {head.meta_bytes} bytes")
    if head.bodies_raw_bytes > BATCH_BYTES_MAX:
        raise BatchError(f"bodies of {head.bodies_raw_bytes} bytes exceed {BATCH_BYTES_MAX}")
    if head.first_sequence + head.count >= 1 << 63:
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
        self.head = head
        self._frame = frame
        self._meta_start = start + BATCH_HEADER_BYTES
        self._columns: list[msgspec.Raw] | None = None

    def bodies(self) -> list[bytes]:
        """All bodies, in order."""
        head = self.head
        start = self._meta_start + head.meta_bytes
        end = self._meta_start - BATCH_HEADER_BYTES + head.length
        lengths = self._column(0, _LENGTHS)
        data, base = self._frame, start
        if head.bodies_codec != Compression.NONE:
            data, base = _open(head.bodies_codec, data[start:end], head.bodies_raw_bytes), 0
            end = len(data)
        if end - base != head.bodies_raw_bytes:
            raise BatchError("bodies have another length than declared")
        if isinstance(lengths, int):
            if lengths * head.count != head.bodies_raw_bytes or lengths <= 0:
                raise BatchError("body lengths do not add up")
            stop = base + head.bodies_raw_bytes
            return [data[at : at + lengths] for at in range(base, stop, lengths)]
        if lengths is None or len(lengths) != head.count or min(lengths) < 0:
            raise BatchError("body lengths do not add up")
        ends = list(accumulate(lengths, initial=base))
        if ends[-1] - base != head.bodies_raw_bytes:
            raise BatchError("body lengths do not add up")
        return [data[a:b] for a, b in pairwise(ends)]

    def tags(self) -> list[str | None] | None:
        """The tag of each message; None if none has one."""
        column = self._column(1, _TAGS)
        if column is None:
            return None
        names, indexes = column
        wide = len(indexes) == 2 * self.head.count
        try:
            rows = struct.unpack(f"<{self.head.count}H", indexes) if wide else indexes
            tags = [names[index] for index in rows]
        except IndexError:
            raise BatchError("a tag index has no name") from None
        return self._whole(tags)

    def tag_names(self) -> list[str | None] | None:
        """The distinct tags of the batch: one look tells a filter whether to skip it."""
        column = self._column(1, _TAGS)
        return None if column is None else column[0]  # type: ignore[no-any-return]

    def keys(self) -> list[list[str]] | None:
        return self._whole(self._column(2, _KEYS))

    def ordering_keys(self) -> list[str | None] | None:
        return self._whole(self._column(3, _ORDERING_KEYS))

    def properties(self) -> list[dict[str, str]] | None:
        return self._whole(self._column(4, _PROPERTIES))

    def due_times_ms(self) -> list[int] | None:
        return self._whole(self._column(5, _INTEGERS))

    def message_ids(self) -> list[str] | None:
        """Explicit ids; None where id = producer id + sequence."""
        return self._whole(self._column(6, _STRINGS))

    def offset_deltas(self) -> list[int] | None:
        return self._whole(self._column(7, _INTEGERS))

    def _column(self, index: int, decoder: msgspec.msgpack.Decoder[Any]) -> Any:
        columns = self._columns
        try:
            if columns is None:
                end = self._meta_start + self.head.meta_bytes
                meta = self._frame[self._meta_start : end]
                if self.head.meta_codec != Compression.NONE:
                    meta = _open(self.head.meta_codec, meta, BATCH_BYTES_MAX)
                columns = self._columns = _columns_of(meta)
            return decoder.decode(columns[index]) if index < len(columns) else None
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise BatchError(f"column {index} is malformed: {error}") from None

    def _whole(self, column: list[Any] | None) -> Any:
        if column is not None and len(column) != self.head.count:
            raise BatchError(f"a column has {len(column)} rows for {self.head.count} messages")
        return column


_LENGTHS: Any = msgspec.msgpack.Decoder(int | list[int] | None)
_TAGS: Any = msgspec.msgpack.Decoder(tuple[list[str | None], bytes] | None)
_KEYS: Any = msgspec.msgpack.Decoder(list[list[str]] | None)
_ORDERING_KEYS: Any = msgspec.msgpack.Decoder(list[str | None] | None)
_PROPERTIES: Any = msgspec.msgpack.Decoder(list[dict[str, str]] | None)
_INTEGERS: Any = msgspec.msgpack.Decoder(list[int] | None)
_STRINGS: Any = msgspec.msgpack.Decoder(list[str] | None)


def _open(codec: int, data: bytes, raw_bytes_max: int) -> bytes:
    try:
        return decompress(codec, data, raw_bytes_max)
    except CodecError as error:
        raise BatchError(str(error)) from None


def _meta_of(columns: Columns) -> tuple[Any, ...]:
    lengths: Any = list(map(len, columns.bodies))
    if lengths.count(lengths[0]) == len(lengths):
        lengths = lengths[0]
    meta = (
        lengths,
        None if columns.tags is None else _tag_column(columns.tags),
        columns.keys,
        columns.ordering_keys,
        columns.properties,
        columns.due_times_ms,
        columns.message_ids,
        columns.offset_deltas,
    )
    used = len(meta)
    while used > 1 and meta[used - 1] is None:
        used -= 1
    return meta[:used]


def _tag_column(tags: Sequence[str | None]) -> tuple[list[str | None], bytes]:
    names = list(dict.fromkeys(tags))
    index_of = {name: index for index, name in enumerate(names)}
    indexes = map(index_of.__getitem__, tags)
    if len(names) <= 256:
        return names, bytes(indexes)
    return names, b"".join([index.to_bytes(2, "little") for index in indexes])


def _smaller(codec: int, raw: bytes) -> tuple[int, bytes]:
    if codec == Compression.NONE:
        return Compression.NONE, raw
    packed = compress(codec, raw)
    return (codec, packed) if len(packed) < len(raw) else (int(Compression.NONE), raw)
