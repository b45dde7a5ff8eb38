"""The router's core: checks a request's route frame and hands its frames on, untouched.

Owns the front door's order of events: session, verb's row, admission, link. Must not know what is
in a header or a payload (HELLO's excepted), nor topics, queues or disks. Nothing here survives a
restart, and nothing has to.

    front ──► route frame ──► session? ──► verb's row ──► admission ──► [envelope] + frames ──► link
    front ◄── frames ◄── in flight? ◄── [envelope] + frames ◄── link

A request is answered exactly once: by its actor, or here with UNAVAILABLE when the link to that
actor is lost, with TIMED_OUT once its deadline is well past, with SHUTTING_DOWN at the stop. What
comes back later is dropped and counted. A reply finds its connection by the session number in the
envelope; one that carries another router's epoch belongs to a predecessor and is dropped.

This is the hot path: a request costs what `_request` and `_reply` do, so these two read the wire
structs directly and leave whatever is not simply handed on to `_unusual`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Sequence
from typing import Any

from shardmq.actors.kernel.ports import Letter, Now, Randomness
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import (
    ENVELOPE,
    FLAG_REPLY,
    MAGIC,
    MAJOR,
    ROUTE,
    SHARD_ANY,
    SHARD_COORDINATOR,
    Route,
    unpack_route,
)
from shardmq.actors.protocol.limits import DEADLINE_MS_MAX, SESSION_BYTES_MAX
from shardmq.actors.protocol.replies import BULK_HEADER_BYTES, bulk_bytes
from shardmq.actors.protocol.verbs import VERB_ROWS, Destination, Verb
from shardmq.actors.protocol.verbs import row_of as verb_row

from .admission import PARKED_VERBS, Admission
from .farewells import OWN_SESSION, Farewells
from .reception import FRONT, REQUEST_FRAMES_MAX, Identity, Reception, refusal
from .sessions import Session, Sessions
from .takings import Takings

__all__ = ["COORDINATOR", "Router", "shard_link"]

COORDINATOR = "coordinator"

BUSY_RETRY_MS = 20
"""What is in flight drains at hundreds of MB/s; a full session has room again in this time."""
UNAVAILABLE_RETRY_MS = 200
"""A killed process is back within a second or two."""
SWEEP_MS = 1_000.0
"""How often deadlines and silent sessions are looked for."""
GRACE_MS = 500.0
"""How much later than its deadline a reply may come and still be handed on."""
STOP_WAIT_MS = 2_000.0
"""How long a stop waits for requests that are being worked on."""

_MEMBER_VERBS = frozenset((Verb.GROUP_JOIN, Verb.EVENTS))
_SHARD_VERBS = frozenset(int(row.verb) for row in VERB_ROWS if row.destination is Destination.SHARD)
_unpack_route = ROUTE.unpack
_pack_envelope = ENVELOPE.pack
_unpack_envelope = ENVELOPE.unpack_from


def shard_link(shard: int) -> str:
    """Name of the link to a shard."""
    return f"shard-{shard}"


class Router:
    """One router's core."""

    def __init__(
        self, *, shards: int, randomness: Randomness, identity: Identity | None = None
    ) -> None:
        """`shards` is how many there are; their links are `shard_link(0)` and so on."""
        self._shards = shards
        self._epoch = randomness.u64()
        self._sessions = Sessions(randomness)
        self._admission = Admission()
        self._reception = Reception(
            identity or Identity(), self._sessions, epoch=self._epoch, shards=shards
        )
        self._farewells = Farewells(COORDINATOR, epoch=self._epoch)
        self._takings = Takings(epoch=self._epoch)
        self._choked: Container[bytes] = ()
        self._shard_links = [shard_link(shard) for shard in range(shards)]
        self._links_up = dict.fromkeys([*self._shard_links, COORDINATOR], False)
        self._next_shard = 0
        self._sweep_at_ms: float | None = None
        self._stopping = False
        self._requests = self._replies = self._refused = 0
        self._malformed = self._late = self._timed_out = self._repeated = 0

    def report_loop(self, figures: Callable[[], dict[str, Any]]) -> None:
        """Has STATS from outside show `figures` of the process, too."""
        self._reception.loop_figures = figures

    def heed(self, choked: Container[bytes]) -> None:
        """Has requests of peers refused that are `choked`: they take no answers just now."""
        self._choked = choked

    # --- the core's port ---------------------------------------------------------------------

    @property
    def wake_at_ms(self) -> float | None:
        sweep_at_ms, farewell_at_ms = self._sweep_at_ms, self._farewells.wake_at_ms
        if farewell_at_ms is None or sweep_at_ms is None:
            return sweep_at_ms if farewell_at_ms is None else farewell_at_ms
        return min(sweep_at_ms, farewell_at_ms)

    def handle(self, letters: Sequence[Letter], now: Now) -> list[Letter]:
        """Requests from the front go to their actors, replies from the links to the front."""
        out: list[Letter] = []
        for letter in letters:
            if letter[0] == FRONT:
                self._request(letter, now, out)
            else:
                self._reply(letter, now, out)
        if self._sweep_at_ms is not None and now.mono_ms >= self._sweep_at_ms:
            self._sweep(now, out)
        farewell_at_ms = self._farewells.wake_at_ms
        if farewell_at_ms is not None and now.mono_ms >= farewell_at_ms:
            out += self._farewells.due(now)
        return out

    def peers_gone(self, peers: Sequence[bytes], now: Now) -> list[Letter]:
        """Connections closed: their sessions end, and the coordinator hears of those that spoke
        for members of groups."""
        for peer in peers:
            session = self._sessions.end(peer)
            if session is not None and session.is_member:
                self._farewells.add(session.number, now)
        return self._farewells.due(now)

    def link_changed(self, link: str, up: bool, now: Now) -> list[Letter]:
        """Down: everything in flight on it is answered UNAVAILABLE (stored: unknown)."""
        self._links_up[link] = up
        farewells = self._farewells.link_changed(up, now) if link == COORDINATOR else []
        if up:
            return farewells
        self._takings.link_lost(link)
        lost = self._admission.settle_where(self._sessions.by_number.values(), link=link)
        text = f"the connection to {link} was lost"
        return [self._answered(*one, Code.UNAVAILABLE, text) for one in lost]

    def stop(self, now: Now) -> list[Letter]:
        """Refuses what comes from now on and answers parked polls; what is being worked on has
        STOP_WAIT_MS to be answered."""
        self._stopping = True
        self._sweep_at_ms = now.mono_ms + STOP_WAIT_MS
        return self._shut_down(PARKED_VERBS)

    def drained(self) -> bool:
        return not self._admission.requests_in_flight

    def stats(self) -> dict[str, Any]:
        """Counters since the start, and what is there now."""
        return {
            "sessions": len(self._sessions),
            "requests": self._requests,
            "replies": self._replies,
            "refused": self._refused,
            "malformed_requests": self._malformed,
            "late_replies": self._late,
            "timed_out": self._timed_out,
            "repeated_too_soon": self._repeated,
            "requests_in_flight": self._admission.requests_in_flight,
            "bytes_in_flight": self._admission.bytes_in_flight,
            "farewells": len(self._farewells),
        }

    # --- the hot path ------------------------------------------------------------------------

    def _request(self, letter: Letter, now: Now, out: list[Letter]) -> None:
        _, peer, frames = letter
        session = self._sessions.by_peer.get(peer)
        route = frames[0]
        count = len(frames)
        if session is None or len(route) != 24 or self._stopping:
            self._unusual(letter, session, now, out)
            return
        magic, major, verb, flags, shard, request_id, deadline_ms = _unpack_route(route)
        if (
            verb not in _SHARD_VERBS
            or not shard < self._shards
            or not 0 < deadline_ms <= DEADLINE_MS_MAX
            or not 2 <= count <= REQUEST_FRAMES_MAX
            or flags & FLAG_REPLY
            or magic != MAGIC
            or major != MAJOR
        ):
            self._unusual(letter, session, now, out)
            return
        frame_bytes = len(frames[1]) + 24 if count == 2 else sum(map(len, frames))
        link = self._shard_links[shard]
        if (
            not self._links_up[link]
            or request_id in session.in_flight
            or peer in self._choked
            or self._admission.why_busy(session, frame_bytes)
        ):
            self._unusual(letter, session, now, out)
            return
        mono_ms = now.mono_ms
        session.seen_ms = mono_ms
        self._requests += 1
        self._admission.enter(
            session, request_id, (frame_bytes, mono_ms + deadline_ms, link, route)
        )
        envelope = _pack_envelope(self._epoch, session.number, frame_bytes, 0)
        out.append((link, b"", [envelope, *frames]))

    def _reply(self, letter: Letter, now: Now, out: list[Letter]) -> None:
        frames = letter[2]
        if len(frames) < 3 or len(frames[0]) < 24 or len(frames[1]) != 24:
            self._malformed += 1
            return
        if len(frames) > 3 or len(frames[2]) >= BULK_HEADER_BYTES:
            self._takings.took(letter[0], bulk_bytes(frames), out)
        epoch, number, _, _ = _unpack_envelope(frames[0])
        session = self._sessions.by_number.get(number)
        if session is None or epoch != self._epoch:
            self._foreign(frames, epoch, number, now, out)
            return
        request_id = int.from_bytes(frames[1][12:20], "little")
        if self._admission.settle(session, request_id) is None:
            self._late += 1
            return
        session.seen_ms = now.mono_ms
        self._replies += 1
        out.append((FRONT, session.peer, frames[1:]))

    # --- everything else ---------------------------------------------------------------------

    def _foreign(
        self, frames: list[Any], epoch: int, number: int, now: Now, out: list[Letter]
    ) -> None:
        """A reply that is for no session: to this router itself, or too late."""
        if epoch == self._epoch and number == OWN_SESSION:
            _, _, verb, _, _, request_id, code = _unpack_route(frames[1])
            if verb == Verb.TAKEN:
                return  # nobody waits for that
            out += self._farewells.answered(request_id, code, now)
        else:
            self._late += 1

    def _unusual(
        self, letter: Letter, session: Session | None, now: Now, out: list[Letter]
    ) -> None:
        """A request that is not simply handed on to the shard it names."""
        _, peer, frames = letter
        asked, code, text = self._reception.fault_of(frames)
        if asked is None or code is not None:
            self._malformed += 1
            if asked is not None and code is not None:
                out.append(refusal(peer, asked, code, text))
        elif self._stopping:
            self._refuse(out, peer, asked, Code.SHUTTING_DOWN, "the broker stops")
        elif asked.verb == Verb.HELLO:
            if self._sweep_at_ms is None:
                self._sweep_at_ms = now.mono_ms + SWEEP_MS
            out.append(self._reception.hello(peer, frames[1], asked, now.mono_ms))
        elif session is None:
            text = "this connection has not said HELLO, or was silent for too long"
            self._refuse(out, peer, asked, Code.UNKNOWN_SESSION, text)
        else:
            session.seen_ms = now.mono_ms
            link = self._link_of(peer, asked, out)
            if link is not None:
                self._hand_on(session, frames, asked, link, now, out)

    def _link_of(self, peer: bytes, asked: Route, out: list[Letter]) -> str | None:
        """The link that a request goes to; None when it is answered here."""
        row = verb_row(asked.verb)
        if row is None:
            self._refuse(out, peer, asked, Code.UNKNOWN_VERB, f"there is no verb {asked.verb}")
        elif row.destination is Destination.COORDINATOR:
            return COORDINATOR
        elif row.destination is Destination.SHARD:
            if asked.shard < self._shards:
                return self._shard_links[asked.shard]
            if asked.shard == SHARD_ANY:
                return self._any_shard()
            # Of a route that another data directory gave out; asking again mends it.
            text = self._reception.no_such_shard(asked.shard)
            self._refuse(out, peer, asked, Code.STALE_ROUTE, text)
        elif row.verb is Verb.STATS:
            if asked.shard == SHARD_COORDINATOR:
                return COORDINATOR
            if asked.shard < self._shards:
                return self._shard_links[asked.shard]
            out.append(self._reception.stats(peer, asked, self.stats()))
        elif row.verb is Verb.PING:
            out.append(self._reception.ping(peer, asked))
        else:
            text = f"{row.verb.name} is spoken only between the broker's own processes"
            self._refuse(out, peer, asked, Code.FORBIDDEN, text)
        return None

    def _any_shard(self) -> str:
        """The next shard in turn that is there; if none is, just the next one."""
        links = self._shard_links
        turn = [*links[self._next_shard :], *links[: self._next_shard]]
        chosen = next((link for link in turn if self._links_up[link]), turn[0])
        self._next_shard = (links.index(chosen) + 1) % self._shards
        return chosen

    def _hand_on(
        self,
        session: Session,
        frames: list[Any],
        asked: Route,
        link: str,
        now: Now,
        out: list[Letter],
    ) -> None:
        """The slow twin of `_request`'s second half, with every refusal said."""
        peer = session.peer
        frame_bytes = sum(map(len, frames))
        if asked.tail == 0:
            text = "a request has at least 1 ms left until its deadline"
            self._refuse(out, peer, asked, Code.BAD_REQUEST, text)
        elif frame_bytes > SESSION_BYTES_MAX:
            over = frame_bytes - SESSION_BYTES_MAX
            text = f"a request has at most {SESSION_BYTES_MAX} bytes, this one is {over} over"
            self._refuse(out, peer, asked, Code.TOO_LARGE, text)
        elif not self._links_up[link]:
            self._refuse(out, peer, asked, Code.UNAVAILABLE, f"{link} is not there just now")
        elif peer in self._choked:
            self._refuse(out, peer, asked, Code.BUSY, "this connection takes no answers just now")
        elif self._admission.is_hasty(session, asked, frame_bytes, now.mono_ms):
            self._repeated += 1
        elif (busy := self._admission.why_busy(session, frame_bytes)) is not None:
            self._refuse(out, peer, asked, Code.BUSY, busy)
        else:
            self._requests += 1
            session.is_member |= asked.verb in _MEMBER_VERBS
            until_ms = now.mono_ms + min(asked.tail, DEADLINE_MS_MAX)
            entry = (frame_bytes, until_ms, link, frames[0])
            self._admission.enter(session, asked.request_id, entry)
            envelope = _pack_envelope(self._epoch, session.number, frame_bytes, 0)
            out.append((link, b"", [envelope, *frames]))

    def _refuse(self, out: list[Letter], peer: bytes, asked: Route, code: Code, text: str) -> None:
        self._refused += 1
        wait_ms = _RETRY_MS.get(code, 0)
        out.append(refusal(peer, asked, code, text, retry_after_ms=wait_ms))

    def _answered(
        self, session: Session, entry: tuple[int, float, str, bytes], code: Code, text: str
    ) -> Letter:
        self._refused += 1
        asked = unpack_route(entry[3])
        return refusal(session.peer, asked, code, text, retry_after_ms=_RETRY_MS.get(code, 0))

    def _sweep(self, now: Now, out: list[Letter]) -> None:
        if self._stopping:
            self._sweep_at_ms = None
            out += self._shut_down()
            return
        sessions = self._sessions
        due = self._admission.settle_where(
            sessions.by_number.values(), due_ms=now.mono_ms - GRACE_MS
        )
        self._timed_out += len(due)
        text = "the deadline passed without an answer"
        out += [self._answered(*one, Code.TIMED_OUT, text) for one in due]
        sessions.expire(now.mono_ms)
        self._sweep_at_ms = now.mono_ms + SWEEP_MS if sessions.by_number else None

    def _shut_down(self, verbs: Collection[int] | None = None) -> list[Letter]:
        """Answers what is in flight (only `verbs`, if given): the broker stops."""
        left = self._admission.settle_where(self._sessions.by_number.values(), verbs=verbs)
        text = "the broker stops"
        return [self._answered(*one, Code.SHUTTING_DOWN, text) for one in left]


_RETRY_MS = {
    Code.BUSY: BUSY_RETRY_MS,
    Code.UNAVAILABLE: UNAVAILABLE_RETRY_MS,
    Code.SHUTTING_DOWN: UNAVAILABLE_RETRY_MS,
}
