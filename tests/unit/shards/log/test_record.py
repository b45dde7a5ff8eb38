"""The record prefix, against the drawing in docs/format.md."""

from __future__ import annotations

import struct

from shardmq.actors.protocol.checksum import crc32c
from shardmq.shards.log.record import (
    BATCH,
    PREFIX,
    PREFIX_BYTES,
    STATE,
    LogRecord,
    encode_prefix,
    record_at,
    record_is_sound,
)
from support.format_page import golden
from support.journals import batch_of


def _record(kind: int, payload: bytes) -> LogRecord:
    return LogRecord(
        4096, kind, 7, 1000, 1_700_000_000_000, 3, payload, PREFIX_BYTES + len(payload), 2, 0
    )


def _encode(record: LogRecord) -> bytes:
    covered = record.payload[8:12] if record.kind == BATCH else record.payload
    prefix, _ = encode_prefix(record, previous_crc=0x01020304, durable=4000, covered=covered)
    return prefix + record.payload


def test_a_state_record_has_the_bytes_of_the_drawing() -> None:
    assert _encode(_record(STATE, b"\x81\xa1a\x01")) == golden("A state record")


def test_a_batch_record_has_the_bytes_of_the_drawing() -> None:
    assert _encode(_record(BATCH, batch_of(b"one", b"two"))) == golden("A batch record")


def test_every_field_comes_back() -> None:
    data = _encode(_record(BATCH, batch_of(b"one", b"two")))
    prefix = record_at(b"xx" + data, 2, 4096)
    assert prefix is not None
    assert prefix._asdict() == {
        "magic": b"SMQR", "length": len(data), "crc": prefix.crc, "previous_crc": 0x01020304,
        "lsn": 4096, "durable": 4000, "queue": 7, "epoch": 3, "base_offset": 1000,
        "stored_at_ms": 1_700_000_000_000, "version": 1, "kind": BATCH, "flags": 0, "messages": 2,
    }  # fmt: skip


def test_the_crc_covers_all_but_itself() -> None:
    for data in (_encode(_record(BATCH, batch_of(b"x"))), _encode(_record(STATE, b"state"))):
        assert record_is_sound(data, 4096)
        for bit in range(len(data) * 8):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            assert not record_is_sound(bytes(flipped), 4096), f"bit {bit}"


def test_a_record_at_another_position_is_not_sound() -> None:
    data = _encode(_record(STATE, b"state"))
    assert not record_is_sound(data, 4097)
    assert not record_is_sound(data[:-1], 4096)
    assert not record_is_sound(data + b"x", 4096)


def test_a_prefix_that_contradicts_itself_is_none() -> None:
    fields = list(PREFIX.unpack_from(_encode(_record(STATE, b"state"))))
    for index, wrong in ((0, b"SMQB"), (1, 63), (4, 1), (5, 5000), (11, 77)):
        changed = [*fields[:index], wrong, *fields[index + 1 :]]
        assert record_at(PREFIX.pack(*changed), 0, 4096) is None
    assert record_at(b"short", 0, 4096) is None


def test_the_crc_is_crc32c_of_prefix_and_batch_crc() -> None:
    data = _encode(_record(BATCH, batch_of(b"x")))
    (crc,) = struct.unpack_from("<I", data, 8)
    assert crc == crc32c(data[:8] + data[12:64] + data[72:76])
