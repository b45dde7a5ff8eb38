"""Parking: EVENTS requests wait for news, and are answered with all that their members hold.

Owns the parked requests, at most one per member, the versions of what members hold, and when a
request has waited long enough. Knows neither what the news are nor who is a member: it asks for
both. As members are bounded, so are their requests.

Versions grow with all news of the coordinator and start above those of its former runs. A member
that comes with a version of a former run, or none, waits until shards have confirmed what it holds,
or until its time is over: it would drop what is missing in its answer, and take it up again.

A request may be overtaken: what a client sent over a connection that it has given up since can come
out of another router, or of a link's former connection, much later. It must not displace what the
client has parked meanwhile. Clients count their requests up, so its id tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..kernel.ports import Letter, Now
from ..protocol.codes import Code
from ..protocol.frames import Route
from ..protocol.group_messages import AssignedQueue, EventsReply
from ..protocol.messages import Header
from ..protocol.replies import error_reply, ok_reply
from .membership import Member
from .timers import Timers
from .topics import Refused

__all__ = ["MAILBOX", "Asker", "Parking"]

MAILBOX = "mailbox"
_SESSION_BYTES = 16
_EPOCH_SHIFT = 32
_ONE_CLIENT = 1 << 32
"""Ids of one client's requests are not so far apart; where another begins is random."""
_IDS = 1 << 64
OVERTAKEN_RETRY_MS = 100
"""For clients that count from the start again: what is parked ends, or its connection does."""


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
        return self.is_same(other) and self.envelope == other.envelope

    def is_same(self, other: Asker) -> bool:
        """Whether both are one request of a client, maybe sent over two connections."""
        return self.route.request_id == other.route.request_id

    def is_before(self, other: Asker) -> bool:
        """Whether the same client asked this earlier."""
        return 0 < (other.route.request_id - self.route.request_id) % _IDS < _ONE_CLIENT


class _Parked(NamedTuple):
    asker: Asker
    version: int
    """That the member knows."""


class Parking:
    """The requests of all members."""

    def __init__(
        self,
        epoch: int,
        *,
        view: Callable[[Member], list[AssignedQueue]],
        is_ready: Callable[[Member], bool],
    ) -> None:
        """
        Args:
            epoch: of this run of the coordinator.
            view: all that a member holds.
            is_ready: whether all of that is confirmed.
        """
        self._epoch = epoch
        self._view = view
        self._is_ready = is_ready
        self._version = epoch << _EPOCH_SHIFT
        self._parked: dict[Member, _Parked] = {}
        self._ends: Timers[Member] = Timers()
        self._to_look_at: dict[Member, None] = {}  # no set: its order differs from run to run
        self._out: list[Letter] = []

    def __len__(self) -> int:
        return len(self._parked)

    @property
    def wake_at_ms(self) -> float | None:
        return self._ends.wake_at_ms

    def park(self, member: Member, asker: Asker, version: int, until_ms: float) -> None:
        """A member asks, and may wait until `until_ms`. Its former request is answered.

        Raises:
            Refused: it has asked again since, over the connection that it has now.
        """
        if self.is_overtaken(member, asker):
            text = f"{member.name[:80]!r} has asked again since over another connection"
            raise Refused(Code.BUSY, text, retry_after_ms=OVERTAKEN_RETRY_MS)
        former = self._parked.get(member)
        if former is not None and not asker.is_resent(former.asker):
            self._replaced(member, former.asker, asker)
        self._parked[member] = _Parked(asker, version)
        self._ends.set(member, until_ms)
        self._to_look_at[member] = None

    def is_overtaken(self, member: Member, asker: Asker) -> bool:
        """Whether a client that has something parked sent this before that. Not so if it has joined
        over this connection since, or the other one is gone."""
        parked = self._parked.get(member)
        if parked is None or not asker.is_before(parked.asker):
            return False
        return parked.asker.session == member.session != asker.session

    def news(self, member: Member) -> None:
        """What a member holds has changed."""
        self._version += 1
        member.version = self._version
        self._to_look_at[member] = None

    def look_at(self, member: Member) -> None:
        """What a member may wait for may have happened."""
        self._to_look_at[member] = None

    def gone(self, member: Member) -> None:
        """Who asked is no member any more."""
        self._to_look_at.pop(member, None)
        asker = self._take(member)
        if asker is not None:
            text = f"{member.name[:80]!r} is no member any more; join again"
            self._out.append(asker.refuse(Code.UNKNOWN_MEMBER, text))

    def letters(self, now: Now) -> list[Letter]:
        """The answers that leave now."""
        for member in self._to_look_at:
            parked = self._parked.get(member)
            if parked is None or parked.version == member.version:
                continue
            knows = parked.version != 0 and parked.version >> _EPOCH_SHIFT == self._epoch
            if knows or self._is_ready(member):
                self._answer(member, self._take(member))
        self._to_look_at.clear()
        for member in self._ends.due(now.mono_ms):
            self._answer(member, self._take(member))
        out, self._out = self._out, []
        return out

    def stop(self, text: str) -> list[Letter]:
        """Answers all who wait."""
        askers = [parked.asker for parked in self._parked.values()]
        self._parked.clear()
        return [asker.refuse(Code.SHUTTING_DOWN, text) for asker in askers]

    def _replaced(self, member: Member, former: Asker, asker: Asker) -> None:
        if former.session == asker.session or asker.is_same(former):
            self._answer(member, former)  # which of two connections lives cannot be told
        else:
            # Its connection is gone, and nobody reads this; or somebody else has the same name.
            # Would both be answered as usual, they would replace each other without end.
            text = f"another connection goes on as {member.name[:80]!r}; members' names are unique"
            self._out.append(former.refuse(Code.FENCED, text))

    def _take(self, member: Member) -> Asker | None:
        parked = self._parked.pop(member, None)
        if parked is None:
            return None
        self._ends.drop(member)
        return parked.asker

    def _answer(self, member: Member, asker: Asker | None) -> None:
        if asker is not None:
            reply = EventsReply(version=member.version, queues=self._view(member))
            self._out.append(asker.answer(reply))
