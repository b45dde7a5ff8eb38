"""Index files, against the drawing in docs/format.md."""

from __future__ import annotations

from array import array

from shardmq.shards.log.indexfile import (
    INDEX_HEADER_BYTES,
    directory_bytes,
    encode_index,
    first_offsets,
    open_index,
)
from support.format_page import golden

ROWS = {
    7: array("Q", [1000, 4170, 196 | 2 << 32, 1_700_000_000_000]),
    2: array("Q", [0, 4366, 200 | 1 << 32, 1_700_000_000_001]),
}
SEGMENT = (4096, 8192, 0x0A0B0C0D)


def test_an_index_file_has_the_bytes_of_the_drawing() -> None:
    assert encode_index(*SEGMENT, ROWS) == golden("An index file of two batches")


def test_entries_and_first_offsets_come_back() -> None:
    data = encode_index(*SEGMENT, ROWS)
    found = open_index(data, *SEGMENT)
    assert found is not None
    for queue, row in ROWS.items():
        first, stop = found.directory[queue]
        assert list(found.words[first:stop]) == list(row)
    front = data[: directory_bytes(data[:INDEX_HEADER_BYTES])]
    assert first_offsets(front, *SEGMENT) == {2: 0, 7: 1000}


def test_a_segment_without_batches_has_an_index_too() -> None:
    data = encode_index(*SEGMENT, {5: array("Q")})
    assert len(data) == INDEX_HEADER_BYTES
    found = open_index(data, *SEGMENT)
    assert found is not None
    assert found.directory == {}


def test_every_flipped_bit_and_every_cut_is_noticed() -> None:
    data = encode_index(*SEGMENT, ROWS)
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert open_index(bytes(flipped), *SEGMENT) is None
    for length in range(len(data)):
        assert open_index(data[:length], *SEGMENT) is None
    assert open_index(data + b"\0", *SEGMENT) is None


def test_the_index_of_another_segment_is_not_taken() -> None:
    data = encode_index(*SEGMENT, ROWS)
    for other in ((4097, 8192, 0x0A0B0C0D), (4096, 8191, 0x0A0B0C0D), (4096, 8192, 0)):
        assert open_index(data, *other) is None
        assert first_offsets(data[: directory_bytes(data)], *other) is None
