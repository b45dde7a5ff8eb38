"""Parking: EVENTS requests that wait for news.

Owns the parked requests, at most one per member, and when each has waited long enough. Knows
neither what the news are nor who is a member. As every member is bounded, so are its requests.
"""

from __future__ import annotations

from typing import NamedTuple

from ..kernel.ports import Letter, Now
from ..protocol.codes import Code
from ..protocol.frames import Route
from ..protocol.messages import Header
from ..protocol.replies import error_reply, ok_reply
from .membership import Member
from .timers import Timers

__all__ = ["MAILBOX", "Asker", "Parked", "Parking"]

MAILBOX = "mailbox"
_SESSION_BYTES = 16


class Asker(NamedTuple):
    """Who asked, and where the answer goes."""

    peer: bytes
    envelope: bytes
    route: Route

    @property
    def session(self) -> str:
        """Names the connection: router and session number."""
        return self.envelope[:_SESSION_BYTES].hex()

    def answer(self, header: Header) -> Letter:
        """A success."""
        return MAILBOX, self.peer, [self.envelope, *ok_reply(self.route, header)]

    def refuse(self, code: Code, text: str) -> Letter:
        """A refusal."""
        return MAILBOX, self.peer, [self.envelope, *error_reply(self.route, code, text)]

    def is_resent(self, other: Asker) -> bool:
        """Whether both are the same request of the same connection."""
        same_request = self.route.request_id == other.route.request_id
        return same_request and self.envelope == other.envelope


class Parked(NamedTuple):
    """A request that waits."""

    asker: Asker
    version: int
    """That the member knows."""


class Parking:
    """The parked requests by member."""

    def __init__(self) -> None:
        self._parked: dict[Member, Parked] = {}
        self._ends: Timers[Member] = Timers()

    def __len__(self) -> int:
        return len(self._parked)

    @property
    def wake_at_ms(self) -> float | None:
        return self._ends.wake_at_ms

    def park(self, member: Member, parked: Parked, until_ms: float) -> Asker | None:
        """A request waits until `until_ms`; the asker of another one that it replaces."""
        former = self._parked.get(member)
        self._parked[member] = parked
        self._ends.set(member, until_ms)
        if former is None or parked.asker.is_resent(former.asker):
            return None
        return former.asker

    def get(self, member: Member) -> Parked | None:
        """The request of `member` that waits."""
        return self._parked.get(member)

    def take(self, member: Member) -> Asker | None:
        """Who waits for `member`, and does so no more."""
        parked = self._parked.pop(member, None)
        if parked is None:
            return None
        self._ends.drop(member)
        return parked.asker

    def ended(self, now: Now) -> list[Member]:
        """Members whose requests have waited long enough. They still have to be taken."""
        return self._ends.due(now.mono_ms)

    def all(self) -> list[Member]:
        """Everybody with a request that waits."""
        return list(self._parked)
