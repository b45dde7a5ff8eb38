"""Membership: which members a group has, and when one has been silent for too long.

Owns the members, their leases and the table of their states. Knows neither queues nor grants, and
reads no request: it is told what was heard, and says who is gone.

    state       means                                           a moment that matters
    returning   holds queues by grants that an earlier run      its lease, from the start on
                of the coordinator made; not heard of yet
    joining     has joined and not yet asked for its queues     its lease
    stable      asks for its queues again and again             its lease, from when it last asked
    lost        the connection that it asked over is gone       GONE_GRACE_MS, or its lease if less

Whoever leaves, or lets its moment pass, is gone and forgotten. A member is heard of at once when it
asks, so a parked request keeps it alive as long as it is parked: that is less than its lease.

A coordinator that was itself stopped (a debugger, a machine that swaps) finds all leases run out at
once, and the signs of life still in its mailbox. Nobody is blamed for that: whoever comes up much
too late for being looked at gets a little more time.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

from ..kernel.ports import Now
from .timers import Timers

__all__ = ["GONE_GRACE_MS", "MEMBERS_MAX", "TRANSITIONS", "Event", "Member", "Membership", "State"]

GONE_GRACE_MS = 400.0
"""A client that lost its connection opens a new one; a killed one does not."""
STALL_MS = 1_000.0
"""Being so late is no member's fault."""
MEMBERS_MAX = 100_000
"""Members of all groups together."""


class State(Enum):
    """Of a member; the table is in this module's docstring."""

    RETURNING = "returning"
    JOINING = "joining"
    STABLE = "stable"
    LOST = "lost"
    GONE = "gone"


class Event(Enum):
    """What happens to a member."""

    JOIN = "join"
    HEARD = "heard"
    DISCONNECTED = "disconnected"
    LEAVE = "leave"
    EXPIRED = "expired"


TRANSITIONS: Final = {
    (State.RETURNING, Event.JOIN): State.JOINING,
    (State.RETURNING, Event.HEARD): State.STABLE,
    (State.RETURNING, Event.LEAVE): State.GONE,
    (State.RETURNING, Event.EXPIRED): State.GONE,
    (State.JOINING, Event.JOIN): State.JOINING,
    (State.JOINING, Event.HEARD): State.STABLE,
    (State.JOINING, Event.DISCONNECTED): State.LOST,
    (State.JOINING, Event.LEAVE): State.GONE,
    (State.JOINING, Event.EXPIRED): State.GONE,
    (State.STABLE, Event.JOIN): State.STABLE,
    (State.STABLE, Event.HEARD): State.STABLE,
    (State.STABLE, Event.DISCONNECTED): State.LOST,
    (State.STABLE, Event.LEAVE): State.GONE,
    (State.STABLE, Event.EXPIRED): State.GONE,
    (State.LOST, Event.JOIN): State.JOINING,
    (State.LOST, Event.HEARD): State.STABLE,
    (State.LOST, Event.DISCONNECTED): State.LOST,
    (State.LOST, Event.LEAVE): State.GONE,
    (State.LOST, Event.EXPIRED): State.GONE,
}
"""(state, event) -> state. A RETURNING member has no connection that could go."""


class Member:
    """A member of a group.

    Attributes:
        heard_at_ms: monotonic.
        session: names the connection of its last request; "" while there was none.
        version: of what it holds; for whoever tells it.
    """

    __slots__ = ("group_id", "heard_at_ms", "lease_ms", "name", "session", "state", "version")

    def __init__(self, group_id: int, name: str, lease_ms: int, state: State, now: Now) -> None:
        self.group_id = group_id
        self.name = name
        self.lease_ms = lease_ms
        self.state = state
        self.heard_at_ms = now.mono_ms
        self.session = ""
        self.version = 0

    def after(self, event: Event) -> None:
        """Takes the step of the table."""
        self.state = TRANSITIONS[self.state, event]


class Membership:
    """The members of all groups. Groups are told apart by their ids."""

    def __init__(self) -> None:
        self._groups: dict[int, dict[str, Member]] = {}
        self._by_session: dict[str, dict[Member, None]] = {}
        self._leases: Timers[Member] = Timers()
        self._returning: dict[int, int] = {}
        """Group id -> members that have not yet been heard of; no zeros."""
        self._count = 0
        self.joined = self.left = self.expired = 0
        """Counters since the start."""

    def __len__(self) -> int:
        return self._count

    @property
    def wake_at_ms(self) -> float | None:
        return self._leases.wake_at_ms

    def of(self, group_id: int) -> dict[str, Member]:
        """The members of a group by name. Not to be changed."""
        return self._groups.get(group_id, {})

    def get(self, group_id: int, name: str) -> Member | None:
        """The member of that name."""
        return self._groups.get(group_id, {}).get(name)

    def is_settled(self, group_id: int) -> bool:
        """Whether every member was heard of since the coordinator started."""
        return group_id not in self._returning

    # --- what happens ------------------------------------------------------------------------

    def expect(self, group_id: int, name: str, lease_ms: int, now: Now) -> None:
        """Grants in force name a member: it counts as alive for one lease."""
        if self.get(group_id, name) is None:
            self._add(Member(group_id, name, lease_ms, State.RETURNING, now))
            self._returning[group_id] = self._returning.get(group_id, 0) + 1

    def join(self, group_id: int, name: str, lease_ms: int, session: str, now: Now) -> bool:
        """A member came, or came back; True if it is new."""
        member = self.get(group_id, name)
        is_new = member is None
        if member is None:
            member = Member(group_id, name, lease_ms, State.JOINING, now)
            self._add(member)
            self.joined += 1
        member.lease_ms = lease_ms
        self._alive(member, Event.JOIN, session, now)
        return is_new

    def heard(self, member: Member, session: str, now: Now) -> None:
        """A member gave a sign of life."""
        self._alive(member, Event.HEARD, session, now)

    def leave(self, member: Member) -> None:
        """A member goes; it is forgotten."""
        self.left += 1
        self._remove(member, Event.LEAVE)

    def sessions_gone(self, sessions: Iterable[str], now: Now) -> None:
        """Connections ended: who used one of them has little time to come back."""
        for session in sessions:
            for member in self._by_session.pop(session, ()):
                member.session = ""
                member.after(Event.DISCONNECTED)
                expires_at_ms = member.heard_at_ms + member.lease_ms
                self._leases.set(member, min(expires_at_ms, now.mono_ms + GONE_GRACE_MS))

    def late(self, now: Now) -> list[Member]:
        """Takes the members whose moment has passed; they are gone and forgotten."""
        wake_at_ms = self._leases.wake_at_ms
        if wake_at_ms is None or wake_at_ms > now.mono_ms:
            return []
        is_late = now.mono_ms - wake_at_ms > STALL_MS
        found = self._leases.due(now.mono_ms)
        if is_late:
            for member in found:
                self._leases.set(member, now.mono_ms + min(STALL_MS, member.lease_ms))
            return []
        for member in found:
            self.expired += 1
            self._remove(member, Event.EXPIRED)
        return found

    # --- the tables --------------------------------------------------------------------------

    def _add(self, member: Member) -> None:
        self._groups.setdefault(member.group_id, {})[member.name] = member
        self._leases.set(member, member.heard_at_ms + member.lease_ms)
        self._count += 1

    def _alive(self, member: Member, event: Event, session: str, now: Now) -> None:
        if member.state is State.RETURNING:
            self._returned(member)
        member.after(event)
        member.heard_at_ms = now.mono_ms
        if member.session != session:
            self._forget_session(member)
            member.session = session
            self._by_session.setdefault(session, {})[member] = None
        self._leases.set(member, now.mono_ms + member.lease_ms)

    def _remove(self, member: Member, event: Event) -> None:
        if member.state is State.RETURNING:
            self._returned(member)
        member.after(event)
        self._forget_session(member)
        self._leases.drop(member)
        members = self._groups[member.group_id]
        del members[member.name]
        if not members:
            del self._groups[member.group_id]
        self._count -= 1

    def _returned(self, member: Member) -> None:
        self._returning[member.group_id] -= 1
        if not self._returning[member.group_id]:
            del self._returning[member.group_id]

    def _forget_session(self, member: Member) -> None:
        others = self._by_session.get(member.session)
        if others is not None:
            others.pop(member, None)
            if not others:
                del self._by_session[member.session]
        member.session = ""
