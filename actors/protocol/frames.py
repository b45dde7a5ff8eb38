"""Frames: how a request and a reply look on the wire.

    request:  route | header | payload ...        reply:  route | header | payload ...

    route, 24 bytes, little-endian, the only frame that a router unpacks
     0      3     4      6       8         12                    20            24
     | "SMQ" |major| verb | flags |  shard  |     request id      | deadline_ms |   request
     | "SMQ" |major| verb | flags |  shard  |     request id      |    code     |   reply

    header: msgpack map with string keys, or JSON when FLAG_JSON is set; unknown keys are ignored
    payload: opaque record batches (PRODUCE), or records (FETCH reply)

Inside the broker one more frame, the envelope, stands in front both ways. The actor that answers
echoes it untouched.

    envelope, 24 bytes + principal (UTF-8)
     0              8             16               20              24
     | router epoch | session     | frame bytes    | reserved      | principal ...
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = [
    "ENVELOPE",
    "FLAG_JSON",
    "FLAG_REPLY",
    "MAGIC",
    "MAJOR",
    "ROUTE",
    "SHARD_ANY",
    "SHARD_COORDINATOR",
    "SHARD_ROUTER",
    "FrameError",
    "Route",
    "pack_envelope",
    "pack_reply",
    "pack_request",
    "unpack_route",
]

MAGIC = b"SMQ"
MAJOR = 1
ROUTE = struct.Struct("<3sBHHIQI")
ENVELOPE = struct.Struct("<QQII")

FLAG_REPLY = 1
FLAG_JSON = 2

SHARD_ANY = 0xFFFFFFFF
"""Any shard will do (JSON clients that name only a topic)."""
SHARD_COORDINATOR = 0xFFFFFFFE
SHARD_ROUTER = 0xFFFFFFFD

assert ROUTE.size == 24, "docs/protocol.md draws it so"
assert ENVELOPE.size == 24, "routers slice the principal behind it"


class FrameError(ValueError):
    """A peer's frames do not follow the protocol; the text says how."""


class Route(NamedTuple):
    """The route frame of a request (`tail` = ms left) or of a reply (`tail` = code)."""

    verb: int
    flags: int
    shard: int
    request_id: int
    tail: int


def pack_request(
    verb: int, request_id: int, deadline_ms: int, *, shard: int = SHARD_ANY, flags: int = 0
) -> bytes:
    """Route frame of a request with `deadline_ms` milliseconds left to answer it."""
    return ROUTE.pack(MAGIC, MAJOR, verb, flags, shard, request_id, deadline_ms)


def pack_reply(request: Route, code: int) -> bytes:
    """Route frame of the reply to `request`."""
    return ROUTE.pack(
        MAGIC, MAJOR, request.verb, request.flags | FLAG_REPLY, request.shard,
        request.request_id, code,
    )  # fmt: skip


def unpack_route(frame: bytes) -> Route:
    """Reads a route frame.

    Raises:
        FrameError: wrong size, magic or major version.
    """
    if len(frame) != 24:
        raise FrameError(f"a route frame has 24 bytes, this one has {len(frame)}")
    magic, major, verb, flags, shard, request_id, tail = ROUTE.unpack(frame)
    if magic != MAGIC:
        raise FrameError("a route frame starts with 'SMQ'")
    if major != MAJOR:
        raise FrameError(f"protocol version {major} is not spoken here, only {MAJOR}")
    return Route(verb, flags, shard, request_id, tail)


def pack_envelope(router_epoch: int, session: int, frame_bytes: int, principal: str = "") -> bytes:
    """Envelope that a router puts in front of a request inside the broker."""
    return ENVELOPE.pack(router_epoch, session, frame_bytes, 0) + principal.encode()
