"""Granting: every shard knows every grant in the end, and nothing is shown before."""

from __future__ import annotations

import pytest

from shardmq.actors.coordinator.granting import RETRY_MS
from shardmq.actors.coordinator.rebalancing import SETTLE_MS
from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.verbs import Verb
from support.group_bench import GroupBench, Member


@pytest.fixture
def bench() -> GroupBench:
    return GroupBench()


def test_a_queue_is_shown_only_when_it_is_durable_and_its_shard_has_it(bench: GroupBench) -> None:
    bench.create("orders")
    bench.syncs = False
    bench.silent = {"shard-1"}
    member = Member(bench, "a", "billing", ("orders",), {})
    assert member.join() is None
    member.group_id = 1
    member.parked = member.events()
    assert [shard.asked[1:] for shard in bench.shards.values()] == [[], []]
    bench.sync()
    assert not member.took()
    bench.silent.clear()
    bench.run(bench.held_back)
    bench.wait(RETRY_MS + 50)
    assert member.took()
    assert len(member.queues) == 4


def test_a_shard_that_is_down_is_told_when_it_is_back(bench: GroupBench) -> None:
    bench.create("orders")
    bench.link("shard-1", False)
    member = bench.member("a").listen()
    bench.wait(3_000)
    assert member.took()
    assert {one.shard for one in member.queues.values()} == {0}
    bench.link("shard-1", True)
    member.listen()
    assert {one.shard for one in member.queues.values()} == {0, 1}


def test_a_shard_that_refuses_is_asked_again(bench: GroupBench) -> None:
    queues = bench.create("orders")
    bench.shards["shard-0"].code = Code.DISK_FULL
    bench.shards["shard-1"].queue_codes[queues[0]] = Code.STALE_ROUTE
    bench.shards["shard-1"].queue_codes[queues[1]] = Code.STALE_ROUTE
    member = bench.member("a")
    member.parked = member.events()
    bench.wait(1_000)
    assert not member.took()
    bench.shards["shard-0"].code = Code.OK
    bench.shards["shard-1"].queue_codes.clear()
    bench.wait(RETRY_MS)
    assert member.took()
    assert len(member.queues) == 4


def test_a_shard_that_knows_a_later_generation_is_outbid(bench: GroupBench) -> None:
    queues = bench.create("orders", queues=2)
    for shard in bench.shards.values():
        shard.grants[1, queues[0]] = g.GrantQueue(queue=queues[0], generation=41, member="?")
    # The list of living groups would clear them; here the shards have been told of it before.
    bench.silent = {"shard-0", "shard-1"}
    member = bench.member("a").listen()
    bench.silent.clear()
    bench.run(bench.held_back)
    assert member.listen().queues[queues[0]].generation == 42
    assert member.queues[queues[1]].generation == 1


def test_grants_that_only_the_journal_knows_reach_the_shards_after_a_restart(
    bench: GroupBench,
) -> None:
    bench.create("orders")
    bench.silent = {"shard-0", "shard-1"}
    member = bench.member("a")
    bench.restart()
    assert bench.in_force(1) == {}
    bench.silent.clear()
    member.parked = member.events()
    bench.wait(RETRY_MS)
    assert member.took()
    assert len(member.queues) == 4
    assert set(bench.in_force(1).values()) == {"a"}


def test_a_deleted_group_is_not_granted_anything_any_more(bench: GroupBench) -> None:
    bench.create("orders")
    bench.shards["shard-0"].code = Code.DISK_FULL
    bench.silent = {"shard-1"}
    bench.member("a").leave()
    bench.wait(RETRY_MS / 2)
    bench.ask(Verb.GROUP_DELETE, g.GroupDelete(group="billing"))
    bench.shards["shard-0"].code = Code.OK
    bench.silent.clear()
    bench.wait(3 * RETRY_MS)
    assert bench.in_force(1) == {}
    assert [shard.live for shard in bench.shards.values()] == [[], []]
    assert bench.core.stats()["grants_pending"] == 0


def test_a_grant_that_was_refused_is_not_told_after_the_one_that_followed_it(
    bench: GroupBench,
) -> None:
    bench.create("orders")
    for shard in bench.shards.values():
        shard.code = Code.DISK_FULL
    bench.member("a").leave()
    bench.wait(SETTLE_MS)
    for shard in bench.shards.values():
        shard.code = Code.OK
    bench.member("b")
    bench.wait(4 * RETRY_MS)
    for shard in bench.shards.values():
        told = [(one.queue, one.generation) for grant in shard.asked for one in grant.queues]
        assert told == sorted(told, key=lambda one: one[1])
    assert set(bench.in_force(1).values()) == {"b"}
