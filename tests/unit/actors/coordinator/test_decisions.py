"""Decisions: what each verb answers, what it writes, and that asking again is harmless."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.coordinator import topics
from shardmq.actors.coordinator.catalogue import Catalogue
from shardmq.actors.coordinator.decisions import Answer, Decisions, Policy
from shardmq.actors.coordinator.ledger import Ledger
from shardmq.actors.coordinator.topics import Refused
from shardmq.actors.kernel.ports import Refusal
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_JSON, Route
from shardmq.actors.protocol.verbs import Verb
from support.manual import at
from support.memory_journal import MemoryJournal


class Bench:
    """Decisions over a journal in memory."""

    def __init__(self, **policy: Any) -> None:
        self.catalogue = Catalogue()
        self.journal = MemoryJournal(self.catalogue)
        self.group_names: set[str] = set()
        self.decisions = Decisions(
            Ledger(self.journal),
            self.catalogue,
            Policy(**{"shards": 2, **policy}),
            has_group=self.group_names.__contains__,
        )

    def ask(self, verb: Verb, wish: m.Header, flags: int = 0) -> Answer:
        route = Route(verb, flags, 0, 1, 1_000)
        return self.decisions.decide(route, encode_header(wish, flags), at(0))

    def create(self, topic: str, **wish: Any) -> m.TopicRoute:
        reply = self.ask(Verb.TOPIC_CREATE, m.TopicCreate(topic=topic, **wish)).header
        assert isinstance(reply, m.TopicReply)
        return reply.route

    def routes(self, *topics: str, create: bool = False) -> list[m.RouteResult]:
        answer = self.ask(Verb.ROUTE, m.RouteRequest(topics=list(topics), create=create))
        assert isinstance(answer.header, m.RouteReply)
        return answer.header.topics

    def listed(self, **wish: Any) -> m.TopicListReply:
        reply = self.ask(Verb.TOPIC_LIST, m.TopicList(**wish)).header
        assert isinstance(reply, m.TopicListReply)
        return reply

    def refused(self, verb: Verb, wish: m.Header) -> Refused:
        records = len(self.journal.records)
        with pytest.raises(Refused) as caught:
            self.ask(verb, wish)
        assert len(self.journal.records) == records, "a refusal writes nothing"
        return caught.value


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_created_topic_has_its_queues_and_one_record(bench: Bench) -> None:
    route = bench.create("orders", queues=4)
    assert [queue.number for queue in route.queues] == [1, 2, 3, 4]
    assert (route.topic_id, route.version, route.slots) == (1, 1, [0, 1, 2, 3])
    assert len(bench.journal.records) == 1
    assert bench.create("next", queues=1).queues[0].number == 5


def test_creation_resent_with_its_key_answers_as_the_first_time(bench: Bench) -> None:
    first = bench.create("orders", request_key="wish")
    assert bench.create("orders", request_key="wish") == first
    assert len(bench.journal.records) == 1


@pytest.mark.parametrize("key", ["", "other"])
def test_a_topic_that_exists_is_not_created_again(bench: Bench, key: str) -> None:
    bench.create("orders", request_key="wish")
    error = bench.refused(Verb.TOPIC_CREATE, m.TopicCreate(topic="orders", request_key=key))
    assert error.code == Code.TOPIC_EXISTS


def test_a_late_copy_of_a_creation_does_not_undo_the_deletion(bench: Bench) -> None:
    bench.create("orders", request_key="wish")
    bench.ask(Verb.TOPIC_DELETE, m.TopicDelete(topic="orders"))
    error = bench.refused(Verb.TOPIC_CREATE, m.TopicCreate(topic="orders", request_key="wish"))
    assert error.code == Code.TOPIC_NOT_FOUND


def test_deleted_and_created_again_it_is_another_topic_with_other_queues(bench: Bench) -> None:
    first = bench.create("orders", queues=2)
    bench.ask(Verb.TOPIC_DELETE, m.TopicDelete(topic="orders", topic_id=first.topic_id))
    second = bench.create("orders", queues=2)
    assert second.topic_id > first.topic_id
    assert [queue.number for queue in second.queues] == [3, 4]


def test_a_resent_deletion_spares_the_successor(bench: Bench) -> None:
    first = bench.create("orders")
    bench.ask(Verb.TOPIC_DELETE, m.TopicDelete(topic="orders"))
    bench.create("orders")
    wish = m.TopicDelete(topic="orders", topic_id=first.topic_id)
    assert bench.refused(Verb.TOPIC_DELETE, wish).code == Code.TOPIC_NOT_FOUND
    assert bench.catalogue.named("orders") is not None


def test_an_update_changes_once_however_often_it_is_asked(bench: Bench) -> None:
    bench.create("orders", queues=2)
    wish = m.TopicUpdate(topic="orders", queues=5)
    first = bench.ask(Verb.TOPIC_UPDATE, wish)
    assert bench.ask(Verb.TOPIC_UPDATE, wish) == first
    assert first.waits_for_shards
    assert len(bench.journal.records) == 2


@pytest.mark.parametrize(
    ("verb", "wish", "code"),
    [
        (Verb.TOPIC_CREATE, m.TopicCreate(topic="a b"), Code.INVALID_NAME),
        (Verb.TOPIC_CREATE, m.TopicCreate(topic="%DLQ%g"), Code.FORBIDDEN),
        (Verb.TOPIC_CREATE, m.TopicCreate(topic="a", queues=0), Code.INVALID_ARGUMENT),
        (Verb.TOPIC_UPDATE, m.TopicUpdate(topic="none"), Code.TOPIC_NOT_FOUND),
        (Verb.TOPIC_UPDATE, m.TopicUpdate(topic="%DLQ%g"), Code.FORBIDDEN),
        (Verb.TOPIC_DELETE, m.TopicDelete(topic="none"), Code.TOPIC_NOT_FOUND),
        (Verb.TOPIC_DELETE, m.TopicDelete(topic="%SYS%g"), Code.FORBIDDEN),
        (Verb.PRODUCE, m.Produce(), Code.UNKNOWN_VERB),
    ],
)
def test_what_the_rules_forbid_is_refused(
    bench: Bench, verb: Verb, wish: m.Header, code: Code
) -> None:
    assert bench.refused(verb, wish).code == code


def test_a_header_that_is_none_is_refused(bench: Bench) -> None:
    with pytest.raises(Refused, match="TOPIC_CREATE") as caught:
        bench.decisions.decide(Route(Verb.TOPIC_CREATE, 0, 0, 1, 1), b"\xc1", at(0))
    assert caught.value.code == Code.BAD_REQUEST


def test_json_is_understood(bench: Bench) -> None:
    answer = bench.ask(Verb.TOPIC_CREATE, m.TopicCreate(topic="orders"), FLAG_JSON)
    assert isinstance(answer.header, m.TopicReply)


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (Refusal.BUSY, Code.BUSY),
        (Refusal.DISK_FULL, Code.DISK_FULL),
        (Refusal.READ_ONLY, Code.READ_ONLY),
    ],
)
def test_a_disk_that_takes_nothing_is_said(bench: Bench, refusal: Refusal, code: Code) -> None:
    bench.journal.refuses = refusal
    error = bench.refused(Verb.TOPIC_CREATE, m.TopicCreate(topic="orders"))
    assert error.code == code
    assert error.retry_after_ms > 0


# --- routes and lists ---------------------------------------------------------------------------


def test_routes_have_a_result_for_each_name(bench: Bench) -> None:
    bench.create("orders", queues=2)
    found, missing, invalid = bench.routes("orders", "none", "a b")
    assert found.route is not None
    assert len(found.route.queues) == 2
    assert (missing.code, missing.route) == (Code.TOPIC_NOT_FOUND, None)
    assert invalid.code == Code.INVALID_NAME


def test_a_missing_topic_is_created_only_where_that_is_allowed() -> None:
    [missing] = Bench().routes("orders", create=True)
    assert (missing.code, "--auto-create" in missing.message) == (Code.TOPIC_NOT_FOUND, True)
    allowed = Bench(auto_create=True, auto_create_queues=3)
    assert allowed.routes("orders")[0].code == Code.TOPIC_NOT_FOUND
    [made] = allowed.routes("orders", create=True)
    assert made.route is not None
    assert len(made.route.queues) == 3
    assert allowed.routes("%DLQ%g", create=True)[0].code == Code.FORBIDDEN


def test_only_a_route_that_created_waits_for_the_shards() -> None:
    bench = Bench(auto_create=True)
    wish = m.RouteRequest(topics=["orders"], create=True)
    assert bench.ask(Verb.ROUTE, wish).waits_for_shards
    assert not bench.ask(Verb.ROUTE, wish).waits_for_shards


def test_routes_that_do_not_fit_into_one_reply_are_to_be_asked_alone(bench: Bench) -> None:
    for number in range(6):
        bench.create(f"wide{number}", queues=16_384)
    results = bench.routes(*[f"wide{number}" for number in range(6)])
    assert [result.code for result in results].count(Code.TOO_LARGE) > 0
    assert bench.routes("wide5")[0].code == Code.OK


def test_lists_come_in_pages_without_the_systems_topics(bench: Bench) -> None:
    for name in ("c", "a", "b"):
        bench.create(name, queues=1)
    bench.decisions.ensure_system_topic("%SYS%x", at(0))
    first = bench.listed(count_max=2)
    assert ([one.topic for one in first.topics], first.more) == (["a", "b"], True)
    rest = bench.listed(count_max=2, after="b")
    assert ([one.topic for one in rest.topics], rest.more) == (["c"], False)
    assert [one.topic for one in bench.listed(system=True).topics] == ["%SYS%x", "a", "b", "c"]


def test_a_system_topic_has_a_queue_on_every_shard_and_is_made_once() -> None:
    bench = Bench(shards=3)
    topic = bench.decisions.ensure_system_topic("%DLQ%g", at(0))
    assert sorted(place.shard for place in topic.places) == [0, 1, 2]
    assert bench.decisions.ensure_system_topic("%DLQ%g", at(0)) == topic
    assert len(bench.journal.records) == 1
    assert bench.routes("%DLQ%g")[0].route is not None


def test_topics_of_the_system_do_not_count_as_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "TOPICS_MAX", 2)
    monkeypatch.setattr(topics, "SYSTEM_TOPICS_MAX", 3)
    bench = Bench()
    for name in ("%RETRY%a", "%DLQ%a", "%DLQ%b"):
        bench.decisions.ensure_system_topic(name, at(0))
    with pytest.raises(Refused, match="3 retry and dead letter topics") as caught:
        bench.decisions.ensure_system_topic("%RETRY%b", at(0))
    assert caught.value.code == Code.BUSY
    assert bench.decisions.ensure_system_topic("%DLQ%b", at(0)), "it is there"
    bench.create("one")
    bench.create("two")
    assert bench.refused(Verb.TOPIC_CREATE, m.TopicCreate(topic="three")).code == Code.BUSY


def test_a_topic_of_a_group_can_be_deleted_once_the_group_is_gone() -> None:
    bench = Bench()
    bench.group_names.add("g")
    bench.decisions.ensure_system_topic("%DLQ%g", at(0))
    bench.decisions.ensure_system_topic("%SYS%g", at(0))
    assert bench.refused(Verb.TOPIC_DELETE, m.TopicDelete(topic="%DLQ%g")).code == Code.FORBIDDEN
    bench.group_names.clear()
    bench.ask(Verb.TOPIC_DELETE, m.TopicDelete(topic="%DLQ%g"))
    assert bench.refused(Verb.TOPIC_DELETE, m.TopicDelete(topic="%SYS%g")).code == Code.FORBIDDEN
    assert (bench.catalogue.names(), bench.catalogue.system_count) == (["%SYS%g"], 1)


# --- durability --------------------------------------------------------------------------------


def test_changes_settle_in_order_once_they_are_durable(bench: Bench) -> None:
    first = bench.create("a").topic_id
    mark_a = bench.journal.end
    second = bench.create("b").topic_id
    mark_b = bench.journal.end
    assert bench.decisions.settled(mark_a - 1) == []
    assert not bench.decisions.is_durable(first)
    assert bench.decisions.settled(mark_a) == [(first, mark_a)]
    assert bench.decisions.is_durable(first)
    assert not bench.decisions.is_durable(second)
    assert bench.decisions.settled(mark_b) == [(second, mark_b)]


def test_a_deletion_that_is_not_durable_has_not_happened(bench: Bench) -> None:
    topic_id = bench.create("a").topic_id
    bench.decisions.settled(bench.journal.end)
    bench.ask(Verb.TOPIC_DELETE, m.TopicDelete(topic="a"))
    assert bench.decisions.live_ids() == [topic_id]
    bench.decisions.settled(bench.journal.end)
    assert bench.decisions.live_ids() == []
