"""Checksum: CRC-32C, whole and in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shardmq.actors.protocol.checksum import crc32c, extend


def _bit_by_bit(data: bytes) -> int:
    """CRC-32C as its polynomial defines it (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_the_check_value_is_that_of_the_catalogue() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"") == 0


@given(st.binary(max_size=100))
def test_the_fast_checksum_is_the_polynomials(data: bytes) -> None:
    assert crc32c(data) == _bit_by_bit(data)


@given(st.binary(), st.binary())
def test_extending_equals_one_pass(former: bytes, latter: bytes) -> None:
    assert extend(crc32c(former), latter) == crc32c(former + latter)
