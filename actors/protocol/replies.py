"""Replies as frames: what any actor answers, in the encoding that the request asked for.

Owns how a result or a refusal becomes `[route, header]`. Knows no actor; the caller puts its
envelope in front and payload frames behind.
"""

from __future__ import annotations

from .codec import encode_header
from .codes import Code, row_of
from .frames import Route, pack_reply
from .messages import ErrorReply, Header

__all__ = ["error_reply", "ok_reply"]


def ok_reply(request: Route, header: Header) -> list[bytes]:
    """Route and header of a success."""
    return [pack_reply(request, Code.OK), encode_header(header, request.flags)]


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
