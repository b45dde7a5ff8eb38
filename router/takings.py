"""Takings: tells each shard how much of its answers this router has taken.

Owns what has not been told yet. Knows nothing of whom the answers were for.

A shard holds answers back while too much of them is under way to a router (`shards/outflow.py`).
Only answers with messages count; they are told in steps, so that it costs next to nothing.
"""

from __future__ import annotations

from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.frames import pack_envelope, pack_request
from shardmq.actors.protocol.limits import ANSWERS_BYTES_MAX
from shardmq.actors.protocol.messages import Taken
from shardmq.actors.protocol.verbs import Verb

from .farewells import OWN_SESSION

__all__ = ["Takings"]

TELL_BYTES = ANSWERS_BYTES_MAX // 8
ANSWER_MS = 1_000
"""Nobody waits for the answer."""


class Takings:
    """Of one router."""

    def __init__(self, *, epoch: int) -> None:
        self._epoch = epoch
        self._untold: dict[str, int] = {}
        self._request_id = 0

    def took(self, link: str, size: int, out: list[Letter]) -> None:
        """An answer of so many bytes came from `link`."""
        untold = self._untold.get(link, 0) + size
        if untold >= TELL_BYTES:
            self._request_id += 1
            envelope = pack_envelope(self._epoch, OWN_SESSION, 0)
            route = pack_request(Verb.TAKEN, self._request_id, ANSWER_MS)
            out.append((link, b"", [envelope, route, encode_header(Taken(bytes=untold))]))
            untold = 0
        self._untold[link] = untold

    def link_lost(self, link: str) -> None:
        """What was under way on it is gone."""
        self._untold.pop(link, None)
