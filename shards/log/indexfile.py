"""The index file of a sealed segment: where each queue's batches lie, all queues in one file.

Owns the layout and its validation. Derived data: it may be deleted at any time and is then built
again from the log, to the same bytes.

    header, 64 bytes
     0      4        8         9       12       16        24            32        40
     | SMQX | crc32c | version | spare | queues | entries | segment lsn | end lsn |
     40                 44            48        64
     | crc of last prefix | crc32c of entries | spare |
    + directory, 16 bytes a queue, by queue number:   queue 4 · entries 4 · first offset 8
    + entries, 32 bytes each, by queue, then by lsn:  base offset 8 · lsn 8 · length 4 · count 4 ·
                                                      stored at ms 8

The first crc covers the header behind itself and the directory, the second the entries. The file
is valid if, besides, it names the segment's first and last lsn and the crc of its last prefix:
positions and checksums, never times. In memory an entry is four 64-bit words, in the same bytes.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Mapping
from typing import Final, NamedTuple

from shardmq.actors.protocol.checksum import crc32c

__all__ = [
    "ENTRY_WORDS", "INDEX_HEADER_BYTES", "INDEX_VERSION", "IndexFile", "Rows", "directory_bytes",
    "encode_index", "first_offsets", "open_index",
]  # fmt: skip

assert sys.byteorder == "little", "entries lie in memory as on disk"

INDEX_MAGIC: Final = b"SMQX"
INDEX_VERSION: Final = 1
_HEADER = struct.Struct("<4sIB3sIQQQII16s")
INDEX_HEADER_BYTES: Final = _HEADER.size
assert INDEX_HEADER_BYTES == 64, "docs/format.md draws it so"
ENTRY_WORDS: Final = 4
_ENTRY_BYTES = 8 * ENTRY_WORDS
_DIRECTORY_WORDS = 2
_LOW = 0xFFFFFFFF

Rows = Mapping[int, "array[int]"]
"""Entries per queue, four words each: base offset, lsn, length | count << 32, stored at."""


class IndexFile(NamedTuple):
    """An index file in memory."""

    directory: dict[int, tuple[int, int]]
    """Queue: (first word, behind the last word) of its entries."""
    words: memoryview
    """All entries as 64-bit words."""


def encode_index(base: int, end: int, last_crc: int, rows: Rows) -> bytes:
    """The index file of the segment [base, end) whose last prefix has the crc `last_crc`."""
    queues = sorted(queue for queue in rows if rows[queue])
    directory = array("Q")
    for queue in queues:
        row = rows[queue]
        directory.extend((queue | (len(row) // ENTRY_WORDS) << 32, row[0]))
    entries = b"".join([rows[queue].tobytes() for queue in queues])
    head = _HEADER.pack(
        INDEX_MAGIC, 0, INDEX_VERSION, b"", len(queues), len(entries) // _ENTRY_BYTES, base, end,
        last_crc, crc32c(entries), b"",
    )  # fmt: skip
    front = head[8:] + directory.tobytes()
    return b"".join((INDEX_MAGIC, crc32c(front).to_bytes(4, "little"), front, entries))


def directory_bytes(header: bytes) -> int:
    """Length of the header and the directory, as an index file's header declares it."""
    queues = _HEADER.unpack_from(header)[4] if len(header) >= INDEX_HEADER_BYTES else 0
    return int(INDEX_HEADER_BYTES + queues * 8 * _DIRECTORY_WORDS)


def first_offsets(front: bytes, base: int, end: int, last_crc: int) -> dict[int, int] | None:
    """First offset of each queue, if `front` is the sound header and directory of the index of
    the segment described, else None. Spares opening the entries when only that is asked."""
    if _sound_front(front, base, end, last_crc) is None:
        return None
    words = memoryview(front)[INDEX_HEADER_BYTES:].cast("Q")
    return dict(zip([word & _LOW for word in words[0::2]], words[1::2], strict=True))


def open_index(data: bytes, base: int, end: int, last_crc: int) -> IndexFile | None:
    """The index in `data` if it is sound and that of the segment described, else None."""
    start = directory_bytes(data)
    found = _sound_front(data[:start], base, end, last_crc)
    entries = data[start:]
    if found is None or found != (len(entries), crc32c(entries)):
        return None
    words = memoryview(data)[INDEX_HEADER_BYTES:start].cast("Q")
    directory, at = {}, 0
    for word in words[0::2]:
        stop = at + (word >> 32) * ENTRY_WORDS
        directory[word & _LOW] = (at, stop)
        at = stop
    return IndexFile(directory, memoryview(entries).cast("Q"))


def _sound_front(front: bytes, base: int, end: int, last_crc: int) -> tuple[int, int] | None:
    """(bytes of the entries, their crc) if header and directory are sound and fit the segment."""
    if len(front) < INDEX_HEADER_BYTES or len(front) != directory_bytes(front):
        return None
    magic, crc, version, _, _, entries, own_base, own_end, own_last, entries_crc, _ = (
        _HEADER.unpack_from(front)
    )
    named = (magic, version, own_base, own_end, own_last)
    if named != (INDEX_MAGIC, INDEX_VERSION, base, end, last_crc) or crc32c(front[8:]) != crc:
        return None
    return entries * _ENTRY_BYTES, entries_crc
