"""Headers to bytes and back: msgpack, or JSON when the route's flag says so.

Decoders are made once for each type. Whatever a hostile header does to them (nesting, huge
declared lengths, wrong types) comes out as one error, `HeaderError`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import msgspec

from .frames import FLAG_JSON
from .limits import HEADER_BYTES_MAX

__all__ = ["HeaderError", "decode_header", "encode_header"]

T = TypeVar("T", bound=msgspec.Struct)
_msgpack = msgspec.msgpack.Encoder()
_json = msgspec.json.Encoder()


class HeaderError(ValueError):
    """A header that is not what its verb wants; the text says where."""


def encode_header(header: msgspec.Struct, flags: int = 0) -> bytes:
    """Bytes of a header, in JSON if `flags` has FLAG_JSON."""
    return _json.encode(header) if flags & FLAG_JSON else _msgpack.encode(header)


def decode_header(frame: bytes, kind: type[T], flags: int = 0) -> T:
    """The header of type `kind` in `frame`.

    Raises:
        HeaderError: too large, malformed, or not of that type.
    """
    if len(frame) > HEADER_BYTES_MAX:
        over = len(frame) - HEADER_BYTES_MAX
        raise HeaderError(f"a header has at most {HEADER_BYTES_MAX} bytes, {over} over")
    decoder = _json_decoder(kind) if flags & FLAG_JSON else _msgpack_decoder(kind)
    try:
        return decoder.decode(frame)  # type: ignore[no-any-return]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise HeaderError(str(error)) from None


@cache
def _msgpack_decoder(kind: type[Any]) -> Any:
    return msgspec.msgpack.Decoder(kind)


@cache
def _json_decoder(kind: type[Any]) -> Any:
    return msgspec.json.Decoder(kind)
