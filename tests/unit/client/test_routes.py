"""Routes: one question at a time for each topic, newer knowledge wins, keys find their queue."""

from __future__ import annotations

from typing import Any

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.messages import ErrorReply, RouteReply
from shardmq.actors.protocol.slots import slot_of
from shardmq.actors.protocol.verbs import Verb
from shardmq.client.routes import RouteFault, TopicMap
from support.clients import Wired
from support.fake_broker import FakeBroker


def ask(wired: Wired, topic: str) -> list[Any]:
    told: list[Any] = []
    wired.routes.ask(
        topic, lambda found, now: told.append(found), wired.now.mono_ms + 1_000, wired.now
    )
    return told


def test_everybody_who_asks_meanwhile_gets_the_same_answer() -> None:
    wired = Wired()
    wired.broker.create("t", 2)
    first, second = ask(wired, "t"), ask(wired, "t")
    wired.run()
    assert first == second
    assert isinstance(first[0], TopicMap)
    assert wired.routes.known("t") is first[0]
    assert sum(route.verb == Verb.ROUTE for route, *_ in wired.broker.seen) == 1


def test_a_missing_topic_an_error_and_nonsense_are_faults() -> None:
    wired = Wired()
    missing = ask(wired, "none")
    wired.run()
    wired.broker.answer = lambda *_: (Code.FORBIDDEN, ErrorReply(name="FORBIDDEN", message="no"))
    forbidden = ask(wired, "t")
    wired.run()
    wired.broker.answer = lambda *_: (Code.OK, RouteReply(topics=[]))
    empty = ask(wired, "t")
    wired.run()
    found = [missing[0], forbidden[0], empty[0]]
    assert all(isinstance(one, RouteFault) for one in found)
    codes = [Code.TOPIC_NOT_FOUND, Code.FORBIDDEN, Code.INTERNAL]
    assert [one.code for one in found] == codes


def test_an_older_version_does_not_replace_a_newer_one() -> None:
    wired = Wired()
    newer = wired.broker.create("t", 2)
    newer.version = 9
    wired.routes.learn(newer)
    older = FakeBroker().create("t", 1)
    older.topic_id, older.version = newer.topic_id, 3
    assert wired.routes.learn(older).version == 9
    older.topic_id = 77
    assert wired.routes.learn(older).version == 3, "another topic of the same name"
    wired.routes.forget("t")
    assert wired.routes.known("t") is None


def test_a_key_goes_where_the_slot_table_says() -> None:
    route = FakeBroker().create("t", 3)
    route.slots = [2, 0, 1]
    topic = TopicMap(route)
    for key in ("a", "bé", "c" * 100):
        queue = topic.queue_for(key)
        assert queue is not None
        assert queue.queue_id == route.slots[slot_of(key) % 3]
        assert topic.queue_for(key) is queue
