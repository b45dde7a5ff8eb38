"""A coordinator with shards that keep grants as real ones do, and members that speak frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shardmq.actors.coordinator.catalogue import Catalogue
from shardmq.actors.coordinator.coordinator import Coordinator
from shardmq.actors.coordinator.decisions import Policy
from shardmq.actors.coordinator.groups import Groups
from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codec import decode_header, encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import pack_envelope, pack_reply, pack_request, unpack_route
from shardmq.actors.protocol.verbs import Verb, row_of

from .clock import ManualClock
from .memory_journal import MemoryJournal

SHARDS = 2
LEASE_MS = 9_000


class FakeShard:
    """Generations and cursors, and what was asked."""

    def __init__(self) -> None:
        self.grants: dict[tuple[int, int], g.GrantQueue] = {}
        self.live: list[int] | None = None
        self.code = Code.OK
        """Other than OK: refuses every GRANT."""
        self.queue_codes: dict[int, Code] = {}
        """Queues that it does not take."""
        self.asked: list[g.Grant] = []

    def grant(self, wish: g.Grant) -> g.GrantReply:
        self.asked.append(wish)
        if wish.live_group_ids is not None:
            self.live = wish.live_group_ids
            for key in [one for one in self.grants if one[0] not in self.live]:
                del self.grants[key]
        return g.GrantReply(queues=[self._one(wish, queue) for queue in wish.queues])

    def _one(self, wish: g.Grant, queue: g.GrantQueue) -> g.GrantResult:
        if queue.queue in self.queue_codes:
            return g.GrantResult(queue=queue.queue, code=self.queue_codes[queue.queue])
        known = self.grants.get((wish.group_id, queue.queue))
        before = None if known is None else 100
        if wish.dry_run:
            return g.GrantResult(queue=queue.queue, before=before, floor=queue.start.offset)
        if known is not None and known.generation > queue.generation:
            return g.GrantResult(
                queue=queue.queue, code=Code.FENCED, generation=known.generation, before=before
            )
        self.grants[wish.group_id, queue.queue] = queue
        return g.GrantResult(
            queue=queue.queue,
            generation=queue.generation,
            before=before,
            floor=queue.start.offset if queue.reset else before or 0,
        )


class GroupBench:
    """Everything durable at once and every shard answering, unless a test says otherwise."""

    def __init__(self, *, policy: Policy | None = None) -> None:
        self.policy = policy or Policy(shards=SHARDS)
        self.clock = ManualClock()
        self.catalogue, self.groups = Catalogue(), Groups()
        self.journal = MemoryJournal(self.catalogue, self.groups)
        self.shards = {f"shard-{number}": FakeShard() for number in range(SHARDS)}
        self.silent: set[str] = set()
        """Links of shards that do not answer GRANT."""
        self.syncs = True
        self.replies: dict[int, Any] = {}
        """Request id -> header of an answer, or its code if that is not OK."""
        self.held_back: list[Letter] = []
        self._request_id = 0
        self._start()

    def _start(self) -> None:
        self.core = Coordinator(self.journal, self.catalogue, self.groups, self.policy)
        for link in self.shards:
            self.link(link, True)

    def restart(self) -> None:
        """Power cut: what was durable is there; all who waited hear nothing."""
        self.catalogue, self.groups = Catalogue(), Groups()
        self.journal = self.journal.replayed_into(
            self.catalogue, self.groups, epoch=self.journal.epoch + 1
        )
        self.held_back.clear()
        self._start()

    # --- time and links ------------------------------------------------------------------------

    def link(self, link: str, up: bool) -> None:
        self.run(self.core.link_changed(link, up, self.clock.now()))

    def wait(self, span_ms: float, step_ms: float = 50.0) -> None:
        """Lets time pass as the shell does: the core is called whenever it wants to be."""
        while span_ms > 0:
            step = min(step_ms, span_ms)
            span_ms -= step
            now = self.clock.advance(step)
            wake_at_ms = self.core.wake_at_ms
            if wake_at_ms is not None and wake_at_ms <= now.mono_ms:
                self.run(self.core.handle([], now))

    def sync(self) -> None:
        self.journal.sync()
        self.run(self.core.durable_advanced(self.clock.now()))

    def run(self, letters: list[Letter]) -> None:
        """Has shards answer, the disk sync and answers arrive, until all is quiet."""
        while True:
            for_core = [self._answered(one) for one in letters if one[0] != "mailbox"]
            for letter in letters:
                if letter[0] == "mailbox":
                    self._arrived(letter)
            letters = self.core.handle([one for one in for_core if one], self.clock.now())
            if self.syncs and self.journal.durable < self.journal.end:
                self.journal.sync()
                letters += self.core.durable_advanced(self.clock.now())
            if not letters:
                return

    def _arrived(self, letter: Letter) -> None:
        route = unpack_route(letter[2][1])
        row = row_of(route.verb)
        assert row is not None
        ok = route.tail == Code.OK
        header = decode_header(letter[2][2], row.reply if ok else m.ErrorReply, route.flags)
        assert route.request_id not in self.replies, "a request is answered once"
        self.replies[route.request_id] = header if ok else (Code(route.tail), header)

    def _answered(self, letter: Letter) -> Letter | None:
        link, _, frames = letter
        route = unpack_route(frames[1])
        if route.verb == Verb.GRANT:
            if link in self.silent:
                self.held_back.append(letter)
                return None
            shard = self.shards[link]
            if shard.code != Code.OK:
                return link, b"", [frames[0], pack_reply(route, shard.code), b"\x80"]
            reply: m.Header = shard.grant(decode_header(frames[2], g.Grant))
        elif route.verb == Verb.DEFINE:
            reply = m.DefineReply()
        else:
            return link, b"", [frames[0], pack_reply(route, Code.UNKNOWN_VERB), b"\x80"]
        return link, b"", [frames[0], pack_reply(route, Code.OK), encode_header(reply)]

    # --- requests ------------------------------------------------------------------------------

    def send(
        self,
        verb: Verb,
        wish: m.Header,
        *,
        session: int = 1,
        deadline: int = 60_000,
        request_id: int | None = None,
    ) -> int:
        """Sends a request; its id, under which the answer will be in `replies`. `request_id`: one
        that was given long ago, instead of the next one."""
        if request_id is None:
            self._request_id += 1
            request_id = self._request_id
        header = encode_header(wish)
        frames = [
            pack_envelope(77, session, len(header)),
            pack_request(verb, request_id, deadline),
            header,
        ]
        self.run(self.core.handle([("mailbox", b"router", frames)], self.clock.now()))
        return request_id

    def ask(self, verb: Verb, wish: m.Header, *, session: int = 1) -> Any:
        """The header of the answer to a request that is answered at once."""
        return self.replies[self.send(verb, wish, session=session)]

    def create(self, topic: str, queues: int = 4) -> list[int]:
        """A topic; the numbers of its queues."""
        reply = self.ask(Verb.TOPIC_CREATE, m.TopicCreate(topic=topic, queues=queues))
        return [queue.number for queue in reply.route.queues]

    def member(self, name: str, *topics: str, group: str = "billing", **wish: Any) -> Member:
        """A member that has joined."""
        member = Member(self, name, group, topics or ("orders",), wish)
        member.join()
        return member

    def owners(self, group: str = "billing") -> dict[int, str | None]:
        """Queue -> owner, as operators see it."""
        found = self.ask(Verb.GROUP_DESCRIBE, g.GroupDescribe(group=group))
        return {one.queue: one.owner for one in found.queues}

    def in_force(self, group_id: int) -> dict[int, str]:
        """Queue -> member, as the shards have it."""
        return {
            queue: grant.member
            for shard in self.shards.values()
            for (held_by, queue), grant in shard.grants.items()
            if held_by == group_id
        }


class Member:
    """A member that does as it is told when a test lets it."""

    _sessions = 100

    def __init__(
        self, bench: GroupBench, name: str, group: str, topics: tuple[str, ...], wish: Any
    ) -> None:
        self.bench = bench
        self.name = name
        self.group = group
        self.topics = topics
        self.wish = {"lease_ms": LEASE_MS, **wish}
        Member._sessions += 1
        self.session = Member._sessions
        self.version = 0
        self.group_id = 0
        self.queues: dict[int, g.AssignedQueue] = {}
        self.parked: int | None = None

    def join(self) -> Any:
        subscriptions = [
            g.Subscription(topic=topic, expression=expression or "*")
            for topic, _, expression in (one.partition(":") for one in self.topics)
        ]
        wish = g.GroupJoin(
            group=self.group, member=self.name, subscriptions=subscriptions, **self.wish
        )
        request_id = self.bench.send(Verb.GROUP_JOIN, wish, session=self.session)
        reply = self.bench.replies.get(request_id)
        if isinstance(reply, g.GroupJoinReply):
            self.group_id = reply.group_id
        return reply

    def listen(self, *, releases: bool = True, wait_ms: int = 3_000) -> Member:
        """Asks for news, takes them, lets go of what is revoked, until a request is parked."""
        while True:
            if self.parked is None:
                self.parked = self.events(releases=releases, wait_ms=wait_ms)
            if not self.took():
                return self

    def listen_or_join(self, *, releases: bool = True) -> None:
        """As a client does: who is unknown joins again, and holds nothing until it is told."""
        for _ in range(20):
            reply = self.bench.replies.get(self.parked or 0)
            if self.parked is not None and reply is None:
                return
            if isinstance(reply, tuple):
                self.parked, self.version, self.queues = None, 0, {}
                if not isinstance(self.join(), g.GroupJoinReply):
                    return
            elif reply is not None:
                self.took()
            if not self.group_id:
                self.join()
            self.parked = self.events(releases=releases)

    def events(self, *, releases: bool = True, wait_ms: int = 3_000) -> int:
        revoked = [one for one in self.queues.values() if one.revoked] if releases else []
        released = [g.HeldQueue(queue=one.queue, generation=one.generation) for one in revoked]
        wish = g.Events(
            group_id=self.group_id,
            member=self.name,
            version=self.version,
            released=released,
            wait_ms=wait_ms,
        )
        return self.bench.send(Verb.EVENTS, wish, session=self.session)

    def took(self) -> bool:
        """Takes the answer of the parked request, if it has come."""
        reply = self.bench.replies.get(self.parked or 0)
        if reply is None:
            return False
        self.parked = None
        assert isinstance(reply, g.EventsReply), reply
        self.version = reply.version
        self.queues = {one.queue: one for one in reply.queues}
        return True

    def connection_ends(self) -> None:
        """The router says that the member's connection is gone."""
        session = pack_envelope(77, self.session, 0)[:16].hex()
        self.bench.send(Verb.SESSIONS_GONE, g.SessionsGone(sessions=[session]))

    def leave(self) -> Any:
        wish = g.GroupLeave(group_id=self.group_id, member=self.name)
        request_id = self.bench.send(Verb.GROUP_LEAVE, wish, session=self.session)
        return self.bench.replies.get(request_id)


def all_listen(*members: Member, until: Callable[[], bool] | None = None) -> None:
    """Members take news and release until nothing moves any more."""
    bench = members[0].bench
    for _ in range(20):
        for member in members:
            member.listen()
        bench.wait(50)
        if until is not None and until():
            return
