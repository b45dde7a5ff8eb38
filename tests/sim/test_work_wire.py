"""The work wire: what enters and leaves a shard is written down in order, answers with what they
answer."""

from __future__ import annotations

from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import pack_envelope, pack_request, unpack_route
from shardmq.actors.protocol.messages import Header
from shardmq.actors.protocol.replies import error_reply, ok_reply
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.work_messages import (
    Receive,
    ReceivedPart,
    ReceiveReply,
    Settle,
    SettleItem,
    SettleReply,
    SettleResult,
)
from sim.cluster import Cluster
from sim.host import POWER_CUT
from sim.swarm import Plan
from sim.work_history import Answer, Ended, Handed, Said, WorkHistory
from sim.work_wire import WorkWire
from sim.world import World

GROUP = 7
ITEM = SettleItem(queue=1, generation=1, receipt=5, start=0, stop=4)
DONE = SettleReply(results=[SettleResult(code=Code.OK)])
LATE = SettleReply(results=[SettleResult(code=Code.RECEIPT_EXPIRED, expired=[(1, 3)])])


class Scene:
    """A shard's mailbox, letter by letter."""

    def __init__(self) -> None:
        self.world = World(0)
        self.cluster = Cluster(self.world, Plan())
        self.work = WorkHistory()
        WorkWire(self.world, self.cluster, self.work)
        self.cluster.start()
        (self.shard,) = self.cluster.of_kind("shard")

    def asked(self, verb: Verb, header: Header, request_id: int = 1) -> list[bytes]:
        frames = [pack_envelope(5, 11, 0), pack_request(verb, request_id, 1_000)]
        frames.append(encode_header(header))
        for hook in self.shard.on_letters:
            hook(self.shard, [("mailbox", b"peer", frames)])
        return frames

    def settle(self, request_id: int = 1) -> list[bytes]:
        return self.asked(Verb.SETTLE, Settle(group_id=GROUP, items=[ITEM]), request_id)

    def receive(self) -> list[bytes]:
        return self.asked(Verb.RECEIVE, Receive(group_id=GROUP, receipt=5, count_max=4))

    def ok(self, request: list[bytes], reply: Header) -> None:
        self._answers(request, ok_reply(unpack_route(request[1]), reply))

    def refuses(self, request: list[bytes]) -> None:
        self._answers(request, error_reply(unpack_route(request[1]), Code.BUSY, "no"))

    def _answers(self, request: list[bytes], reply: list[bytes]) -> None:
        for hook in self.shard.on_effects:
            hook(self.shard, [("mailbox", b"peer", [request[0], *reply])])

    @property
    def said(self) -> list[Said]:
        return [one for one in self.work.events if isinstance(one, Said)]


def test_an_answer_to_receive_has_its_parts() -> None:
    scene = Scene()
    request = scene.receive()
    scene.world.mono_ms += 30
    part = ReceivedPart(queue=1, generation=2, offset=8, count=3, attempt=2)
    scene.ok(request, ReceiveReply(until_ms=99, parts=[part]))
    now = scene.world.now()
    assert scene.work.events == [
        Answer(
            "shard-0", GROUP, 5, now.mono_ms, now.wall_ms, 99, (Handed(1, 2, 8, 11, 2),), 4,
            now.mono_ms - 30,
        )
    ]  # fmt: skip


def test_a_receive_that_came_twice_may_be_answered_twice() -> None:
    scene = Scene()
    scene.receive()
    request = scene.receive()
    scene.ok(request, ReceiveReply())
    scene.ok(request, ReceiveReply())
    assert len(scene.work.events) == 2


def test_a_settle_is_written_down_when_it_comes() -> None:
    scene = Scene()
    request = scene.settle()
    came = scene.world.now()
    scene.ok(scene.receive(), ReceiveReply())
    scene.world.mono_ms += 30
    scene.ok(request, LATE)
    said, answer = scene.work.events
    assert isinstance(answer, Answer)
    assert said == Said(
        "shard-0", GROUP, ITEM, came.mono_ms, came.wall_ms, Code.RECEIPT_EXPIRED, {1, 2}, set()
    )


def test_a_refusal_belongs_to_the_settle_that_came_last() -> None:
    scene = Scene()
    scene.settle()
    request = scene.settle()
    scene.refuses(request)
    assert [one.code for one in scene.said] == [None, Code.BUSY]
    scene.ok(request, DONE)
    assert [one.code for one in scene.said] == [Code.OK, Code.BUSY]


def test_answers_belong_to_settles_in_the_order_of_coming() -> None:
    scene = Scene()
    scene.settle()
    request = scene.settle()
    scene.ok(request, LATE)
    scene.ok(request, DONE)
    assert [one.code for one in scene.said] == [Code.RECEIPT_EXPIRED, Code.OK]


def test_a_shard_that_ends_answers_nothing_any_more() -> None:
    scene = Scene()
    scene.settle()
    scene.shard.end("killed at a call to the disk")
    scene.shard.start()
    scene.shard.end("killed")
    scene.shard.start()
    scene.shard.end(POWER_CUT)
    assert [one.code for one in scene.said] == [None]
    assert scene.work.events[1:] == [
        Ended("shard-0", is_power_cut=False, in_turn=True),
        Ended("shard-0", is_power_cut=False, in_turn=False),
        Ended("shard-0", is_power_cut=True, in_turn=False),
    ]
