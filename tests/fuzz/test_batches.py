"""Hostile batches, compressed data, plain messages and records."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardmq.actors.protocol.batch import (
    BATCH_HEADER_BYTES,
    BatchError,
    BatchView,
    batch_crc,
    check_batch,
    read_batch_header,
)
from shardmq.actors.protocol.codec import HeaderError, decode_header
from shardmq.actors.protocol.compress import CodecError, Compression, compress, decompress
from shardmq.actors.protocol.frames import FLAG_JSON
from shardmq.actors.protocol.limits import BATCH_BYTES_MAX, META_BYTES_MAX, MIB
from shardmq.actors.protocol.messages import PlainMessage
from shardmq.actors.protocol.plain import PlainError, columns_of, plain_messages
from shardmq.client.records import FetchedRecord, RecordError, split_records
from shardmq.shards.log import record as log_record
from support import repo
from support.fuzzing import TEXT, VALUES, bounded, examples, mutated

VECTORS = json.loads((repo.ROOT / "tests/vectors/batches.json").read_text(encoding="utf-8"))
SEEDS = [bytes.fromhex(one["hex"]) for one in VECTORS]
RECORDS = [bytes.fromhex(one["record"]["hex"]) for one in VECTORS]


def sealed(frame: bytes) -> bytes:
    """`frame` with its length and checksum made right, so that what is behind them is reached."""
    if len(frame) < BATCH_HEADER_BYTES:
        return frame
    frame = frame[:4] + len(frame).to_bytes(4, "little") + frame[8:]
    return frame[:8] + batch_crc(frame).to_bytes(4, "little") + frame[12:]


def read_whole(frame: bytes) -> None:
    """Reads everything there is to read; only BatchError may come out."""
    try:
        view = BatchView(frame, check_batch(frame))
    except BatchError as error:
        str(error).encode()
        return
    columns: list[Any] = []
    for column in (view.bodies, view.tags, view.tag_names, view.keys, view.ordering_keys,
                   view.properties, view.due_times_ms, view.message_ids,
                   view.offset_deltas):  # fmt: skip
        try:
            columns.append(column())
        except BatchError as error:
            str(error).encode()
        else:
            assert (
                columns[-1] is None
                or column == view.tag_names
                or (len(columns[-1]) == view.head.count)
            )
    try:
        plain = plain_messages(view, 100, 5)
    except BatchError:
        return
    for one in plain:
        msgspec.json.encode(one)


@examples(300)
@given(st.sampled_from(SEEDS).flatmap(mutated))
def test_a_batch_with_some_bytes_changed(frame: bytes) -> None:
    read_whole(frame)
    read_whole(sealed(frame))


@examples(300)
@given(st.sampled_from(SEEDS), st.integers(12, 63), st.sampled_from("BHIQ"), st.data())
def test_a_header_field_of_any_value(
    seed: bytes, offset: int, form: str, data: st.DataObject
) -> None:
    size = struct.calcsize(f"<{form}")
    edge = st.sampled_from([0, 1, (1 << 8 * size) - 1, 1 << (8 * size - 1)])
    value = data.draw(edge | st.integers(0, (1 << 8 * size) - 1))
    frame = bytearray(seed)
    struct.pack_into(f"<{form}", frame, min(offset, 64 - size), value)
    read_whole(sealed(bytes(frame)))


@examples(300)
@given(st.lists(VALUES, max_size=9), st.integers(1, 5), st.binary(min_size=1, max_size=12),
       st.integers(0, 1))  # fmt: skip
def test_columns_of_any_values(columns: list[Any], count: int, bodies: bytes, flags: int) -> None:
    try:
        meta = msgspec.msgpack.encode(columns)
    except (OverflowError, UnicodeEncodeError):
        meta = msgspec.msgpack.encode([len(bodies)])
    read_whole(forged(meta, bodies, count, flags=flags))


def forged(
    meta: bytes,
    bodies: bytes,
    count: int,
    *,
    flags: int = 0,
    codec: int = 0,
    raw: int | None = None,
) -> bytes:
    raw_bytes = len(bodies) if raw is None else raw
    head = struct.pack(
        "<4sIIBBBBIIQQqqII", b"SMQB", 0, 0, 1, codec, codec if raw else 0, flags, count, len(meta),
        1, 0, 0, 0, raw_bytes, 0,
    )  # fmt: skip
    return sealed(head + meta + bodies)


SMALLEST = [b"\xc0", b"\xa0", b"\xa1a", b"\xa2ab", b"\x90", b"\x80", b"\x00", b"\xcd\x01\x00",
            b"\x91\xa1a", b"\x81\xa1a\xa0"]  # fmt: skip


@pytest.mark.parametrize("column", range(8))
@pytest.mark.parametrize("element", SMALLEST, ids=[one.hex() for one in SMALLEST])
def test_meta_of_full_size_stays_within_its_memory(column: int, element: bytes) -> None:
    """A compressed bomb of meta: some hundred bytes on the wire."""
    for rows in (META_BYTES_MAX // len(element) - 50, 65_536):
        many = b"\xdd" + rows.to_bytes(4, "big") + element * rows
        meta = bytes([0x91 + column]) + b"\xc0" * column + many
        if column == 1:
            meta = b"\x92\xc0\x92" + many + b"\xc4\x01\x00"
        packed = compress(Compression.ZSTD, meta)
        frame = forged(packed, b"xx", 2, flags=1, codec=Compression.ZSTD)
        assert len(frame) < 20_000
        with bounded(memory_bytes=64 << 20):
            read_whole(frame)


def test_one_map_of_full_size_is_the_worst_and_stays_within_its_memory() -> None:
    rows = META_BYTES_MAX // 5 - 20
    pairs = b"".join(b"\xa3%c%c%c\xa0" % (33 + at % 90, 33 + at // 90 % 90, 1 + at // 8_100)
                     for at in range(rows))  # fmt: skip
    count = len(pairs) // 5
    meta = b"\x95\x01\xc0\xc0\xc0\x91\xdf" + count.to_bytes(4, "big") + pairs
    with bounded(memory_bytes=220 << 20):
        read_whole(forged(compress(Compression.ZSTD, meta), b"x", 1, codec=Compression.ZSTD))


def test_bodies_that_open_to_full_size_cost_what_they_declare() -> None:
    packed = compress(Compression.ZSTD, bytes(64 * MIB))
    for raw in (1, 1_000, BATCH_BYTES_MAX):
        frame = forged(b"\x91\x01", packed, 1, codec=Compression.NONE, raw=raw)
        changed = bytearray(frame)
        changed[14] = Compression.ZSTD
        with bounded(memory_bytes=3 * BATCH_BYTES_MAX):
            read_whole(sealed(bytes(changed)))


@examples(250)
@given(st.sampled_from(Compression), st.binary(max_size=200), st.integers(0, 4_096), st.data())
def test_compressed_data_of_any_kind(
    codec: Compression, raw: bytes, raw_bytes_max: int, data: st.DataObject
) -> None:
    packed = data.draw(st.one_of(st.binary(max_size=60), mutated(compress(codec, raw))))
    try:
        opened = decompress(codec, packed, raw_bytes_max)
    except CodecError as error:
        str(error).encode()
    else:
        assert len(opened) <= raw_bytes_max


# --- plain messages ----------------------------------------------------------------------------

PLAIN = st.builds(
    PlainMessage,
    body=st.none() | TEXT, body_base64=st.none() | TEXT | st.binary(max_size=9).map(
        lambda raw: base64.b64encode(raw).decode()),
    tag=st.none() | TEXT, keys=st.lists(TEXT, max_size=3), ordering_key=st.none() | TEXT,
    properties=st.dictionaries(TEXT, TEXT, max_size=3), queue_id=st.none() | st.integers(),
)  # fmt: skip


@examples(250)
@given(st.lists(PLAIN, max_size=4))
def test_plain_messages_of_any_text(messages: list[PlainMessage]) -> None:
    try:
        columns = columns_of(messages)
    except PlainError as error:
        str(error).encode()  # lone surrogates must not travel in the reason
        return
    assert len(columns.bodies) == len(messages)
    assert all(columns.bodies)


@examples(300)
@given(mutated(b'{"body":"a","tag":"t","keys":["k"],"properties":{"a":"b"},"queue_id":1}'))
def test_a_plain_message_with_some_bytes_changed(frame: bytes) -> None:
    try:
        message = decode_header(frame, PlainMessage, FLAG_JSON)
        columns_of([message])
    except (HeaderError, PlainError) as error:
        str(error).encode()


# --- records -----------------------------------------------------------------------------------


@examples(250)
@given(st.lists(st.sampled_from(RECORDS), min_size=1, max_size=3).map(b"".join).flatmap(mutated))
def test_a_fetched_frame_with_some_bytes_changed(frame: bytes) -> None:
    total = 0
    for one in split_records(frame):
        assert isinstance(one, FetchedRecord | RecordError)
        if isinstance(one, FetchedRecord):
            read_whole(one.batch)
            total += len(one.batch) + 64
    assert total <= len(frame)


@examples(250)
@given(st.sampled_from(RECORDS).flatmap(mutated), st.integers(0, 1 << 63), st.integers(0, 80))
def test_a_record_of_the_log_with_some_bytes_changed(frame: bytes, lsn: int, start: int) -> None:
    for at in (lsn, 4_096):
        assert log_record.record_is_sound(frame, at) in (True, False)
        prefix = log_record.record_at(frame, start, at)
        if prefix is not None:
            log_record.prefix_is_sound(frame, start, prefix)


@examples(200)
@given(st.binary(max_size=200), st.integers(0, 250))
def test_a_batch_header_at_any_place(frame: bytes, start: int) -> None:
    with pytest.raises(BatchError):
        read_batch_header(frame, start)
