"""Columns: how the meta of a record batch holds what differs from message to message.

Owns the order, types and bounds of the columns, to msgpack and back. Knows nothing of the batch
around them; `batch.py` compares them with its header.

The columns, in order (later ones may be appended; a reader skips what it does not know):

    0 body lengths   one integer where all are equal, else a list; 1 or more each
    1 tags           [names, indexes]: indexes are bytes, 2 wide (little-endian) from 257 names
                     on, else 1; nil is a name too
    2 keys           list of lists of strings
    3 ordering keys  list of strings or nil
    4 properties     list of maps
    5 due times      list of ms or 0
    6 message ids    list of strings (copies of single messages keep their first id)
    7 offset deltas  list of integers, ascending: offset - base offset
    8 entries        list of [key, position, index]: the entry of the shard's schedule that the copy
                     ends; for the shard alone

Columns 6 to 8 count only where the header's flag says that these are copies: shards make copies,
producers never do, so a shard can refuse them without opening the meta.

One byte of hostile msgpack makes an object of 50 or more, so the decoders say how long each list
may be: a longer one is refused before it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from .limits import BATCH_MESSAGES_MAX, COLUMNS_MAX, KEYS_MAX

__all__ = [
    "COLUMNS",
    "ENTRIES",
    "KEYS",
    "LENGTHS",
    "NATURALS",
    "ORDERING_KEYS",
    "PROPERTIES",
    "STRINGS",
    "TAGS",
    "Columns",
    "encode_columns",
]

_encode = msgspec.msgpack.Encoder().encode


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
    entries: Sequence[tuple[int, int, int]] | None = None


_NO_COLUMNS = (None,) * (len(Columns._fields) - 1)


def encode_columns(columns: Columns, count: int) -> bytes:
    """The meta of a batch of `count` messages, at least one."""
    assert count, "a batch has at least one message"
    lengths: Any = list(map(len, columns.bodies))
    if lengths.count(lengths[0]) == count:
        lengths = lengths[0]
    if columns[1:] == _NO_COLUMNS:
        return _encode((lengths,))
    assert all(column is None or len(column) == count for column in columns), "a row each"
    meta = (
        lengths,
        None if columns.tags is None else _tag_column(columns.tags),
        columns.keys,
        columns.ordering_keys,
        columns.properties,
        columns.due_times_ms,
        columns.message_ids,
        columns.offset_deltas,
        columns.entries,
    )
    used = len(meta)
    while used > 1 and meta[used - 1] is None:
        used -= 1
    return _encode(meta[:used])


def _tag_column(tags: Sequence[str | None]) -> tuple[list[str | None], bytes]:
    names = list(dict.fromkeys(tags))
    index_of = {name: index for index, name in enumerate(names)}
    indexes = map(index_of.__getitem__, tags)
    if len(names) <= 256:
        return names, bytes(indexes)
    return names, b"".join([index.to_bytes(2, "little") for index in indexes])


_T = TypeVar("_T")
_Rows = Annotated[list[_T], Meta(max_length=BATCH_MESSAGES_MAX)]
_Keys = Annotated[list[str], Meta(max_length=KEYS_MAX)]
_Natural = Annotated[int, Meta(ge=0)]

# A decoder for the array of columns, and for each column in it.
COLUMNS: Any = msgspec.msgpack.Decoder(Annotated[list[msgspec.Raw], Meta(max_length=COLUMNS_MAX)])
LENGTHS: Any = msgspec.msgpack.Decoder(int | _Rows[int] | None)
TAGS: Any = msgspec.msgpack.Decoder(tuple[_Rows[str | None], bytes] | None)
KEYS: Any = msgspec.msgpack.Decoder(_Rows[_Keys] | None)
ORDERING_KEYS: Any = msgspec.msgpack.Decoder(_Rows[str | None] | None)
PROPERTIES: Any = msgspec.msgpack.Decoder(_Rows[dict[str, str]] | None)
NATURALS: Any = msgspec.msgpack.Decoder(_Rows[_Natural] | None)
ENTRIES: Any = msgspec.msgpack.Decoder(_Rows[tuple[_Natural, _Natural, _Natural]] | None)
STRINGS: Any = msgspec.msgpack.Decoder(_Rows[str] | None)
