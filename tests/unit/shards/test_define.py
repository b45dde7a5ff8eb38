"""DEFINE: definitions become state once, survive, and go with all that is theirs."""

from __future__ import annotations

import tracemalloc

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.messages import Define, QueueRoute, TopicRoute
from shardmq.actors.protocol.verbs import Verb
from shardmq.shards.state.queues import CARRIED_QUEUE
from support.shards import ShardUnderTest, batch, topic


def test_a_topic_is_served_from_its_definition_on() -> None:
    shard = ShardUnderTest()
    assert shard.produce(1, batch()).code == Code.STALE_ROUTE
    assert shard.define(topic(numbers=(1, 2, 3))).header.queues == 3
    assert shard.produce(1, batch()).code == Code.OK


def test_the_reply_waits_until_the_definition_is_durable() -> None:
    shard = ShardUnderTest()
    define = shard.letter(Verb.DEFINE, Define(topics=[topic()]))
    assert shard.turn([define]) == []
    # A retry changes nothing, but what it asks for is not durable yet either.
    assert shard.turn([define]) == []
    assert len(shard.sync()) == 2


def test_a_known_definition_costs_no_record() -> None:
    shard = ShardUnderTest()
    shard.define(topic("a", 1, (1,)), topic("b", 2, (2,)))
    end = shard.journal.end
    define = Define(topics=[topic("a", 1, (1,)), topic("b", 2, (2,))], live_topic_ids=[1, 2])
    (reply,) = shard.turn([shard.letter(Verb.DEFINE, define)])
    assert reply.header.queues == 2
    assert shard.journal.end == end


def test_a_catalogue_that_forgot_a_topic_does_not_delete_it() -> None:
    shard = ShardUnderTest()
    shard.define(topic("a", 1, (1,)), topic("b", 2, (2,)))
    forgot = Define(live_topic_ids=[], topic_id_max=1)
    assert shard.ask(Verb.DEFINE, forgot).code == Code.INVALID_ARGUMENT
    assert shard.produce(2, batch()).code == Code.OK
    deleted = Define(live_topic_ids=[], topic_id_max=2)
    assert shard.ask(Verb.DEFINE, deleted).code == Code.OK
    assert shard.produce(2, batch()).code == Code.STALE_ROUTE


def test_an_older_version_is_ignored() -> None:
    shard = ShardUnderTest()
    shard.define(topic(numbers=(1, 2), version=3))
    shard.define(topic(numbers=(1,), version=2))
    assert shard.produce(2, batch()).code == Code.OK


def test_a_define_that_was_overtaken_does_not_bring_a_deleted_topic_back() -> None:
    shard = ShardUnderTest()
    late = shard.letter(Verb.DEFINE, Define(topics=[topic()]))
    shard.define(topic())
    shard.define(live=[])
    (reply,) = shard.turn([late])
    assert reply.code == Code.FENCED
    assert shard.produce(1, batch()).code == Code.STALE_ROUTE


def test_definitions_survive_so_a_shard_serves_before_the_coordinator_speaks() -> None:
    shard = ShardUnderTest()
    shard.define(topic())
    shard.restart(power_cut=True)
    assert shard.produce(1, batch()).code == Code.OK


def test_queues_of_other_shards_are_known_and_not_served() -> None:
    shard = ShardUnderTest(number=1)
    queues = [QueueRoute(queue_id=i, number=10 + i, shard=i % 2) for i in range(4)]
    assert shard.define(TopicRoute(topic="t", topic_id=1, queues=queues)).header.queues == 2
    assert shard.produce(10, batch()).code == Code.STALE_ROUTE
    assert shard.produce(11, batch()).code == Code.OK


def test_topics_that_are_not_live_go_with_their_queues_and_producers() -> None:
    shard = ShardUnderTest()
    shard.define(topic("a", 1, (1, 2, 65)), topic("b", 2, (3,)))
    for queue in (1, 2, 65, 3):
        shard.produce(queue, batch(producer_id=queue))
    assert shard.define(live=[2]).header.queues == 1
    assert shard.produce(1, batch(producer_id=9)).code == Code.STALE_ROUTE
    assert shard.state.queues.stored() == [3]
    assert len(shard.state.producers) == 1
    digests = shard.digests()
    shard.restart()
    assert shard.digests() == digests


def test_topics_that_come_with_the_list_of_live_ones_are_live() -> None:
    shard = ShardUnderTest()
    shard.define(topic("a", 1, (1,)), live=[])
    assert shard.produce(1, batch()).code == Code.OK


def test_a_topic_deleted_and_made_again_starts_anew() -> None:
    shard = ShardUnderTest()
    shard.define(topic("a", 1, (1,)))
    shard.fill(1, b"old")
    shard.define(topic("a", 2, (5,)), live=[2])
    assert shard.fill(5, b"new").base_offset == 0
    assert shard.fetch((1, 0)).header.queues[0].code == Code.STALE_ROUTE


def test_definitions_that_cannot_be_are_refused_whole() -> None:
    shard = ShardUnderTest()
    twice = topic("twice", 2, (7, 7))
    assert shard.define(topic("fine", 1, (1,)), twice).code == Code.BAD_REQUEST
    reserved = topic("reserved", 2, (CARRIED_QUEUE,))
    assert shard.define(topic("fine", 1, (1,)), reserved).code == Code.BAD_REQUEST
    assert shard.produce(1, batch()).code == Code.STALE_ROUTE


def test_a_topic_of_ten_thousand_queues_is_one_record_and_its_queues_cost_little() -> None:
    shard = ShardUnderTest(segment_bytes=16 << 20)
    route = topic(numbers=range(1, 10_001))
    letter = shard.letter(Verb.DEFINE, Define(topics=[route]))
    before = shard.journal.stats().records
    tracemalloc.start()
    shard.turn([letter])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert shard.journal.stats().records <= before + 2  # a snapshot's slice may come between
    assert held / 10_000 < 1_024
    shard.sync()
    shard.restart()
    assert shard.core.stats()["queues"] == 10_000
    shard.define(live=[])
    assert shard.journal.stats().records < 100
