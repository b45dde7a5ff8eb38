"""Plans: the queues of a group follow its subscriptions and the catalogue."""

from __future__ import annotations

import pytest

from shardmq.actors.coordinator.plans import Plans, pools_of
from shardmq.actors.coordinator.rebalancing import SETTLE_MS
from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.verbs import Verb
from support.group_bench import GroupBench


@pytest.fixture
def bench() -> GroupBench:
    return GroupBench()


def test_added_queues_are_read_from_their_start(bench: GroupBench) -> None:
    queues = bench.create("orders", queues=2)
    member = bench.member("a", start=g.Start(at="latest")).listen()
    bench.ask(Verb.TOPIC_UPDATE, m.TopicUpdate(topic="orders", queues=4))
    bench.wait(SETTLE_MS)
    assert len(member.listen().queues) == 4
    for shard in bench.shards.values():
        for (_, queue), grant in shard.grants.items():
            assert grant.start.at == ("latest" if queue in queues else "earliest")


def test_queues_that_are_gone_are_held_by_nobody(bench: GroupBench) -> None:
    bench.create("orders", queues=4)
    refunds = bench.create("refunds", queues=1)
    member = bench.member("a", "orders", "refunds").listen()
    bench.ask(Verb.TOPIC_UPDATE, m.TopicUpdate(topic="orders", write_queues=2))
    bench.ask(Verb.TOPIC_UPDATE, m.TopicUpdate(topic="orders", read_queues=2))
    bench.wait(SETTLE_MS)
    assert len(member.listen().queues) == 3
    bench.ask(Verb.TOPIC_DELETE, m.TopicDelete(topic="orders"))
    bench.wait(SETTLE_MS)
    assert list(member.listen().queues) == refunds
    state = bench.groups.named("billing")
    assert state is not None
    assert list(state.granted(1)) == refunds
    bench.create("orders", queues=2)
    bench.wait(SETTLE_MS)
    assert len(member.listen().queues) == 3


def test_without_others_subscriptions_are_replaced(bench: GroupBench) -> None:
    orders, refunds = bench.create("orders"), bench.create("refunds")
    member = bench.member("a", "orders").listen()
    assert list(member.queues) == orders
    member.topics = ("refunds",)
    member.join()
    bench.wait(SETTLE_MS)
    assert list(member.listen().queues) == refunds
    assert bench.in_force(1) == {**dict.fromkeys(orders, ""), **dict.fromkeys(refunds, "a")}


def test_a_broadcasting_member_starts_where_its_wish_says_also_on_queues_added_before(
    bench: GroupBench,
) -> None:
    bench.create("orders", queues=2)
    bench.member("a", model="broadcasting", start=g.Start(at="latest")).listen()
    bench.ask(Verb.TOPIC_UPDATE, m.TopicUpdate(topic="orders", queues=4))
    second = bench.member("b", model="broadcasting", start=g.Start(at="latest"))
    bench.wait(SETTLE_MS)
    grants = [grant for shard in bench.shards.values() for grant in shard.grants.items()]
    assert {one.start.at for (cursor, _), one in grants if cursor == second.group_id} == {"latest"}
    assert {one.start.at for (cursor, queue), one in grants if queue > 2 and one.member == "a"} == {
        "earliest"
    }


def test_the_queues_of_a_groups_own_retries_are_shared_out_by_themselves(bench: GroupBench) -> None:
    queues = bench.create("orders", queues=3)
    bench.member("a", group="other", retries=True).listen()
    bench.member("a", "orders", "%RETRY%other", retries=True).listen()
    state = bench.groups.named("billing")
    assert state is not None
    plan = Plans(bench.catalogue).of(state.group)
    asked, retries = pools_of(plan, state.group)
    assert {plan[one].topic for one in asked} == {"orders", "%RETRY%other"}
    assert set(queues) < set(asked)
    assert [plan[one].topic for one in retries] == ["%RETRY%billing"] * 2
    assert sorted(asked + retries) == sorted(plan)
