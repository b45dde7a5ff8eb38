"""Membership: comes to a group, hears what it holds there, and goes. Pure.

Owns the state of the membership and the list of queues held by it. Must not know what is done with
a queue: a holder is told what changed, and says when it has let go of a queue.

    event        IDLE      JOINING   MEMBER    LEAVING   LEFT      FAILED
    START        JOINING   -         -         -         -         -
    JOINED       -         MEMBER    -         -         -         -
    REFUSED      -         FAILED    FAILED    -         -         -
    FORGOTTEN    -         -         JOINING   -         -         -
    CLOSE        LEFT      LEAVING   LEAVING   -         -         LEFT
    GONE         -         -         -         LEFT      -         -

As a member one EVENTS request is parked at the coordinator: it says that the member lives, and its
answer is the whole of what the member holds, so that an answer may be lost. A revoked queue is
given back by naming it in `released` until an answer does not show it any more. FORGOTTEN means
that the lease ran out: the member joins again under its name, keeps reading what it held, and is
told by the shards and by the next answer what of it is somebody else's now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.codec import HeaderError, decode_header, encode_header
from shardmq.actors.protocol.codes import Code, row_of
from shardmq.actors.protocol.group_messages import (
    AssignedQueue,
    Events,
    EventsReply,
    GroupJoin,
    GroupJoinReply,
    GroupLeave,
    HeldQueue,
)
from shardmq.actors.protocol.verbs import Verb

from ..errors import ShardMQError, remote_error
from ..link.calls import Call, Reply
from ..link.core import ClientCore

__all__ = ["Changes", "Event", "Holder", "Membership", "State", "changes_of"]

JOIN_MS = 10_000.0
LEAVE_MS = 3_000.0
ANSWER_MS = 2_000.0
"""How long the answer to a parked EVENTS may take beyond its time, if the lease is not shorter."""
AGAIN_MS = 100.0


class State(Enum):
    """Of the membership."""

    IDLE = "not started"
    JOINING = "GROUP_JOIN is on its way"
    MEMBER = "EVENTS is parked"
    LEAVING = "GROUP_LEAVE is on its way"
    LEFT = "no member any more"
    FAILED = "the group refused"


class Event(Enum):
    """What moves the membership."""

    START = "start"
    JOINED = "the group accepted"
    REFUSED = "the group refused for good"
    FORGOTTEN = "the group does not know the member"
    CLOSE = "close"
    GONE = "the group knows that the member left, or does not answer"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.IDLE, Event.START): State.JOINING,
    (State.IDLE, Event.CLOSE): State.LEFT,
    (State.JOINING, Event.JOINED): State.MEMBER,
    (State.JOINING, Event.REFUSED): State.FAILED,
    (State.JOINING, Event.CLOSE): State.LEAVING,
    (State.MEMBER, Event.REFUSED): State.FAILED,
    (State.MEMBER, Event.FORGOTTEN): State.JOINING,
    (State.MEMBER, Event.CLOSE): State.LEAVING,
    (State.LEAVING, Event.GONE): State.LEFT,
    (State.FAILED, Event.CLOSE): State.LEFT,
}
"""An event without a row changes nothing."""


class Changes(NamedTuple):
    """From what was held to what an answer says. Queues that stay are not named."""

    new: list[AssignedQueue]
    revoked: list[int]
    """Queue numbers that are to be given back."""
    gone: list[int]
    """Queue numbers that are held no longer, whatever was still to be done with them."""


def changes_of(held: dict[int, AssignedQueue], told: Iterable[AssignedQueue]) -> Changes:
    """A queue with another generation is another grant: gone, and new."""
    now_held = {queue.queue: queue for queue in told}
    new, revoked = [], []
    gone = [number for number in held if number not in now_held]
    for number, queue in now_held.items():
        known = held.get(number)
        if known is None or known.generation != queue.generation:
            if known is not None:
                gone.append(number)
            new.append(queue)
        elif queue.revoked and not known.revoked:
            revoked.append(number)
    return Changes(new, revoked, gone)


class Holder(Protocol):
    """Who works with the queues."""

    def joined(self, group_id: int, now: Now) -> None:
        """The group's id: what was held of another one is void."""

    def changed(self, changes: Changes, now: Now) -> None:
        """`release` follows for everything revoked, at once or later."""

    def failed(self, error: ShardMQError, now: Now) -> None:
        """The group refused for good."""


class Membership:
    """The pure part of belonging to a group."""

    def __init__(self, core: ClientCore, wish: GroupJoin, holder: Holder) -> None:
        self.state = State.IDLE
        self.group_id = 0
        self.error: ShardMQError | None = None
        self.version = 0
        """Of the assignment as last heard; 0: nothing was heard yet."""
        self.lease_ms = 0
        self.held: dict[int, AssignedQueue] = {}
        """By queue number."""
        self._core = core
        self._wish = wish
        self._holder = holder
        self._released: dict[int, int] = {}
        """Queue number -> generation, until an answer shows that the coordinator knows."""
        self._call: Call | None = None

    def start(self, now: Now) -> None:
        if self._move(Event.START):
            self._join(now)

    def release(self, number: int, now: Now) -> None:
        """A queue is free for others: nothing of it is in work, all that was done is acked."""
        queue = self.held.pop(number, None)
        if queue is None:
            return
        self._released[number] = queue.generation
        if self.state is State.MEMBER and self._call is not None:
            self._core.replace(self._call, self._events(), now)

    def leave(self, now: Now) -> None:
        """Goes; the state is LEFT once the coordinator knows, or did not answer."""
        if not self._move(Event.CLOSE):
            return
        if self._call is not None:
            self._core.forget(self._call)
            self._call = None
        self.held.clear()
        if self.state is State.LEAVING and self.group_id:
            header = encode_header(GroupLeave(group_id=self.group_id, member=self._wish.member))
            deadline_ms = now.mono_ms + LEAVE_MS
            self._core.submit(
                Call(Verb.GROUP_LEAVE, header, self._left, deadline_ms=deadline_ms), now
            )
        else:
            self._move(Event.GONE)

    @property
    def has_left(self) -> bool:
        return self.state is State.LEFT

    # ---------------------------------------------------------------------------------- calls

    def _move(self, event: Event) -> bool:
        after = TRANSITIONS.get((self.state, event))
        if after is None:
            return False
        self.state = after
        return True

    def _join(self, now: Now) -> None:
        if self.state is not State.JOINING or self._call is not None:
            return
        self._call = Call(
            Verb.GROUP_JOIN,
            encode_header(self._wish),
            self._joined,
            deadline_ms=now.mono_ms + JOIN_MS,
        )
        self._core.submit(self._call, now)

    def _joined(self, reply: Reply, now: Now) -> None:
        self._call = None
        answer = self._read(reply, GroupJoinReply, now)
        if isinstance(answer, GroupJoinReply) and self._move(Event.JOINED):
            if answer.group_id != self.group_id:
                self.held.clear()
                self._released.clear()
                self._holder.joined(answer.group_id, now)
            self.group_id = answer.group_id
            self.lease_ms = answer.lease_ms
            self.version = 0
            self._park(now)

    def _events(self) -> bytes:
        return encode_header(
            Events(
                group_id=self.group_id,
                member=self._wish.member,
                version=self.version,
                released=[
                    HeldQueue(queue=number, generation=generation)
                    for number, generation in self._released.items()
                ],
                wait_ms=self._wait_ms,
            )
        )

    @property
    def _wait_ms(self) -> int:
        return self.lease_ms // 3

    def _park(self, now: Now) -> None:
        if self.state is not State.MEMBER or self._call is not None:
            return
        attempt_ms = self._wait_ms + min(ANSWER_MS, self.lease_ms / 3)
        self._call = Call(
            Verb.EVENTS,
            self._events(),
            self._heard,
            deadline_ms=now.mono_ms + 3 * attempt_ms,
            attempt_ms=attempt_ms,
        )
        self._core.submit(self._call, now)

    def _heard(self, reply: Reply, now: Now) -> None:
        self._call = None
        if reply.code in (Code.UNKNOWN_MEMBER, Code.GROUP_NOT_FOUND):
            if self._move(Event.FORGOTTEN):
                self._join(now)
            return
        answer = self._read(reply, EventsReply, now)
        if isinstance(answer, EventsReply):
            self.version = answer.version
            self._apply(answer.queues, now)
            self._park(now)

    def _apply(self, told: Sequence[AssignedQueue], now: Now) -> None:
        shown = {queue.queue: queue.generation for queue in told}
        self._released = {
            number: generation
            for number, generation in self._released.items()
            if shown.get(number) == generation
        }
        kept = [queue for queue in told if queue.queue not in self._released]
        changes = changes_of(self.held, kept)
        self.held = {queue.queue: queue for queue in kept}
        self._holder.changed(changes, now)

    def _read(self, reply: Reply, kind: type, now: Now) -> object:
        """The answer, or None: then what follows from that is done already."""
        if reply.code == Code.OK:
            try:
                return decode_header(reply.header, kind)
            except HeaderError as error:
                self._fail(remote_error(Code.INTERNAL, f"the answer cannot be read: {error}"), now)
        elif row_of(reply.code).retryable:
            again = self._join if self.state is State.JOINING else self._park
            self._core.timers.at(now.mono_ms + AGAIN_MS, again)
        else:
            refusal = reply.error()
            self._fail(remote_error(reply.code, refusal.message, refusal.hint), now)
        return None

    def _fail(self, error: ShardMQError, now: Now) -> None:
        if self._move(Event.REFUSED):
            self.error = error
            self._holder.failed(error, now)

    def _left(self, reply: Reply, now: Now) -> None:
        del reply, now  # whatever it says: a member that is silent is forgotten with its lease
        self._move(Event.GONE)
