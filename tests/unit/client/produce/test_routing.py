"""Routing: asked once, remembered, and what a refusal freezes until the new route is there."""

from __future__ import annotations

from typing import Any

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.messages import ErrorReply
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import Message, errors
from shardmq.client.produce.core import ProducerCore
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
