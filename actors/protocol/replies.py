"""Replies as frames: what any actor answers, in the encoding that the request asked for.

Owns how a result or a refusal becomes `[route, header]`. Knows no actor; the caller puts its
envelope in front and payload frames behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .codec import encode_header
from .codes import Code, row_of
from .frames import FLAG_JSON, Route, pack_reply
from .limits import FRAME_BYTES_MAX, HEADER_BYTES_MAX
from .messages import ErrorReply, Header

__all__ = ["BULK_HEADER_BYTES", "bulk_bytes", "error_reply", "ok_reply"]

BULK_HEADER_BYTES = 4_096
"""From here on a header is one that holds messages, as JSON clients get them."""


def bulk_bytes(frames: Sequence[Any]) -> int:
    """Bytes of header and payload, of a reply with its envelope, if it carries messages; else 0.

    What a shard counts as under way and what a router counts as taken has to be the same.
    """
    if len(frames) == 3 and len(frames[2]) < BULK_HEADER_BYTES:
        return 0
    return sum(map(len, frames)) - len(frames[0]) - len(frames[1])


def ok_reply(request: Route, header: Header) -> list[bytes]:
    """Route and header of a success; of a refusal where the header would exceed its limit.

    A longer one would cost more than the request: a frame above ZMQ_MAXMSGSIZE closes the link
    that it travels on, for everybody.
    """
    encoded = encode_header(header, request.flags)
    bytes_max = FRAME_BYTES_MAX if request.flags & FLAG_JSON else HEADER_BYTES_MAX
    if len(encoded) > bytes_max:
        text = f"the reply's header would have {len(encoded)} bytes of {bytes_max}; ask for less"
        return error_reply(request, Code.TOO_LARGE, text)
    return [pack_reply(request, Code.OK), encoded]


def error_reply(
    request: Route,
    code: Code,
    message: str,
    *,
    retry_after_ms: int = 0,
    shard: int | None = None,
) -> list[bytes]:
    """Route and header of a refusal; name, hint and retryable come from the code's row."""
    row = row_of(code)
    header = ErrorReply(
        name=code.name,
        message=message,
        hint=row.hint,
        retryable=row.retryable,
        retry_after_ms=retry_after_ms,
        shard=shard,
    )
    return [pack_reply(request, code), encode_header(header, request.flags)]
