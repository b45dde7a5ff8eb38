"""Routing: asked once, remembered, and what a refusal freezes until the new route is there."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from shardmq.actors.protocol.batch import BatchView, read_batch_header
from shardmq.actors.protocol.codec import decode_header, encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import pack_reply, unpack_route
from shardmq.actors.protocol.messages import (
    ErrorReply,
    Produce,
    ProduceReply,
    ProduceResult,
    QueueRoute,
)
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import Message, errors
from shardmq.client.produce.columns import columns_of
from shardmq.client.produce.core import ProducerCore
from shardmq.client.produce.receipts import Parcel, SendReceipt
from shardmq.client.produce.routing import FRESH_MS, RENEW_MS
from support.clients import Wired


def asked(wired: Wired) -> int:
    return sum(route.verb == Verb.ROUTE for route, *_ in wired.broker.seen)


def send(wired: Wired, core: ProducerCore) -> Any:
    future = core.add_checked(Message("t", b"x"), None, None, wired.now)
    wired.run()
    core.flush(wired.now)
    wired.run()
    return future


def test_a_route_is_asked_for_once_and_shared_by_producers() -> None:
    wired = Wired()
    wired.broker.create("t", 2)
    one, two = wired.producer(), wired.producer()
    for _ in range(3):
        send(wired, one)
        send(wired, two)
    assert asked(wired) == 1


def test_why_a_route_did_not_come_is_remembered_until_it_is_asked_for_again() -> None:
    wired = Wired()
    core = wired.producer()
    send(wired, core)
    fault = core.fault_of("t")
    assert fault is not None
    assert fault.code == Code.TOPIC_NOT_FOUND
    wired.broker.create("t", 1)
    send(wired, core)
    assert core.fault_of("t") is None


def test_a_refused_topic_stands_still_until_the_new_route_is_there() -> None:
    wired = Wired()
    wired.broker.create("t", 2)
    core = wired.producer()
    send(wired, core)
    wired.broker.close_queue("t", 0)
    lost = [True]
    wired.broker.lose = lambda route: route.verb == Verb.ROUTE and lost[0]
    futures = [send(wired, core) for _ in range(4)]
    wired.advance(500)
    assert not core.idle
    assert not core.can_add_sealed("t", 10)
    lost[0] = False
    wired.advance(1_000)
    wired.advance(100)
    assert core.idle
    assert all(future.result().queue_id == 1 for future in futures)


def test_a_shard_that_lags_behind_the_coordinator_is_given_time() -> None:
    wired = Wired()
    wired.broker.create("t", 1)
    core = wired.producer()
    refusals = 5

    def answer(route: Any, header: bytes, payload: list[bytes]) -> Any:
        nonlocal refusals
        if route.verb != Verb.PRODUCE or not refusals:
            return None
        refusals -= 1
        return Code.STALE_ROUTE, ErrorReply(name="STALE_ROUTE", message="not yet")

    wired.broker.answer = answer
    future = send(wired, core)
    wired.advance(2_000)
    assert future.result().offset == 0
    assert asked(wired) <= 7, "with growing pauses, not in a tight loop"


class Changing:
    """A producer that knows the route of a topic with 4 queues: 1 and 3 on shard 0, 0 and 2 on
    shard 1. `keys[n]` is an ordering key of queue n."""

    def __init__(self) -> None:
        self.wired = Wired()
        self.wired.broker.create("t", 4)
        self.core = self.wired.producer()
        send(self.wired, self.core)
        map_ = self.wired.routes.known("t")
        assert map_ is not None
        names = [f"k{number}" for number in range(100)]
        queue_of = {name: map_.queue_for(name) for name in names}
        self.keys = [
            next(name for name, queue in queue_of.items() if queue and queue.queue_id == queue_id)
            for queue_id in range(4)
        ]

    def seal(self, *messages: Message, timeout_ms: float = 3_000.0) -> Parcel:
        """A parcel of its own, which leaves with the next `run` at the earliest."""
        now = self.wired.now
        columns = columns_of(messages)
        parcel = self.core.add_sealed("t", columns, 100, now, now.mono_ms + timeout_ms)
        assert parcel is not None
        return parcel

    def keyed(self, body: bytes, queue_id: int, timeout_ms: float = 3_000.0) -> Parcel:
        message = Message("t", body, ordering_key=self.keys[queue_id])
        return self.seal(message, timeout_ms=timeout_ms)

    def stored(self) -> list[bytes]:
        """All bodies, queue by queue, each in order."""
        found: list[bytes] = []
        for row in self.wired.broker.topics["t"].queues:
            for *_, batch in self.wired.broker.queues[row.number].records:
                found += BatchView(batch, read_batch_header(batch)).bodies()
        return found


def test_a_batch_that_may_be_stored_is_not_dealt_to_another_queue() -> None:
    t = Changing()
    t.seal(*[Message("t", b"first", ordering_key=t.keys[queue]) for queue in (1, 3)])
    short = t.keyed(b"short", 1, timeout_ms=500.0)
    doubtful = t.keyed(b"doubtful", 3)
    requests = iter(range(100))
    # Both leave in one request; it is carried out, and its reply is lost.
    t.wired.broker.lose = lambda route: route.verb == Verb.PRODUCE and next(requests) == 1
    t.wired.run()
    t.wired.advance(501)
    assert short.settled
    assert not doubtful.settled, "its own deadline is later"
    t.wired.broker.close_queue("t", 3)
    t.keyed(b"refused", 0)
    t.wired.run()
    t.wired.advance(2_500)
    assert t.stored().count(b"doubtful") == 1
    receipt = doubtful.outcome(0)
    assert isinstance(receipt, SendReceipt)
    assert receipt.duplicate
    assert receipt.queue_id == 3


def test_all_that_waits_when_a_queue_closes_is_stored_once_and_in_order() -> None:
    t = Changing()
    parcels = []
    for kind in range(3):
        keys = [None] * 4 if kind == 1 else t.keys
        rows = [Message("t", b"%d %d" % (row, kind), ordering_key=keys[row]) for row in range(4)]
        parcels.append(t.seal(*rows))
    t.wired.broker.close_queue("t", 0)
    t.wired.run()
    t.wired.advance(1_000)
    outcomes = [parcel.outcome(index) for parcel in parcels for index in range(4)]
    assert {type(outcome) for outcome in outcomes} == {SendReceipt}
    bodies = [body for body in t.stored() if body != b"x"]
    assert sorted(bodies) == sorted(b"%d %d" % (r, k) for r in range(4) for k in range(3))
    for row in range(4):
        assert bodies.index(b"%d 0" % row) < bodies.index(b"%d 2" % row)


def test_a_busy_shard_does_not_keep_a_topic_frozen() -> None:
    t = Changing()
    moved, busy = t.keyed(b"moved", 0), t.keyed(b"busy", 1)
    t.wired.broker.close_queue("t", 0)
    held: list[list[bytes]] = []
    handle = t.wired.broker.handle

    def hold(frames: list[bytes]) -> list[list[bytes]]:
        route = unpack_route(frames[0])
        if route.verb == Verb.PRODUCE and route.shard == 0 and not held:
            held.append(frames)
            return []
        return handle(frames)

    t.wired.broker.handle = hold  # type: ignore[method-assign]
    t.wired.run()
    assert not t.core.can_add_sealed("t", 10), "frozen, with the new route and one batch out"
    (frames,) = held
    (row,) = decode_header(frames[1], Produce).queues
    result = ProduceResult(queue=row.queue, code=Code.BUSY, retry_after_ms=20)
    reply = encode_header(ProduceReply(queues=[result]))
    t.wired.core.receive([pack_reply(unpack_route(frames[0]), Code.OK), reply], t.wired.now)
    t.wired.run()
    t.wired.advance(200)
    assert moved.settled
    assert busy.settled
    assert sorted(t.stored()) == [b"busy", b"moved", b"x"]


def test_a_deleted_topic_fails_what_waits() -> None:
    wired = Wired()
    wired.broker.create("t", 1)
    core = wired.producer()
    send(wired, core)
    del wired.broker.topics["t"]
    future = send(wired, core)
    wired.advance(100)
    assert isinstance(future.exception(), errors.TopicNotFound)
    assert core.idle


def grow(wired: Wired, queues: int) -> None:
    """Adds queues to "t" as the coordinator does: the slot table stays."""
    route = wired.broker.topics["t"]
    more = wired.broker.create("more", queues - len(route.queues)).queues
    first = len(route.queues)
    added = [
        QueueRoute(queue_id=first + at, number=one.number, shard=one.shard)
        for at, one in enumerate(more)
    ]
    wired.broker.topics["t"] = structs.replace(
        route, queues=[*route.queues, *added], version=route.version + 1
    )


def test_added_queues_are_used_once_the_route_in_use_is_renewed() -> None:
    wired = Wired()
    wired.broker.create("t", 1)
    core = wired.producer()
    send(wired, core)
    grow(wired, 3)
    used = {send(wired, core).result().queue_id for _ in range(3)}
    assert used == {0}, "nothing told the producer yet"
    wired.advance(RENEW_MS)
    send(wired, core)
    assert {send(wired, core).result().queue_id for _ in range(3)} == {0, 1, 2}
    assert asked(wired) == 2


def test_a_queue_that_the_route_lacks_is_asked_for_before_it_is_refused() -> None:
    wired = Wired()
    wired.broker.create("t", 1)
    core = wired.producer()
    send(wired, core)
    grow(wired, 2)
    wired.advance(FRESH_MS)
    future = core.add_checked(Message("t", b"x"), 1, None, wired.now)
    assert future is not None
    core.flush(wired.now)
    wired.run()
    assert future.result().queue_id == 1
    with pytest.raises(errors.InvalidArgument, match="has queues 0 to 1, not 2"):
        core.add_checked(Message("t", b"x"), 2, None, wired.now)


def test_a_second_producer_learns_what_the_first_has_heard() -> None:
    wired = Wired()
    wired.broker.create("t", 1)
    one, two = wired.producer(), wired.producer()
    send(wired, one)
    send(wired, two)
    grow(wired, 2)
    wired.advance(RENEW_MS)
    send(wired, one)
    send(wired, two)
    assert {send(wired, two).result().queue_id for _ in range(2)} == {0, 1}
    assert asked(wired) == 2
