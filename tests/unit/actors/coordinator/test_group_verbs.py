"""Group verbs: who may join what, and what operators see and do."""

from __future__ import annotations

import pytest

from shardmq.actors.coordinator import subscribing, topics
from shardmq.actors.coordinator.decisions import Policy
from shardmq.actors.coordinator.rebalancing import SETTLE_MS
from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.verbs import Verb
from support.group_bench import GroupBench, all_listen


@pytest.fixture
def bench() -> GroupBench:
    return GroupBench()


def test_members_with_other_subscriptions_are_told_who_is_there(bench: GroupBench) -> None:
    bench.create("orders")
    bench.create("refunds")
    bench.member("a", "orders:paid || shipped")
    code, error = bench.member("b", "orders:shipped").join()
    assert code == Code.SUBSCRIPTION_CONFLICT
    assert "the member a" in error.message
    assert "`paid || shipped` there, `shipped` here" in error.message
    assert bench.member("b", "orders:shipped||paid").group_id == 1
    assert bench.member("c", "orders:paid || shipped", "refunds").join()[0] == code


def test_a_topic_that_is_missing_is_said(bench: GroupBench) -> None:
    assert bench.member("a", "missing").join()[0] == Code.TOPIC_NOT_FOUND
    assert bench.ask(Verb.GROUP_LIST, g.GroupList()).groups == []


def test_a_broker_that_creates_topics_does_so_for_members() -> None:
    bench = GroupBench(policy=Policy(shards=2, auto_create=True, auto_create_queues=3))
    member = bench.member("a", "missing", start=g.Start(at="latest"))
    all_listen(member)
    assert len(member.queues) == 3
    grants = [one for shard in bench.shards.values() for one in shard.grants.values()]
    assert {one.start.at for one in grants} == {"earliest"}, "nothing in it is older than the wish"


def test_broadcasting_gives_everybody_everything_under_ids_of_their_own(
    bench: GroupBench,
) -> None:
    queues = bench.create("orders")
    members = [bench.member(name, model="broadcasting") for name in "ab"]
    all_listen(*members)
    assert [list(one.queues) for one in members] == [queues, queues]
    ids = [one.group_id for one in members]
    assert len({1, *ids}) == 3
    described = bench.ask(Verb.GROUP_DESCRIBE, g.GroupDescribe(group="billing"))
    assert [one.group_id for one in described.members] == ids
    assert [one.queues for one in described.members] == [4, 4]
    assert described.away == []
    members[0].leave()
    bench.wait(SETTLE_MS)
    described = bench.ask(Verb.GROUP_DESCRIBE, g.GroupDescribe(group="billing"))
    assert [one.member for one in described.members] == ["b"]
    assert [(one.member, one.group_id) for one in described.away] == [("a", ids[0])]
    assert described.told_at_ms == bench.clock.now().wall_ms
    assert bench.member("a", model="broadcasting").group_id == ids[0], "it goes on where it was"
    assert list(members[1].listen().queues) == queues
    assert bench.member("c").join()[0] == Code.SUBSCRIPTION_CONFLICT


def test_a_group_with_members_is_not_deleted(bench: GroupBench) -> None:
    bench.create("orders")
    member = bench.member("a").listen()
    code, error = bench.ask(Verb.GROUP_DELETE, g.GroupDelete(group="billing"))
    assert (code, "the members a" in error.message) == (Code.GROUP_IN_USE, True)
    member.leave()
    deleted = bench.ask(Verb.GROUP_DELETE, g.GroupDelete(group="billing"))
    assert deleted == g.GroupDeleteReply(group_id=1)
    assert [shard.live for shard in bench.shards.values()] == [[], []]
    assert bench.in_force(1) == {}
    assert bench.ask(Verb.GROUP_DELETE, g.GroupDelete(group="billing"))[0] == Code.GROUP_NOT_FOUND
    assert bench.member("a").group_id == 2


def test_groups_are_listed_in_pages(bench: GroupBench) -> None:
    bench.create("orders")
    for name in ("b", "a", "c"):
        bench.member("m", group=name)
    first = bench.ask(Verb.GROUP_LIST, g.GroupList(count_max=2))
    assert ([one.group for one in first.groups], first.more) == (["a", "b"], True)
    rest = bench.ask(Verb.GROUP_LIST, g.GroupList(after="b"))
    assert [(one.group, one.members, one.topics) for one in rest.groups] == [("c", 1, 1)]


def test_retries_bring_topics_and_their_queues(bench: GroupBench) -> None:
    queues = bench.create("orders")
    member = bench.member("a", retries=True)
    all_listen(member)
    assert {"%RETRY%billing", "%DLQ%billing"} <= set(bench.catalogue.names())
    assert len(member.queues) == len(queues) + 2
    assert {one.topic for one in member.queues.values()} == {"orders", "%RETRY%billing"}
    described = bench.ask(Verb.GROUP_DESCRIBE, g.GroupDescribe(group="billing"))
    assert [one.topic for one in described.subscriptions] == ["orders"]
    assert bench.member("b", retries=True).group_id == member.group_id


def test_a_group_that_is_deleted_takes_its_retries_along_and_leaves_its_dead_letters(
    bench: GroupBench,
) -> None:
    bench.create("orders")
    member = bench.member("a", retries=True).listen()
    member.leave()
    bench.ask(Verb.GROUP_DELETE, g.GroupDelete(group="billing"))
    assert bench.catalogue.names() == ["%DLQ%billing", "orders"]
    again = bench.member("a", retries=True)
    all_listen(again)
    assert {one.topic for one in again.queues.values()} == {"orders", "%RETRY%billing"}


def test_a_join_that_would_make_too_many_topics_of_the_system_makes_none(
    bench: GroupBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "SYSTEM_TOPICS_MAX", 3)
    bench.create("orders")
    bench.member("a", retries=True)
    code, error = bench.member("a", group="other", retries=True).join()
    assert (code, "3 retry and dead letter topics" in error.message) == (Code.BUSY, True)
    assert bench.catalogue.names() == ["%DLQ%billing", "%RETRY%billing", "orders"]
    assert bench.groups.named("other") is None
    assert bench.member("a", group="other").group_id


def test_a_work_group_is_described_with_all_its_members_and_everybody_as_owner(
    bench: GroupBench,
) -> None:
    queues = bench.create("orders")
    members = [bench.member(name, model="work", retries=True) for name in "ba"]
    all_listen(*members)
    described = bench.ask(Verb.GROUP_DESCRIBE, g.GroupDescribe(group="billing"))
    assert described.model == "work"
    assert [(one.member, one.queues, one.group_id) for one in described.members] == [
        ("a", 4, 1),
        ("b", 4, 1),
    ]
    assert [(one.queue, one.owner, one.generation) for one in described.queues] == [
        (queue, "*", 1) for queue in queues
    ]
    listed = bench.ask(Verb.GROUP_LIST, g.GroupList()).groups
    assert [(one.group, one.model, one.members) for one in listed] == [("billing", "work", 2)]
    assert bench.catalogue.names() == ["%DLQ%billing", "orders"]


def test_a_work_group_is_deleted_when_nobody_is_there_and_begins_anew(bench: GroupBench) -> None:
    bench.create("orders")
    member = bench.member("a", model="work", retries=True).listen()
    assert bench.ask(Verb.GROUP_DELETE, g.GroupDelete(group="billing"))[0] == Code.GROUP_IN_USE
    member.leave()
    deleted = bench.ask(Verb.GROUP_DELETE, g.GroupDelete(group="billing"))
    assert deleted == g.GroupDeleteReply(group_id=1)
    assert bench.in_force(1) == {}
    assert bench.catalogue.names() == ["%DLQ%billing", "orders"]
    again = bench.member("a", model="work", retries=True).listen()
    assert (again.group_id, len(again.queues)) == (2, 4)


def test_a_work_group_that_would_read_too_many_queues_is_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscribing, "MEMBER_QUEUES_MAX", 6)
    bench = GroupBench(policy=Policy(shards=2, auto_create=True, auto_create_queues=3))
    bench.create("orders")
    code, error = bench.member("a", "orders", "missing", model="work").join()
    assert (code, "7 queues" in error.message) == (Code.INVALID_ARGUMENT, True)
    assert (bench.catalogue.names(), len(bench.groups)) == (["orders"], 0)
    member = bench.member("a", model="work").listen()
    bench.ask(Verb.TOPIC_UPDATE, m.TopicUpdate(topic="orders", queues=7))
    assert isinstance(member.join(), g.GroupJoinReply), "who is there already stays"
    assert bench.member("b", model="work").join()[0] == Code.INVALID_ARGUMENT
    assert bench.member("c", group="other").group_id, "others share them out"


def test_nobody_can_be_called_everybody(bench: GroupBench) -> None:
    bench.create("orders")
    code, error = bench.member("*").join()
    assert (code, "all members of a work group" in error.message) == (Code.INVALID_ARGUMENT, True)
    assert bench.member("*", model="work").join()[0] == Code.INVALID_ARGUMENT
