"""Rebalancing of work groups: everybody has everything, and nothing moves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shardmq.actors.coordinator import division
from shardmq.actors.coordinator.membership import GONE_GRACE_MS
from shardmq.actors.coordinator.rebalancing import SETTLE_MS
from shardmq.actors.coordinator.records import GroupPut, encode_state, holder_of
from shardmq.actors.kernel.ports import Refusal
from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.work_messages import EVERYBODY
from support.group_bench import LEASE_MS, GroupBench, Member, all_listen


@pytest.fixture
def bench() -> GroupBench:
    return GroupBench()


@pytest.fixture
def queues(bench: GroupBench) -> list[int]:
    return bench.create("orders")


def worker(bench: GroupBench, name: str, *topics: str, model: str = "work", **wish: Any) -> Member:
    return bench.member(name, *topics, model=model, **wish)


def generations(member: Member) -> set[int]:
    return {one.generation for one in member.queues.values()}


def roster(bench: GroupBench) -> list[str]:
    state = bench.groups.named("billing")
    assert state is not None
    return list(state.roster)


def grants_sent(bench: GroupBench) -> int:
    return sum(len(asked.queues) for one in bench.shards.values() for asked in one.asked)


def tick(bench: GroupBench, *members: Member, seconds: int) -> None:
    """Members keep listening."""
    for _ in range(seconds):
        bench.wait(1_000)
        for member in members:
            member.listen()


@pytest.mark.parametrize("model", ["work", "work_fifo"])
def test_each_member_gets_all_queues_with_one_generation(
    bench: GroupBench, queues: list[int], model: str
) -> None:
    members = [worker(bench, name, model=model).listen() for name in "abc"]
    bench.wait(SETTLE_MS)
    for member in members:
        member.listen()
        assert list(member.queues) == queues
        assert generations(member) == {1}
        assert not any(one.revoked for one in member.queues.values())
    assert bench.in_force(members[0].group_id) == dict.fromkeys(queues, EVERYBODY)
    assert bench.owners() == dict.fromkeys(queues, EVERYBODY)


def test_nothing_moves_when_members_come_leave_die_or_fall_silent(
    bench: GroupBench, queues: list[int]
) -> None:
    stays = worker(bench, "stays").listen()
    version, sent = stays.version, grants_sent(bench)
    others = [worker(bench, name).listen() for name in ("leaves", "dies", "falls silent")]
    others[0].leave()
    others[1].connection_ends()
    bench.wait(GONE_GRACE_MS + 50)
    stats = bench.core.stats()
    assert (stats["members"], stats["members_left"], stats["members_expired"]) == (2, 1, 1)
    tick(bench, stays, seconds=LEASE_MS // 1_000)
    assert bench.replies[others[2].events()][0] == Code.UNKNOWN_MEMBER
    assert (stays.version, grants_sent(bench)) == (version, sent)
    assert roster(bench) == ["stays"]


def test_grants_stay_when_the_last_member_goes(bench: GroupBench, queues: list[int]) -> None:
    member = worker(bench, "a").listen()
    assert member.leave() == g.GroupLeaveReply()
    bench.wait(SETTLE_MS)
    assert bench.in_force(member.group_id) == dict.fromkeys(queues, EVERYBODY)
    assert bench.owners() == dict.fromkeys(queues, EVERYBODY)
    again = worker(bench, "a").listen()
    assert (list(again.queues), generations(again)) == (queues, {1})


def test_nothing_moves_over_a_restart_and_members_need_not_join_again(
    bench: GroupBench, queues: list[int]
) -> None:
    members = [worker(bench, name) for name in "ab"]
    all_listen(*members)
    end = bench.journal.end
    bench.restart()
    for member in members:
        member.parked = None
        assert (list(member.listen().queues), generations(member)) == (queues, {1})
    bench.wait(SETTLE_MS)
    assert bench.journal.end == end
    newcomer = worker(bench, "c").listen()
    assert (list(newcomer.queues), generations(newcomer)) == (queues, {1})


def test_after_a_restart_the_group_is_in_use_until_its_members_have_had_time_to_return(
    bench: GroupBench, queues: list[int]
) -> None:
    members = [worker(bench, name) for name in "ab"]
    all_listen(*members)
    bench.restart()
    members[0].parked = None
    members[0].listen()
    code, error = bench.member("c").join()
    assert (code, "its member a" in error.message) == (Code.SUBSCRIPTION_CONFLICT, True)
    described = bench.ask(Verb.GROUP_DESCRIBE, g.GroupDescribe(group="billing"))
    assert [one.member for one in described.members] == ["a", "b"]
    tick(bench, members[0], seconds=LEASE_MS // 1_000 + 1)
    assert roster(bench) == ["a"]
    members[0].leave()
    assert roster(bench) == []
    bench.restart()
    assert bench.ask(Verb.GROUP_DELETE, g.GroupDelete(group="billing")).group_id == 1


def test_a_full_disk_only_delays_who_is_written_down(bench: GroupBench, queues: list[int]) -> None:
    first = worker(bench, "a").listen()
    bench.journal.refuses = Refusal.DISK_FULL
    second = worker(bench, "b").listen()
    assert list(second.queues) == queues
    bench.wait(SETTLE_MS)
    assert roster(bench) == ["a"]
    bench.journal.refuses = None
    tick(bench, first, second, seconds=2)
    assert roster(bench) == ["a", "b"]


def test_everybody_hears_of_queues_that_come_and_go(bench: GroupBench, queues: list[int]) -> None:
    members = [worker(bench, name, "orders", "refunds") for name in "ab"]
    assert members[0].join()[0] == Code.TOPIC_NOT_FOUND
    more = bench.create("refunds", queues=2)
    members = [worker(bench, name, "orders", "refunds").listen() for name in "ab"]
    bench.send(Verb.TOPIC_UPDATE, m.TopicUpdate(topic="refunds", queues=3))
    bench.wait(SETTLE_MS)
    for member in members:
        assert member.took()
        member.listen()
        assert set(member.queues) == {*queues, *more, max(more) + 1}
        assert generations(member) == {1}
    shards = bench.shards.values()
    starts = {queue: one.start.at for shard in shards for (_, queue), one in shard.grants.items()}
    assert (starts[max(more)], starts[max(more) + 1]) == ("latest", "earliest")
    bench.send(Verb.TOPIC_DELETE, m.TopicDelete(topic="refunds"))
    bench.wait(SETTLE_MS)
    for member in members:
        assert list(member.listen().queues) == queues
    again = bench.create("refunds", queues=2)
    bench.wait(SETTLE_MS)
    for member in members:
        assert set(member.listen().queues) == {*queues, *again}


def test_queues_that_come_while_nobody_is_there_are_everybodys(bench: GroupBench) -> None:
    queues = bench.create("orders")
    worker(bench, "a").listen().leave()
    bench.send(Verb.TOPIC_UPDATE, m.TopicUpdate(topic="orders", queues=5))
    bench.wait(SETTLE_MS)
    assert bench.in_force(1) == dict.fromkeys([*queues, max(queues) + 1], EVERYBODY)


def test_a_queue_is_shown_when_its_shard_has_the_grant(
    bench: GroupBench, queues: list[int]
) -> None:
    bench.silent = {"shard-1"}
    member = worker(bench, "a")
    member.parked = member.events()
    assert not member.took(), "it would be without half of its queues"
    bench.wait(LEASE_MS / 3)
    assert member.took()
    assert len(member.queues) == 2
    bench.silent.clear()
    bench.wait(1_000)
    assert list(member.listen().queues) == queues


def test_a_shard_that_comes_back_is_told_its_grants(bench: GroupBench, queues: list[int]) -> None:
    member = worker(bench, "a").listen()
    version = member.version
    bench.shards["shard-1"].grants.clear()
    bench.link("shard-1", False)
    bench.link("shard-1", True)
    assert bench.in_force(member.group_id) == dict.fromkeys(queues, EVERYBODY)
    assert member.listen().version == version


@pytest.mark.parametrize("joins", ["another", "the same"])
@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(
    ("former", "later"),
    [("clustering", "work"), ("work", "clustering"), ("work", "work_fifo"),
     ("broadcasting", "work"), ("work", "broadcasting")],
)  # fmt: skip
def test_with_another_model_every_queue_is_granted_anew_where_holders_change(
    bench: GroupBench, queues: list[int], former: str, later: str, restarts: bool, joins: str
) -> None:
    first = bench.member("a", model=former).listen()
    if joins == "another":
        first.leave()
    bench.wait(SETTLE_MS)
    if restarts:
        bench.restart()
    second = bench.member("a" if joins == "the same" else "b", model=later)
    all_listen(second)
    assert list(second.queues) == queues
    holder = EVERYBODY if later.startswith("work") else second.name
    assert bench.in_force(second.group_id) == dict.fromkeys(queues, holder)
    former_holder = holder if first.group_id == second.group_id else ""
    assert bench.in_force(first.group_id) == dict.fromkeys(queues, former_holder)
    assert bench.owners() == dict.fromkeys(queues, None if later == "broadcasting" else holder)
    assert roster(bench) == ([second.name] if later.startswith("work") else [])
    if "broadcasting" not in (former, later):
        is_same_holder = former.startswith("work") and later.startswith("work")
        assert (generations(second) == {1}) == is_same_holder
    digest = bench.groups.digest()
    bench.restart()
    assert bench.groups.digest() == digest
    second.parked = None
    assert list(second.listen().queues) == queues


def test_after_another_model_the_first_answer_waits_for_the_grants(
    bench: GroupBench, queues: list[int]
) -> None:
    bench.member("a").listen().leave()
    member = worker(bench, "b")
    member.parked = member.events()
    assert not member.took()
    bench.wait(SETTLE_MS)
    assert member.took()
    assert list(member.queues) == queues


def test_nobody_waits_for_the_return_of_everybody(bench: GroupBench, queues: list[int]) -> None:
    worker(bench, "a").listen().leave()
    state = bench.groups.named("billing")
    assert state is not None
    changed = GroupPut(msgspec.structs.replace(state.group, model="clustering"))
    payload, queue = encode_state(changed), holder_of(changed)
    bench.journal.append_state(payload, bench.clock.now(), queue=queue)
    bench.sync()
    bench.restart()
    described = bench.ask(Verb.GROUP_DESCRIBE, g.GroupDescribe(group="billing"))
    assert described.members == []
    member = bench.member("b")
    all_listen(member)
    assert bench.in_force(member.group_id) == dict.fromkeys(queues, "b")


@pytest.mark.parametrize("model", ["clustering", "work"])
@pytest.mark.parametrize("restarts", [False, True])
def test_with_another_expression_shards_select_by_it(
    bench: GroupBench, queues: list[int], model: str, restarts: bool
) -> None:
    more = bench.create("refunds")
    first = worker(bench, "a", "orders:paid", "refunds", model=model).listen()
    if model == "work":
        first.leave()
    if restarts:
        bench.restart()
    again = worker(bench, "a", "orders:paid || shipped", "refunds", model=model)
    all_listen(again)
    assert sorted(again.queues) == sorted([*queues, *more])
    told = {
        queue: one for shard in bench.shards.values() for (_, queue), one in shard.grants.items()
    }
    assert {told[queue].expression for queue in queues} == {"paid || shipped"}
    assert {again.queues[queue].generation for queue in queues} == {2}
    assert {again.queues[queue].generation for queue in more} == {1}, "theirs is the same"
    sent = grants_sent(bench)
    again.join()
    all_listen(again)
    assert grants_sent(bench) == sent, "once is enough"


def test_what_nobody_wants_any_more_is_nobodys(bench: GroupBench, queues: list[int]) -> None:
    more = bench.create("refunds")
    worker(bench, "a", "orders", "refunds").listen().leave()
    member = worker(bench, "a")
    all_listen(member)
    assert list(member.queues) == queues
    expected = {**dict.fromkeys(queues, EVERYBODY), **dict.fromkeys(more, "")}
    assert bench.in_force(member.group_id) == expected


def test_more_queues_than_a_member_can_have_are_refused_and_never_displace_others(
    bench: GroupBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(division, "MEMBER_QUEUES_MAX", 4)
    queues = bench.create("orders")
    more = bench.create("a-new-topic", queues=1)
    member = worker(bench, "a").listen()
    bench.send(Verb.TOPIC_UPDATE, m.TopicUpdate(topic="orders", queues=6))
    bench.wait(SETTLE_MS)
    assert list(member.listen().queues) == queues
    member.topics = ("a-new-topic", "orders")
    member.join()
    all_listen(member)
    assert list(member.queues) == queues
    assert more[0] not in bench.in_force(member.group_id)
