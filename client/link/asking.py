"""Flows: several requests and answers in a row, written once for every driver.

A flow is a generator that yields lists of `Request` and is sent the decoded replies, in order; its
return value is the result. An error reply is raised inside it, where it can be caught. A driver
waits in its own manner: `Asked.settled` tells when all replies of one step are there.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.codec import HeaderError, decode_header, encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import SHARD_COORDINATOR
from shardmq.actors.protocol.verbs import Verb, row_of

from ..errors import RemoteError, Unavailable, remote_error
from .calls import Call, Reply
from .core import ClientCore

__all__ = ["Asked", "Flow", "Request"]

T = TypeVar("T")


class Request(NamedTuple):
    """One question of a flow."""

    verb: Verb
    header: Any
    shard: int = SHARD_COORDINATOR


Flow = Generator[Sequence[Request], list[Any], T]


class Asked:
    """The questions of one step, on their way."""

    def __init__(
        self,
        core: ClientCore,
        requests: Sequence[Request],
        timeout_ms: float,
        now: Now,
        *,
        url: str = "this address",
    ) -> None:
        self._requests = requests
        self._url = url
        self._replies: list[Reply | None] = [None] * len(requests)
        self._left = len(requests)
        for index, request in enumerate(requests):
            call = Call(
                request.verb,
                encode_header(request.header),
                partial(self._answered, index),
                deadline_ms=now.mono_ms + timeout_ms,
                shard=request.shard,
            )
            core.submit(call, now)

    @property
    def settled(self) -> bool:
        return self._left == 0

    def replies(self) -> list[Any]:
        """The decoded replies.

        Raises:
            RemoteError: of the first one that is not OK.
        """
        return [
            _decoded(request, reply, self._url)
            for request, reply in zip(self._requests, self._replies, strict=True)
        ]

    def _answered(self, index: int, reply: Reply, now: Now) -> None:
        self._replies[index] = reply
        self._left -= 1


def _decoded(request: Request, reply: Reply | None, url: str) -> Any:
    assert reply is not None, "ask for replies once they are settled"
    if reply.code == Code.OK:
        row = row_of(request.verb)
        assert row is not None, "flows use verbs of the table"
        try:
            return decode_header(reply.header, row.reply)
        except HeaderError as error:
            raise RemoteError(f"the broker's answer cannot be read: {error}") from None
    if not reply.sent:
        hint = "is it running, and at this address? `shardmq serve` starts one"
        raise Unavailable(f"no broker answered at {url} in time", hint=hint)
    header = reply.error()
    raise remote_error(reply.code, header.message, header.hint)
