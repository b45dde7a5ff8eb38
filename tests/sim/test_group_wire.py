"""The wire rules of grants: letters that break them are seen, the same ones in time are not."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import pack_envelope, pack_request, unpack_route
from shardmq.actors.protocol.messages import Header
from shardmq.actors.protocol.replies import error_reply, ok_reply
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.work_messages import Settle, SettleItem, SettleReply, SettleResult
from sim.cluster import Cluster
from sim.group_wire import GroupWire
from sim.swarm import Plan
from sim.world import World

GROUP = 7
QUEUE = 1
LEASE_MS = 1_000
GRACE_MS = 400
FIRST, SECOND = 11, 12
"""Numbers of sessions."""


class Scene:
    """A coordinator's mailbox, letter by letter. `m1` holds a queue, and its EVENTS was answered
    at 1 ms."""

    def __init__(self) -> None:
        self.world = World(0)
        self.cluster = Cluster(self.world, Plan())
        self.violations: list[tuple[str, str]] = []
        GroupWire(self.world, self.cluster, lambda rule, text: self.violations.append((rule, text)))
        (self.coordinator,) = self.cluster.of_kind("coordinator")
        (self.shard, *_) = self.cluster.of_kind("shard")
        self.start_ms = self.world.mono_ms
        self._request_id = 0
        self.ok(self.join(FIRST), JOINED)
        self.at(1)
        self.grant(1, "m1")
        grant = g.GrantResult(queue=QUEUE, code=Code.OK, generation=1)
        self._shard_says(g.GrantReply(queues=[grant]))
        self.ok(self.events(FIRST), shown(1))

    def at(self, ms: float) -> None:
        self.world.mono_ms = self.start_ms + ms

    def asked(self, verb: Verb, header: Header, session: int) -> list[bytes]:
        """The coordinator takes a request in."""
        self._request_id += 1
        frames = [pack_envelope(5, session, 0), pack_request(verb, self._request_id, 1_000)]
        frames.append(encode_header(header))
        self.came(frames)
        return frames

    def came(self, frames: list[bytes]) -> None:
        for hook in self.coordinator.on_letters:
            hook(self.coordinator, [("mailbox", b"peer", frames)])

    def ok(self, request: list[bytes], reply: Header) -> None:
        self._answers(request, ok_reply(unpack_route(request[1]), reply))

    def refuses(self, request: list[bytes], code: Code) -> None:
        self._answers(request, error_reply(unpack_route(request[1]), code, "no"))

    def _answers(self, request: list[bytes], reply: list[bytes]) -> None:
        for hook in self.coordinator.on_effects:
            hook(self.coordinator, [("mailbox", b"peer", [request[0], *reply])])

    def join(self, session: int) -> list[bytes]:
        one = g.Subscription(topic="t", expression="*")
        header = g.GroupJoin(group="g", member="m1", subscriptions=[one], lease_ms=LEASE_MS)
        return self.asked(Verb.GROUP_JOIN, header, session)

    def events(self, session: int) -> list[bytes]:
        header = g.Events(group_id=GROUP, member="m1", version=0, wait_ms=300)
        return self.asked(Verb.EVENTS, header, session)

    def farewell(self, session: int) -> None:
        sessions = [pack_envelope(5, session, 0)[:16].hex()]
        self.asked(Verb.SESSIONS_GONE, g.SessionsGone(sessions=sessions), 0)

    def grant(self, generation: int, member: str) -> None:
        one = g.GrantQueue(queue=QUEUE, generation=generation, member=member)
        header = encode_header(g.Grant(group_id=GROUP, group="g", queues=[one]))
        self._granted = [pack_envelope(6, 0, 0), pack_request(Verb.GRANT, generation, 500), header]
        for hook in self.coordinator.on_effects:
            hook(self.coordinator, [(self.shard.name, b"", self._granted)])
        for hook in self.shard.on_letters:
            hook(self.shard, [("mailbox", b"peer", self._granted)])

    def _shard_says(self, reply: Header) -> None:
        frames = [self._granted[0], *ok_reply(unpack_route(self._granted[1]), reply)]
        for hook in self.shard.on_effects:
            hook(self.shard, [("mailbox", b"peer", frames)])

    def settled(self, generation: int, code: Code) -> None:
        """The shard answers a SETTLE."""
        item = SettleItem(queue=QUEUE, generation=generation, receipt=1, start=0, stop=1)
        header = encode_header(Settle(group_id=GROUP, items=[item]))
        request = [pack_envelope(5, FIRST, 0), pack_request(Verb.SETTLE, 1, 500), header]
        for hook in self.shard.on_letters:
            hook(self.shard, [("mailbox", b"peer", request)])
        reply = SettleReply(results=[SettleResult(code=code)])
        frames = [request[0], *ok_reply(unpack_route(request[1]), reply)]
        for hook in self.shard.on_effects:
            hook(self.shard, [("mailbox", b"peer", frames)])

    def rules_after_a_move(self) -> list[str]:
        """What is broken once the queue is granted to another member."""
        self.grant(2, "m2")
        return [rule for rule, _ in self.violations]


JOINED = g.GroupJoinReply(group_id=GROUP, lease_ms=LEASE_MS, strategy="sticky")


def shown(version: int) -> g.EventsReply:
    one = g.AssignedQueue(topic="t", queue_id=0, queue=QUEUE, shard=0, generation=1)
    return g.EventsReply(version=version, queues=[one])


@pytest.mark.parametrize(("later_ms", "rules"), [(LEASE_MS - 10, ["robbed"]), (LEASE_MS, [])])
def test_a_queue_moves_when_its_holder_was_silent_for_its_lease(
    later_ms: int, rules: list[str]
) -> None:
    scene = Scene()
    scene.at(100)
    events = scene.events(FIRST)
    scene.at(400)
    scene.ok(events, shown(2))
    scene.at(100 + later_ms)
    assert scene.rules_after_a_move() == rules


def test_a_parked_request_keeps_its_member_alive() -> None:
    scene = Scene()
    scene.at(100)
    former = scene.events(FIRST)
    scene.at(200)
    scene.events(FIRST)
    scene.at(900)
    scene.ok(former, shown(2))
    scene.at(200 + LEASE_MS + 100)
    assert scene.rules_after_a_move() == ["robbed"]


@pytest.mark.parametrize(("later_ms", "rules"), [(GRACE_MS - 10, ["robbed"]), (GRACE_MS, [])])
def test_a_lost_connection_leaves_the_grace(later_ms: int, rules: list[str]) -> None:
    scene = Scene()
    scene.at(100)
    scene.farewell(FIRST)
    scene.at(100 + later_ms)
    assert scene.rules_after_a_move() == rules


@pytest.mark.parametrize(("later_ms", "rules"), [(GRACE_MS - 10, ["robbed"]), (GRACE_MS, [])])
def test_a_farewell_counts_though_the_join_over_its_connection_is_answered_later(
    later_ms: int, rules: list[str]
) -> None:
    scene = Scene()
    scene.at(100)
    join = scene.join(SECOND)
    scene.at(150)
    scene.farewell(SECOND)
    scene.at(300)
    scene.ok(join, JOINED)
    scene.at(150 + later_ms)
    assert scene.rules_after_a_move() == rules


@pytest.mark.parametrize(("later_ms", "rules"), [(LEASE_MS - 10, ["robbed"]), (LEASE_MS, [])])
def test_the_lease_of_a_join_runs_from_its_arrival(later_ms: int, rules: list[str]) -> None:
    scene = Scene()
    scene.at(500)
    events = scene.events(FIRST)
    scene.at(600)
    join = scene.join(FIRST)
    scene.at(800)
    scene.ok(events, shown(2))
    scene.ok(join, JOINED)
    scene.at(600 + later_ms)
    assert scene.rules_after_a_move() == rules


def test_a_refused_join_is_no_sign_of_life() -> None:
    scene = Scene()
    scene.at(100)
    events = scene.events(FIRST)
    scene.at(400)
    scene.ok(events, shown(2))
    scene.refuses(scene.join(SECOND), Code.READ_ONLY)
    scene.at(100 + LEASE_MS)
    assert scene.rules_after_a_move() == []


def test_the_farewell_of_an_older_connection_excuses_nothing() -> None:
    scene = Scene()
    scene.at(100)
    scene.ok(scene.join(SECOND), JOINED)
    scene.farewell(FIRST)
    scene.at(100 + GRACE_MS + 100)
    assert scene.rules_after_a_move() == ["robbed"]


def test_a_late_answer_to_a_join_does_not_hide_what_was_heard_since() -> None:
    scene = Scene()
    scene.at(100)
    join = scene.join(FIRST)
    scene.farewell(FIRST)
    scene.at(200)
    scene.ok(scene.events(SECOND), shown(2))
    scene.at(250)
    scene.ok(join, JOINED)
    scene.at(100 + GRACE_MS + 100)
    assert scene.rules_after_a_move() == ["robbed"]


def test_an_overtaken_request_says_nothing_of_its_connection() -> None:
    scene = Scene()
    scene.at(100)
    scene.ok(scene.join(SECOND), JOINED)
    scene.events(SECOND)
    scene.at(200)
    scene.refuses(scene.events(FIRST), Code.BUSY)
    scene.farewell(FIRST)
    scene.at(200 + GRACE_MS + 100)
    assert scene.rules_after_a_move() == ["robbed"]


def test_an_overtaken_request_does_not_hide_that_the_living_connection_was_lost() -> None:
    scene = Scene()
    scene.at(100)
    scene.ok(scene.join(SECOND), JOINED)
    scene.events(SECOND)
    late = scene.events(FIRST)
    scene.farewell(SECOND)
    scene.refuses(late, Code.BUSY)
    scene.at(100 + GRACE_MS)
    assert scene.rules_after_a_move() == []


def test_of_two_overtaken_requests_none_says_anything() -> None:
    scene = Scene()
    scene.at(100)
    scene.ok(scene.join(SECOND), JOINED)
    living = scene.events(SECOND)
    scene.at(200)
    overtaken = scene.events(FIRST), scene.events(FIRST)
    scene.at(300)
    scene.ok(living, shown(2))
    for one in overtaken:
        scene.refuses(one, Code.BUSY)
    scene.at(100 + LEASE_MS)
    assert scene.rules_after_a_move() == []


def test_a_request_that_came_twice_is_answered_once() -> None:
    scene = Scene()
    scene.at(100)
    events = scene.events(FIRST)
    scene.at(150)
    scene.came(events)
    scene.at(300)
    scene.ok(events, shown(2))
    scene.at(150 + LEASE_MS)
    assert scene.rules_after_a_move() == []


def test_an_overtaken_join_binds_nobody_to_its_connection() -> None:
    scene = Scene()
    scene.at(100)
    former = scene.join(FIRST)
    scene.ok(scene.join(SECOND), JOINED)
    scene.events(SECOND)
    scene.at(200)
    scene.came(former)
    scene.ok(former, JOINED)
    scene.farewell(FIRST)
    scene.at(200 + GRACE_MS + 100)
    assert scene.rules_after_a_move() == ["robbed"]


@pytest.mark.parametrize(
    ("generation", "code", "rules"),
    [
        (2, Code.OK, []),
        (2, Code.RECEIPT_EXPIRED, []),
        (1, Code.FENCED, []),
        (1, Code.OK, ["fencing"]),
        (1, Code.RECEIPT_EXPIRED, ["fencing"]),
        (2, Code.FENCED, ["vain"]),
    ],
)
def test_items_of_a_settle_need_the_generation_in_force(
    generation: int, code: Code, rules: list[str]
) -> None:
    scene = Scene()
    scene.grant(2, "m1")
    scene._shard_says(g.GrantReply(queues=[g.GrantResult(queue=QUEUE, code=200, generation=2)]))
    scene.settled(generation, code)
    assert [rule for rule, _ in scene.violations] == rules


def test_what_everybody_holds_is_shown_to_each_member() -> None:
    scene = Scene()
    scene.at(LEASE_MS + 1)
    scene.grant(2, "*")
    scene._shard_says(g.GrantReply(queues=[g.GrantResult(queue=QUEUE, code=200, generation=2)]))
    shared = g.AssignedQueue(topic="t", queue_id=0, queue=QUEUE, shard=0, generation=2)
    scene.ok(scene.events(FIRST), g.EventsReply(version=2, queues=[shared]))
    assert scene.violations == []
