"""Requests: what a shard reads off a letter, and how it answers one.

Owns the step from frames to a request and from a reply to a letter. Knows no verb.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FrameError, Route, unpack_route
from shardmq.actors.protocol.limits import REQUEST_QUEUES_MAX
from shardmq.actors.protocol.messages import Header
from shardmq.actors.protocol.replies import error_reply, ok_reply

from .log.errors import LogError

__all__ = ["FATAL", "SESSION_BYTES", "Request", "read_request", "why_not_queues"]

FATAL = (AssertionError, LogError, OSError, MemoryError)
"""Not the request's fault: the process ends."""
SESSION_BYTES = 16
"""An envelope starts with router epoch and session number: together they name a session."""


class Request(msgspec.Struct, gc=False):
    """One request, its header still encoded."""

    link: str
    peer: bytes
    envelope: bytes
    route: Route
    header: bytes
    payload: list[bytes]

    def answer(self, header: Header, payload: Iterable[bytes] = ()) -> Letter:
        """The reply of a request that was carried out."""
        return (self.link, self.peer, [self.envelope, *ok_reply(self.route, header), *payload])

    def refuse(
        self, code: Code, message: str, *, retry_after_ms: int = 0, shard: int | None = None
    ) -> Letter:
        """The reply of a request that was not."""
        frames = error_reply(self.route, code, message, retry_after_ms=retry_after_ms, shard=shard)
        return (self.link, self.peer, [self.envelope, *frames])


def read_request(letter: Letter) -> Request:
    """The request in a letter.

    Raises:
        FrameError: there is no route frame to answer to.
    """
    link, peer, frames = letter
    if len(frames) < 2:
        raise FrameError("a request has an envelope and a route in front of its header")
    route = unpack_route(frames[1])
    header = frames[2] if len(frames) > 2 else b""
    return Request(link, peer, frames[0], route, header, frames[3:])


def why_not_queues(verb: str, named: int, distinct: int) -> str | None:
    """Why a request that names so many queues, so many different ones, cannot be handled; None if
    it can."""
    if 0 < named == distinct <= REQUEST_QUEUES_MAX:
        return None
    return f"{verb} names 1 to {REQUEST_QUEUES_MAX} queues, each of them once"
