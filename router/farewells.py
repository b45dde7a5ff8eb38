"""Farewells: the coordinator is told which sessions of group members ended with their connection.

Owns what is told, how often and for how long. Knows no connections and no groups.

One SESSIONS_GONE is under way at a time; sessions that end meanwhile go with the next. One that
fails is sent again until the usual lease of a member has run out: then silence has said the same.
News that is lost for good costs only that time, so nothing here survives the router.
"""

from __future__ import annotations

from shardmq.actors.kernel.ports import Letter, Now
from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.codes import row_of as code_row
from shardmq.actors.protocol.frames import SHARD_COORDINATOR, pack_envelope, pack_request
from shardmq.actors.protocol.group_messages import SessionsGone
from shardmq.actors.protocol.limits import LEASE_MS, REQUEST_QUEUES_MAX, SESSIONS_MAX
from shardmq.actors.protocol.verbs import Verb

__all__ = ["ANSWER_MS", "OWN_SESSION", "RETRY_MS", "Farewells"]

OWN_SESSION = 0
"""Number of no client's session: the router asks for itself."""
ANSWER_MS = 1_000
"""A coordinator that has not answered by then is asked again."""
RETRY_MS = 100.0


class Farewells:
    """What one router has to tell."""

    def __init__(self, link: str, *, epoch: int) -> None:
        """`link` leads to the coordinator."""
        self._link = link
        self._epoch = epoch
        self._up = False
        self._told_until_ms: dict[int, float] = {}
        """Session number -> when it need not be told any more."""
        self._under_way: list[int] = []
        self._request_id = 0
        self._next_at_ms = 0.0
        """When to send (again)."""

    def __len__(self) -> int:
        """Sessions that the coordinator has not been told of, as far as is known."""
        return len(self._told_until_ms)

    @property
    def wake_at_ms(self) -> float | None:
        return self._next_at_ms if self._told_until_ms and self._up else None

    def link_changed(self, up: bool, now: Now) -> list[Letter]:
        self._up = up
        self._under_way = []
        self._next_at_ms = now.mono_ms
        return self.due(now)

    def add(self, number: int, now: Now) -> None:
        """Session `number` ended; `due` tells it. When too many wait, the oldest is left out."""
        waiting = self._told_until_ms
        if len(waiting) >= SESSIONS_MAX:
            del waiting[next(iter(waiting))]
        waiting[number] = now.mono_ms + LEASE_MS

    def due(self, now: Now) -> list[Letter]:
        """The request to send now, if there is one."""
        waiting = self._told_until_ms
        while waiting and waiting[oldest := next(iter(waiting))] <= now.mono_ms:
            del waiting[oldest]
        if not waiting or not self._up or now.mono_ms < self._next_at_ms:
            return []
        self._under_way = list(waiting)[:REQUEST_QUEUES_MAX]
        self._next_at_ms = now.mono_ms + ANSWER_MS
        self._request_id += 1
        sessions = [pack_envelope(self._epoch, number, 0)[:16].hex() for number in self._under_way]
        header = encode_header(SessionsGone(sessions=sessions), 0)
        route = pack_request(
            Verb.SESSIONS_GONE, self._request_id, ANSWER_MS, shard=SHARD_COORDINATOR
        )
        envelope = pack_envelope(self._epoch, OWN_SESSION, len(route) + len(header))
        return [(self._link, b"", [envelope, route, header])]

    def answered(self, request_id: int, code: int, now: Now) -> list[Letter]:
        """The coordinator's answer; what it is followed by."""
        if request_id != self._request_id or not self._under_way:
            return []
        told, self._under_way = self._under_way, []
        if code_row(code).retryable:
            self._next_at_ms = now.mono_ms + RETRY_MS
            return []
        for number in told:
            self._told_until_ms.pop(number, None)
        self._next_at_ms = now.mono_ms
        return self.due(now)
