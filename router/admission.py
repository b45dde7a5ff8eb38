"""Admission: how much may be in flight, and the table of what is.

Owns the bounds (by bytes and by count, for a session and for the router) and the books behind them.
Knows no verbs, no frames and no sockets.

Every request that is handed on is entered under (session, request id) and taken out exactly once:
by its reply, by its deadline, by the loss of the link it went to, or by the stop. The bytes counted
are those of the request's frames. A request that is resent while the first is still in flight takes
over its entry, so that one reply settles both; the bytes of both are charged, for both are under
way. Since the reply to the first gives back all of them, a resend is handed on only some time after
the one before it: else one id, sent again and again, would fill the memory past every bound.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from shardmq.actors.protocol.frames import Route, unpack_route
from shardmq.actors.protocol.limits import (
    DEADLINE_MS_MAX,
    KIB,
    ROUTER_BYTES_MAX,
    SESSION_BYTES_MAX,
    SESSION_REQUESTS_MAX,
)
from shardmq.actors.protocol.verbs import Verb

from .sessions import InFlight, Session

__all__ = ["PARKED_VERBS", "RESEND_MS", "Admission"]

PARKED_VERBS = frozenset((int(Verb.FETCH), int(Verb.EVENTS), int(Verb.RECEIVE)))
"""Their requests wait for news at an actor."""

RESEND_MS = 500.0
"""Nobody who waits for a reply sends again sooner: a sync may take that long."""
EXCHANGED_BYTES_MAX = 64 * KIB


class Admission:
    """The books of one router."""

    __slots__ = ("bytes_in_flight", "requests_in_flight")

    def __init__(self) -> None:
        self.bytes_in_flight = 0
        self.requests_in_flight = 0

    def why_busy(self, session: Session, frame_bytes: int) -> str | None:
        """The bound that `frame_bytes` more of `session` would exceed, None if there is room."""
        if session.bytes_in_flight + frame_bytes > SESSION_BYTES_MAX:
            return f"this session has more than {SESSION_BYTES_MAX} bytes in flight"
        if len(session.in_flight) >= SESSION_REQUESTS_MAX:
            return f"this session has {SESSION_REQUESTS_MAX} requests in flight"
        if self.bytes_in_flight + frame_bytes > ROUTER_BYTES_MAX:
            return f"all sessions have more than {ROUTER_BYTES_MAX} bytes in flight"
        return None

    def is_hasty(self, session: Session, asked: Route, frame_bytes: int, mono_ms: float) -> bool:
        """Whether a request is resent so soon that the one before it is answer enough. A parked
        one may be exchanged at any time."""
        entry = session.in_flight.get(asked.request_id)
        if entry is None or (asked.verb in PARKED_VERBS and frame_bytes <= EXCHANGED_BYTES_MAX):
            return False
        asked_for_ms = min(unpack_route(entry[3]).tail, DEADLINE_MS_MAX)
        return mono_ms < entry[1] - asked_for_ms + RESEND_MS

    def enter(self, session: Session, request_id: int, entry: InFlight) -> None:
        """Charges a request that is about to be handed on."""
        older = self.settle(session, request_id) if request_id in session.in_flight else None
        if older is not None:
            entry = (entry[0] + older[0], *entry[1:])
        session.in_flight[request_id] = entry
        session.bytes_in_flight += entry[0]
        self.bytes_in_flight += entry[0]
        self.requests_in_flight += 1

    def settle(self, session: Session, request_id: int) -> InFlight | None:
        """Takes a request out of the books; None if it is not in them (any more)."""
        entry = session.in_flight.pop(request_id, None)
        if entry is not None:
            session.bytes_in_flight -= entry[0]
            self.bytes_in_flight -= entry[0]
            self.requests_in_flight -= 1
        return entry

    def settle_where(
        self,
        sessions: Iterable[Session],
        *,
        link: str | None = None,
        due_ms: float | None = None,
        verbs: Collection[int] | None = None,
    ) -> list[tuple[Session, InFlight]]:
        """Takes out all that went to `link`, has its deadline at or before `due_ms` and is one
        of `verbs`; a condition that is not given always holds."""
        found: list[tuple[Session, InFlight]] = []
        for session in sessions:
            hit = [
                request_id
                for request_id, (_, deadline_ms, to, route) in session.in_flight.items()
                if (link is None or to == link)
                and (due_ms is None or deadline_ms <= due_ms)
                and (verbs is None or route[4] in verbs)
            ]
            for request_id in hit:
                entry = self.settle(session, request_id)
                assert entry is not None, "it was in the table a line ago"
                found.append((session, entry))
        return found
