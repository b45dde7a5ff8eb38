"""Records: both checksums are verified, and what cannot be read is an error in its place."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.batch import encode_batch
from shardmq.actors.protocol.columns import Columns
from shardmq.client.records import FetchedRecord, RecordError, split_records
from support.fake_broker import record_of


def record(base_offset: int, bodies: tuple[bytes, ...] = (b"a", b"b")) -> bytes:
    batch = encode_batch(
        Columns(bodies), producer_id=1, first_sequence=1, first_born_ms=0, last_born_ms=0
    )
    return record_of(batch, 7, base_offset, 1_234)


def test_a_frame_is_split_into_its_records() -> None:
    first, second = split_records(record(0) + record(2, (b"c",)))
    assert isinstance(first, FetchedRecord)
    assert isinstance(second, FetchedRecord)
    assert (first.queue, first.base_offset, first.next_offset) == (7, 0, 2)
    assert (second.base_offset, second.next_offset, second.stored_at_ms) == (2, 3, 1_234)
    assert split_records(b"") == []


def test_every_flipped_bit_is_noticed() -> None:
    whole = record(5)
    for position in range(len(whole)):
        for bit in range(8):
            bad = bytearray(whole)
            bad[position] ^= 1 << bit
            (found,) = split_records(bytes(bad))
            assert isinstance(found, RecordError), (position, bit)


def test_every_truncation_is_noticed() -> None:
    whole = record(5)
    for length in range(1, len(whole)):
        (found,) = split_records(whole[:length])
        assert isinstance(found, RecordError), length


def test_a_damaged_batch_names_its_offsets_and_the_next_record_is_read() -> None:
    damaged = record(0).replace(b"ab", b"aX")
    error, sound = split_records(damaged + record(2))
    assert isinstance(error, RecordError)
    assert (error.base_offset, error.next_offset) == (0, 2)
    assert isinstance(sound, FetchedRecord)


def test_a_damaged_prefix_ends_the_frame() -> None:
    broken = b"X" + record(0)[1:]
    found = split_records(record(0) + broken + record(4))
    assert [type(one) for one in found] == [FetchedRecord, RecordError]
    assert isinstance(found[1], RecordError)
    with pytest.raises(RecordError, match="prefix"):
        raise found[1]
