"""Compress: there and back, and no more memory than declared."""

from __future__ import annotations

import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardmq.actors.protocol.compress import (
    CodecError,
    CodecMissing,
    Compression,
    compress,
    decompress,
    installed_codecs,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@given(st.sampled_from(Compression), st.binary(max_size=2_000))
def test_what_is_compressed_is_opened(codec: Compression, data: bytes) -> None:
    assert decompress(codec, compress(codec, data), len(data)) == data


@pytest.mark.parametrize("codec", Compression)
def test_one_byte_more_than_declared_is_refused(codec: Compression) -> None:
    packed = compress(codec, bytes(1_001))
    with pytest.raises(CodecError):
        decompress(codec, packed, 1_000)


@pytest.mark.parametrize("codec", [3, 255, -1])
def test_an_unknown_codec_is_an_error_both_ways(codec: int) -> None:
    with pytest.raises(CodecError, match="unknown"):
        compress(codec, b"x")
    with pytest.raises(CodecError, match="unknown"):
        decompress(codec, b"x", 10)


@pytest.mark.parametrize("codec", [Compression.ZSTD, Compression.LZ4])
@pytest.mark.parametrize("data", [b"", b"x", b"\xff" * 50, b"\x28\xb5\x2f\xfd", b"\xff" * 8])
def test_what_no_codec_made_is_an_error(codec: Compression, data: bytes) -> None:
    with pytest.raises(CodecError):
        decompress(codec, data, 100)


def test_every_cut_of_a_zstd_frame_is_an_error() -> None:
    packed = compress(Compression.ZSTD, bytes(range(256)) * 4)
    for size in range(len(packed)):
        with pytest.raises(CodecError):
            decompress(Compression.ZSTD, packed[:size], 1_024)


def test_bytes_behind_a_zstd_frame_are_an_error() -> None:
    packed = compress(Compression.ZSTD, b"once")
    for tail in (b"\0", packed):
        with pytest.raises(CodecError, match="follow"):
            decompress(Compression.ZSTD, packed + tail, 100)


def test_a_bomb_costs_what_it_declares_and_no_more() -> None:
    bomb = zstd.compress(bytes(200 << 20))
    assert len(bomb) < 20_000
    tracemalloc.start()
    with pytest.raises(CodecError, match="more than"):
        decompress(Compression.ZSTD, bomb, 1 << 20)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 4 << 20


def test_a_frame_that_wants_a_window_of_128_mebibytes_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 27}
    packer = zstd.ZstdCompressor(options=options)
    packed = packer.compress(b"small") + packer.flush()  # in pieces: the window stays as asked
    with pytest.raises(CodecError, match="zstd"):
        decompress(Compression.ZSTD, packed, 100)


def test_a_codec_that_is_not_installed_is_told_from_data_that_is_malformed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed = compress(Compression.LZ4, b"x" * 100)
    assert installed_codecs() == set(Compression)
    monkeypatch.setitem(sys.modules, "lz4", None)
    monkeypatch.setitem(sys.modules, "lz4.block", None)
    assert installed_codecs() == {Compression.NONE, Compression.ZSTD}
    with pytest.raises(CodecMissing, match=r"shardmq\[lz4\]"):
        decompress(Compression.LZ4, packed, 100)
