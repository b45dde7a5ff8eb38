"""Sessions: who talks to this router, as one entry for each connection that said HELLO.

Owns the table of sessions and how an entry ends. Knows no verbs and no sockets. A session is found
by the connection's routing id when a request comes, and by its number when a reply comes back. It
holds nothing that must survive: a client of a forgotten session is told UNKNOWN_SESSION and says
HELLO again.

A session ends with its connection. While something of it is in flight it keeps its number and its
place in the table: closing a connection frees nothing that the broker still holds.
"""

from __future__ import annotations

from shardmq.actors.kernel.ports import Randomness
from shardmq.actors.protocol.limits import SESSION_IDLE_MS, SESSIONS_MAX

__all__ = ["InFlight", "Session", "Sessions"]

_NUMBER_MASK = (1 << 63) - 1

InFlight = tuple[int, float, str, bytes]
"""A request that was handed on and is not answered yet: (bytes, monotonic deadline in ms, link,
route frame). The route frame is all that is needed to answer it here. A plain tuple, because one
is made for every request."""


class Session:
    """One connection that said HELLO, and what it has in flight."""

    __slots__ = ("bytes_in_flight", "in_flight", "is_member", "number", "peer", "seen_ms")

    def __init__(self, peer: bytes, number: int, seen_ms: float) -> None:
        self.peer = peer
        self.number = number
        self.seen_ms = seen_ms
        self.in_flight: dict[int, InFlight] = {}
        self.bytes_in_flight = 0
        self.is_member = False
        """It has spoken for a member of a group."""


class Sessions:
    """All sessions of a router: at most `sessions_max`."""

    def __init__(self, randomness: Randomness, *, sessions_max: int = SESSIONS_MAX) -> None:
        self.by_peer: dict[bytes, Session] = {}
        self.by_number: dict[int, Session] = {}
        self._ended: list[Session] = []
        self._randomness = randomness
        self._sessions_max = sessions_max

    def __len__(self) -> int:
        return len(self.by_peer)

    def open(self, peer: bytes, mono_ms: float) -> Session | None:
        """The session of `peer`, a new one if it had none; None when there is no room.

        Numbers are random, so that a reply to a forgotten session never finds another one.
        """
        session = self.by_peer.get(peer)
        if session is not None:
            return session
        if len(self.by_number) >= self._sessions_max:
            return None
        number = 0
        while number == 0 or number in self.by_number:
            number = self._randomness.u64() & _NUMBER_MASK
        session = Session(peer, number, mono_ms)
        self.by_peer[peer] = session
        self.by_number[number] = session
        return session

    def end(self, peer: bytes) -> Session | None:
        """The connection of `peer` closed; returns its session, None if it had none."""
        session = self.by_peer.pop(peer, None)
        if session is not None:
            if session.in_flight:
                self._ended.append(session)
            else:
                del self.by_number[session.number]
        return session

    def expire(self, mono_ms: float) -> int:
        """Forgets sessions that were silent for SESSION_IDLE_MS, or have ended, and wait for
        nothing.

        Returns:
            How many were forgotten.
        """
        silent_since = mono_ms - SESSION_IDLE_MS
        gone = [
            session
            for session in self.by_peer.values()
            if session.seen_ms < silent_since and not session.in_flight
        ]
        for session in gone:
            del self.by_peer[session.peer]
        gone += [session for session in self._ended if not session.in_flight]
        self._ended = [session for session in self._ended if session.in_flight]
        for session in gone:
            del self.by_number[session.number]
        return len(gone)
