"""Resetting: cursors move where operators want them, once, and members follow."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.coordinator.granting import RETRY_MS
from shardmq.actors.coordinator.rebalancing import SETTLE_MS
from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.work_messages import EVERYBODY
from support.group_bench import GroupBench, all_listen


@pytest.fixture
def bench() -> GroupBench:
    return GroupBench()


def reset(bench: GroupBench, **wish: Any) -> Any:
    request_id = bench.send(Verb.GROUP_RESET, g.GroupReset(group="billing", **wish))
    return bench.replies.get(request_id, request_id)


def test_a_reset_is_answered_when_the_shards_have_it_and_members_follow(bench: GroupBench) -> None:
    queues = bench.create("orders")
    member = bench.member("a").listen()
    found = reset(bench, topic="orders", to=g.Start(at="offset", offset=7))
    assert [(one.queue, one.queue_id, one.code) for one in found.queues] == [
        (queue, queue_id, Code.OK) for queue_id, queue in enumerate(queues)
    ]
    assert {(one.before, one.after) for one in found.queues} == {(100, 7)}
    member.listen()
    assert {one.generation for one in member.queues.values()} == {2}


def test_single_queues_are_reset_to_offsets_of_their_own(bench: GroupBench) -> None:
    queues = bench.create("orders")
    member = bench.member("a").listen()
    one = g.ResetQueue(queue_id=1, offset=5)
    found = reset(bench, topic="orders", queues=[one])
    assert [(row.queue, row.after) for row in found.queues] == [(queues[1], 5)]
    generations = [held.generation for held in member.listen().queues.values()]
    assert generations == [1, 2, 1, 1]


def test_a_group_without_members_is_reset_for_whoever_comes(bench: GroupBench) -> None:
    queues = bench.create("orders")
    bench.member("a").listen().leave()
    bench.wait(SETTLE_MS)
    found = reset(bench, topic="orders", to=g.Start(at="earliest"))
    assert {one.code for one in found.queues} == {Code.OK}
    assert bench.in_force(1) == dict.fromkeys(queues, "")


def test_a_dry_run_asks_the_shards_and_changes_nothing(bench: GroupBench) -> None:
    bench.create("orders")
    member = bench.member("a").listen()
    end, version = bench.journal.end, member.version
    found = reset(bench, topic="orders", to=g.Start(at="offset", offset=7), dry_run=True)
    assert {(one.before, one.after, one.code) for one in found.queues} == {(100, 7, Code.OK)}
    assert (bench.journal.end, member.listen().version) == (end, version)
    bench.silent = {"shard-0"}
    request_id = reset(bench, topic="orders", dry_run=True)
    bench.wait(48_100)
    codes = {one.code for one in bench.replies[request_id].queues}
    assert codes == {Code.OK, Code.TIMED_OUT}
    assert bench.core.stats()["resets_waiting"] == 0


def test_a_shard_that_is_down_resets_when_it_is_back(bench: GroupBench) -> None:
    bench.create("orders")
    bench.member("a").listen()
    bench.silent = {"shard-1"}
    request_id = reset(bench, topic="orders", to=g.Start(at="earliest"))
    bench.link("shard-1", False)
    found = bench.replies[request_id]
    assert [one.code for one in found.queues].count(Code.UNAVAILABLE) == 2
    assert "moves when it is back" in found.queues[0].message + found.queues[1].message
    bench.restart()
    bench.silent.clear()
    bench.link("shard-1", False)
    bench.link("shard-1", True)
    grants = bench.shards["shard-1"].grants.values()
    assert {(one.reset, one.generation) for one in grants} == {(True, 2)}


def test_what_is_said_of_a_shard_that_is_down_is_durable_first(bench: GroupBench) -> None:
    bench.create("orders")
    bench.member("a").listen()
    for link in bench.shards:
        bench.link(link, False)
    bench.syncs = False
    request_id = reset(bench, topic="orders", queues=[g.ResetQueue(queue_id=1, offset=7)])
    bench.wait(60_000)
    assert request_id not in bench.replies
    bench.sync()
    (found,) = bench.replies[request_id].queues
    assert (found.code, "moves when it is back" in found.message) == (Code.UNAVAILABLE, True)


def test_a_reset_goes_over_to_the_grant_that_overtakes_it(bench: GroupBench) -> None:
    queues = bench.create("orders", queues=2)
    member = bench.member("a").listen()
    bench.silent = {"shard-0", "shard-1"}
    request_id = reset(bench, topic="orders", to=g.Start(at="offset", offset=7))
    member.leave()
    bench.wait(SETTLE_MS)
    bench.silent.clear()
    bench.wait(RETRY_MS)
    assert {(one.code, one.after) for one in bench.replies[request_id].queues} == {(Code.OK, 7)}
    for shard in bench.shards.values():
        for grant in shard.grants.values():
            assert (grant.member, grant.generation, grant.reset) == ("", 3, True)
    assert bench.in_force(1).keys() == set(queues)


def test_a_confirmed_reset_is_not_done_again_with_the_next_grant(bench: GroupBench) -> None:
    bench.create("orders")
    member = bench.member("a").listen()
    reset(bench, topic="orders", to=g.Start(at="earliest"))
    member.leave()
    bench.wait(SETTLE_MS)
    for shard in bench.shards.values():
        assert {one.reset for one in shard.grants.values()} == {False}


def test_a_reset_of_what_the_group_does_not_read_is_refused(bench: GroupBench) -> None:
    bench.create("orders")
    bench.create("refunds")
    bench.member("a").listen()
    code, error = reset(bench, topic="refunds")
    assert code == Code.INVALID_ARGUMENT
    assert error.message == "billing does not read `topic` 'refunds'; it reads orders"


def test_a_reset_of_a_topic_that_is_gone_says_so(bench: GroupBench) -> None:
    bench.create("orders")
    bench.member("a").listen()
    bench.ask(Verb.TOPIC_DELETE, m.TopicDelete(topic="orders"))
    code, error = reset(bench, topic="orders")
    assert (code, error.message) == (Code.TOPIC_NOT_FOUND, "there is no topic orders (any more)")


def test_a_reset_of_a_topic_that_never_was_says_so(bench: GroupBench) -> None:
    bench.create("orders")
    bench.member("a").listen()
    code, error = reset(bench, topic="nosuch")
    assert (code, error.message) == (Code.TOPIC_NOT_FOUND, "there is no topic nosuch (any more)")


def test_what_a_group_reads_is_named(bench: GroupBench) -> None:
    topics = [f"t{number}" for number in range(7)]
    for topic in topics:
        bench.create(topic)
    bench.create("orders")
    bench.member("a", *topics).listen()
    _, error = reset(bench, topic="orders")
    assert error.message.endswith("it reads t0, t1, t2, t3, t4 and 2 more")
    one = g.ResetQueue(queue_id=9, offset=5)
    assert reset(bench, topic="orders", queues=[one])[0] == Code.INVALID_ARGUMENT
    twice = [g.ResetQueue(queue_id=1, offset=5)] * 2
    assert reset(bench, topic="orders", queues=twice)[0] == Code.INVALID_ARGUMENT


def test_broadcasting_members_are_reset_each_for_itself(bench: GroupBench) -> None:
    bench.create("orders", queues=1)
    all_listen(*(bench.member(name, model="broadcasting") for name in "ab"))
    found = reset(bench, topic="orders", to=g.Start(at="offset", offset=7))
    assert [(one.message, one.after) for one in found.queues] == [("a", 7), ("b", 7)]


@pytest.mark.parametrize("online", [True, False])
def test_a_work_group_is_reset_and_all_members_follow(bench: GroupBench, online: bool) -> None:
    queues = bench.create("orders")
    members = [bench.member(name, model="work").listen() for name in "ab"]
    if not online:
        for member in members:
            member.leave()
    end = bench.journal.end
    tried = reset(bench, topic="orders", to=g.Start(at="offset", offset=7), dry_run=True)
    assert {(one.before, one.after, one.code) for one in tried.queues} == {(100, 7, Code.OK)}
    assert bench.journal.end == end
    found = reset(bench, topic="orders", to=g.Start(at="offset", offset=7))
    assert {(one.before, one.after, one.code) for one in found.queues} == {(100, 7, Code.OK)}
    for shard in bench.shards.values():
        for grant in shard.grants.values():
            assert (grant.member, grant.generation, grant.reset) == (EVERYBODY, 2, True)
    one = reset(bench, topic="orders", queues=[g.ResetQueue(queue_id=1, offset=5)])
    assert [(row.queue, row.after) for row in one.queues] == [(queues[1], 5)]
    for name in "ab":
        member = bench.member(name, model="work").listen()
        assert [held.generation for held in member.queues.values()] == [2, 3, 2, 2]
    grants = [grant for shard in bench.shards.values() for grant in shard.asked]
    asked = len(grants)
    bench.wait(SETTLE_MS)
    assert asked == len([grant for shard in bench.shards.values() for grant in shard.asked])


def test_a_work_groups_reset_survives_a_shard_that_was_away(bench: GroupBench) -> None:
    bench.create("orders")
    member = bench.member("a", model="work").listen()
    bench.link("shard-1", False)
    found = reset(bench, topic="orders", to=g.Start(at="earliest"))
    assert sorted(one.code for one in found.queues) == [Code.OK] * 2 + [Code.UNAVAILABLE] * 2
    member.listen()
    assert len(member.queues) == 2, "the others are not shown before their shard has the grant"
    bench.restart()
    bench.link("shard-1", False)
    bench.link("shard-1", True)
    assert {(one.reset, one.member) for one in bench.shards["shard-1"].grants.values()} == {
        (True, EVERYBODY)
    }
    member.parked = None
    assert {one.generation for one in member.listen().queues.values()} == {2}
