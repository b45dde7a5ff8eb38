"""Compression codecs of a batch's meta and bodies, chosen by the producer, opened by readers.

Every opening is bounded by the length that the batch declares (itself bounded), so a bomb costs
no more memory than an honest batch.
"""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = [
    "CodecError",
    "CodecMissing",
    "Compression",
    "compress",
    "decompress",
    "installed_codecs",
]


class Compression(IntEnum):
    """Codec numbers as they stand in a batch header."""

    NONE = 0
    ZSTD = 1
    LZ4 = 2


ZSTD_WINDOW_LOG_MAX = 23
"""A frame that asks its reader for a window of more than 8 MiB is refused: no batch needs it."""
_ZSTD_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG_MAX}


class CodecError(ValueError):
    """Data that its codec does not open, or not to what was declared."""


class CodecMissing(CodecError):
    """The codec's library is not installed here: nothing is said of the data."""


def installed_codecs() -> frozenset[int]:
    """Codecs that this process can open."""
    try:
        _lz4()
    except CodecMissing:
        return frozenset(Compression) - {Compression.LZ4}
    return frozenset(Compression)


def compress(codec: int, data: bytes) -> bytes:
    """`data` in the codec's form.

    Raises:
        CodecError: unknown codec.
        CodecMissing: its library is not installed.
    """
    if codec == Compression.NONE:
        return data
    if codec == Compression.ZSTD:
        return zstd.compress(data, level=1)
    if codec == Compression.LZ4:
        return bytes(_lz4().compress(data, store_size=False))
    raise CodecError(f"compression codec {codec} is unknown")


def decompress(codec: int, data: bytes, raw_bytes_max: int) -> bytes:
    """The raw form of `data`, of at most `raw_bytes_max` bytes.

    Raises:
        CodecError: unknown codec, malformed, or larger than the bound.
        CodecMissing: its library is not installed.
    """
    if codec == Compression.NONE:
        raw = data
    elif codec == Compression.ZSTD:
        raw = _open_zstd(data, raw_bytes_max)
    elif codec == Compression.LZ4:
        raw = _open_lz4(data, raw_bytes_max)
    else:
        raise CodecError(f"compression codec {codec} is unknown")
    if len(raw) > raw_bytes_max:
        raise CodecError(f"opens to more than the {raw_bytes_max} bytes it declares")
    return raw


def _open_zstd(data: bytes, raw_bytes_max: int) -> bytes:
    opener = zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)
    try:
        raw = opener.decompress(data, max_length=raw_bytes_max + 1)
    except (zstd.ZstdError, EOFError, MemoryError) as error:
        raise CodecError(f"not a zstd frame: {error}") from None
    if not opener.eof and len(raw) <= raw_bytes_max:
        raise CodecError("the zstd frame is cut off")
    if opener.unused_data:
        raise CodecError("bytes follow the zstd frame")
    return raw


def _open_lz4(data: bytes, raw_bytes_max: int) -> bytes:
    block = _lz4()
    try:
        return bytes(block.decompress(data, uncompressed_size=raw_bytes_max))
    except (block.LZ4BlockError, ValueError, MemoryError) as error:
        raise CodecError(f"not an lz4 block: {error}") from None


def _lz4() -> Any:
    try:
        import lz4.block
    except ImportError:
        raise CodecMissing("lz4 is not installed: pip install 'shardmq[lz4]'") from None
    return lz4.block
