"""Reception: what a router answers by itself: HELLO, PING, its own STATS, and every refusal.

Owns the words of these answers. Knows neither the books nor the links; `router.py` decides when one
of them is due.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol import limits
from shardmq.actors.protocol.batch import BATCH_VERSION
from shardmq.actors.protocol.codec import HeaderError, decode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import (
    FLAG_REPLY,
    MAGIC,
    MAJOR,
    ROUTE,
    SHARD_ANY,
    SHARD_ROUTER,
    FrameError,
    Route,
    unpack_route,
)
from shardmq.actors.protocol.messages import Hello, Limits, Pong, StatsReply, Welcome
from shardmq.actors.protocol.replies import error_reply, ok_reply

from .sessions import Sessions

__all__ = ["FRONT", "FULL_RETRY_MS", "PROTOCOL_MINOR", "Identity", "Reception", "refusal"]

FRONT = "front"
PROTOCOL_MINOR = 0
FULL_RETRY_MS = 1_000
"""A full session table has room again when silent sessions are forgotten."""
REQUEST_FRAMES_MAX = limits.REQUEST_QUEUES_MAX + 2

_LIMITS = Limits(
    body_bytes=limits.BODY_BYTES_MAX,
    properties_bytes=limits.PROPERTIES_BYTES_MAX,
    batch_bytes=limits.BATCH_BYTES_MAX,
    batch_messages=limits.BATCH_MESSAGES_MAX,
    frame_bytes=limits.FRAME_BYTES_MAX,
    header_bytes=limits.HEADER_BYTES_MAX,
    request_queues=limits.REQUEST_QUEUES_MAX,
    reply_bytes=limits.REPLY_BYTES_MAX,
    session_bytes=limits.SESSION_BYTES_MAX,
    session_requests=limits.SESSION_REQUESTS_MAX,
    wait_ms=limits.WAIT_MS_MAX,
)


class Identity(NamedTuple):
    """What a router says of itself."""

    name: str = "router-0"
    version: str = "0"
    pid: int = 0


def refusal(peer: bytes, asked: Route, code: Code, text: str, *, retry_after_ms: int = 0) -> Letter:
    """The letter that tells a client no."""
    return FRONT, peer, [*error_reply(asked, code, text, retry_after_ms=retry_after_ms)]


class Reception:
    """Answers for one router."""

    def __init__(self, identity: Identity, sessions: Sessions, *, epoch: int, shards: int) -> None:
        self._identity = identity
        self._sessions = sessions
        self._epoch = epoch
        self._shards = shards
        self.loop_figures: Callable[[], dict[str, Any]] = dict
        """Figures of the process around the core."""

    def fault_of(self, frames: list[Any]) -> tuple[Route | None, Code | None, str]:
        """What is wrong with a request's form, as (route if readable, code, text)."""
        try:
            asked = unpack_route(frames[0])
        except FrameError as error:
            return *self._foreign(frames[0]), str(error)
        if asked.flags & FLAG_REPLY:
            return asked, Code.BAD_REQUEST, "this is flagged as a reply"
        if len(frames) < 2:
            return asked, Code.BAD_REQUEST, "a request has a route frame and a header frame"
        if len(frames) > REQUEST_FRAMES_MAX:
            over = len(frames) - REQUEST_FRAMES_MAX
            text = f"a request has at most {REQUEST_FRAMES_MAX} frames, this one is {over} over"
            return asked, Code.TOO_LARGE, text
        return asked, None, ""

    def _foreign(self, frame: bytes) -> tuple[Route | None, Code | None]:
        """Another major version can still be told so: the magic says that it is one of us."""
        if len(frame) != ROUTE.size or frame[:3] != MAGIC:
            return None, None
        _, major, *fields = ROUTE.unpack(frame)
        assert major != MAJOR, "else the frame would have been readable"
        return Route(*fields), Code.UNSUPPORTED_VERSION

    def hello(self, peer: bytes, header: bytes, asked: Route, mono_ms: float) -> Letter:
        """Opens the session of `peer`, or says why not. Said again it changes nothing."""
        try:
            hello = decode_header(header, Hello, asked.flags)
        except HeaderError as error:
            return refusal(peer, asked, Code.BAD_REQUEST, f"HELLO: {error}")
        if hello.batch_version < BATCH_VERSION:
            text = f"record batches are of version {BATCH_VERSION} here, not {hello.batch_version}"
            return refusal(peer, asked, Code.UNSUPPORTED_VERSION, text)
        session = self._sessions.open(peer, mono_ms)
        if session is None:
            text = f"{len(self._sessions)} sessions are open, and there may be no more"
            return refusal(peer, asked, Code.BUSY, text, retry_after_ms=FULL_RETRY_MS)
        welcome = Welcome(
            session=f"{session.number:016x}",
            router_epoch=f"{self._epoch:016x}",
            broker=self._identity.version,
            minor=PROTOCOL_MINOR,
            batch_version=BATCH_VERSION,
            shards=self._shards,
            heartbeat_ms=limits.HEARTBEAT_MS,
            limits=_LIMITS,
        )
        return FRONT, peer, [*ok_reply(asked, welcome)]

    def ping(self, peer: bytes, asked: Route) -> Letter:
        return FRONT, peer, [*ok_reply(asked, Pong())]

    def stats(self, peer: bytes, asked: Route, figures: dict[str, Any]) -> Letter:
        """The router's own figures; `shard` says router, or any."""
        if asked.shard not in (SHARD_ROUTER, SHARD_ANY):
            return refusal(peer, asked, Code.INVALID_ARGUMENT, self.no_such_shard(asked.shard))
        identity = self._identity
        merged = {**self.loop_figures(), **figures}
        reply = StatsReply(actor=identity.name, pid=identity.pid, figures=merged)
        return FRONT, peer, [*ok_reply(asked, reply)]

    def no_such_shard(self, shard: int) -> str:
        return f"there is no shard {shard} here, only 0 to {self._shards - 1}"
