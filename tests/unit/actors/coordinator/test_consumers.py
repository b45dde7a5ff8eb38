"""Consumer groups in the coordinator, as members and shards see it."""

from __future__ import annotations

from collections import Counter

import pytest

from shardmq.actors.coordinator.decisions import Policy
from shardmq.actors.coordinator.granting import RETRY_MS
from shardmq.actors.coordinator.membership import GONE_GRACE_MS
from shardmq.actors.coordinator.rebalancing import SETTLE_MS
from shardmq.actors.kernel.ports import Refusal
from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import pack_envelope
from shardmq.actors.protocol.verbs import Verb
from support.group_bench import LEASE_MS, GroupBench, Member, all_listen


@pytest.fixture
def bench() -> GroupBench:
    return GroupBench()


def shares(bench: GroupBench) -> list[int]:
    return sorted(Counter(bench.owners().values()).values())


def gone(bench: GroupBench, member: Member) -> None:
    session = pack_envelope(77, member.session, 0)[:16].hex()
    assert bench.ask(Verb.SESSIONS_GONE, g.SessionsGone(sessions=[session])) == (
        g.SessionsGoneReply()
    )


def test_the_first_member_gets_all_queues_with_its_first_answer(bench: GroupBench) -> None:
    queues = bench.create("orders")
    member = bench.member("a").listen()
    assert list(member.queues) == queues
    assert {one.generation for one in member.queues.values()} == {1}
    assert bench.in_force(member.group_id) == dict.fromkeys(queues, "a")
    assert bench.owners() == dict.fromkeys(queues, "a")


def test_a_queue_is_shown_only_when_it_is_durable_and_its_shard_has_it(bench: GroupBench) -> None:
    bench.create("orders")
    bench.syncs = False
    bench.silent = {"shard-1"}
    member = Member(bench, "a", "billing", ("orders",), {})
    with pytest.raises(KeyError):
        member.join()
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


def test_a_second_member_gets_its_share_when_the_first_has_let_go(bench: GroupBench) -> None:
    bench.create("orders")
    first = bench.member("a").listen()
    second = bench.member("b")
    bench.wait(SETTLE_MS)
    first.took()
    revoked = [one.queue for one in first.queues.values() if one.revoked]
    assert len(revoked) == 2
    assert second.listen().queues == {}
    first.listen()
    second.listen()
    assert sorted(second.queues) == revoked
    assert {one.generation for one in second.queues.values()} == {2}
    assert sorted([*first.queues, *second.queues]) == sorted(bench.owners())


def test_who_stays_keeps_its_queues_with_their_generations(bench: GroupBench) -> None:
    bench.create("orders", queues=12)
    members = [bench.member(name) for name in "abc"]
    all_listen(*members)
    before = {one.name: dict(one.queues) for one in members}
    assert [len(one.queues) for one in members] == [4, 4, 4]
    members.append(bench.member("d"))
    all_listen(*members)
    assert [len(one.queues) for one in members] == [3, 3, 3, 3]
    for member in members[:3]:
        for queue, held in member.queues.items():
            assert before[member.name][queue] == held


def test_queues_of_one_that_leaves_move_at_once(bench: GroupBench) -> None:
    bench.create("orders")
    first, second = bench.member("a"), bench.member("b")
    all_listen(first, second)
    assert second.leave() == g.GroupLeaveReply()
    bench.wait(SETTLE_MS)
    first.listen()
    assert len(first.queues) == 4
    assert bench.replies[second.parked or 0][0] == Code.UNKNOWN_MEMBER
    assert second.leave()[0] == Code.UNKNOWN_MEMBER


def test_queues_of_a_killed_member_move_in_under_a_second(bench: GroupBench) -> None:
    bench.create("orders")
    first, second = bench.member("a"), bench.member("b")
    all_listen(first, second)
    gone(bench, second)
    bench.wait(GONE_GRACE_MS - 50)
    assert not first.took()
    bench.wait(150)
    assert first.took()
    assert len(first.queues) == 4


def test_queues_of_a_silent_member_move_when_its_lease_is_over(bench: GroupBench) -> None:
    bench.create("orders")
    first, second = bench.member("a"), bench.member("b")
    all_listen(first, second)
    for _ in range(LEASE_MS // 1_000 + 1):
        bench.wait(1_000)
        first.listen()
    assert len(first.queues) == 4
    assert bench.replies[second.events()][0] == Code.UNKNOWN_MEMBER


def test_with_nobody_left_queues_are_granted_to_nobody(bench: GroupBench) -> None:
    queues = bench.create("orders")
    member = bench.member("a").listen()
    member.leave()
    bench.wait(SETTLE_MS)
    assert bench.in_force(member.group_id) == dict.fromkeys(queues, "")
    assert bench.owners() == dict.fromkeys(queues)
    again = bench.member("a")
    all_listen(again)
    assert {one.generation for one in again.queues.values()} == {3}


def test_who_does_not_let_go_has_a_lease_of_time_for_it(bench: GroupBench) -> None:
    bench.create("orders")
    first = bench.member("a").listen()
    second = bench.member("b").listen()
    for _ in range(LEASE_MS // 1_000):
        bench.wait(1_000)
        first.listen(releases=False)
        second.listen()
    assert len(first.queues) == 4
    assert second.queues == {}
    bench.wait(100)
    first.listen(releases=False)
    second.listen()
    assert (len(first.queues), len(second.queues)) == (2, 2)
    assert bench.core.stats()["releases_forced"] == 1


def test_a_revocation_is_withdrawn_when_the_newcomer_goes(bench: GroupBench) -> None:
    bench.create("orders")
    first = bench.member("a").listen()
    second = bench.member("b")
    bench.wait(SETTLE_MS)
    assert first.took()
    assert any(one.revoked for one in first.queues.values())
    second.leave()
    bench.wait(SETTLE_MS)
    first.listen(releases=False)
    assert not any(one.revoked for one in first.queues.values())
    assert {one.generation for one in first.queues.values()} == {1}


def test_events_wait_their_time_and_end_without_news(bench: GroupBench) -> None:
    bench.create("orders")
    member = bench.member("a").listen()
    version = member.version
    bench.wait(LEASE_MS / 3 - 100)
    assert member.parked not in bench.replies
    bench.wait(100)
    reply = bench.replies[member.parked or 0]
    assert (reply.version, len(reply.queues)) == (version, 4)


def test_a_later_request_replaces_the_parked_one(bench: GroupBench) -> None:
    bench.create("orders")
    member = bench.member("a").listen()
    later = member.events()
    assert bench.replies[member.parked or 0].version == member.version
    assert later not in bench.replies
    assert bench.core.stats()["events_parked"] == 1


def test_a_known_member_that_joins_again_moves_nothing(bench: GroupBench) -> None:
    bench.create("orders")
    first, second = bench.member("a"), bench.member("b")
    all_listen(first, second)
    held, version = dict(first.queues), first.version
    first.join()
    bench.wait(200)
    assert (first.listen().queues, first.version) == (held, version)


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


def test_without_others_subscriptions_are_replaced(bench: GroupBench) -> None:
    orders, refunds = bench.create("orders"), bench.create("refunds")
    member = bench.member("a", "orders").listen()
    assert list(member.queues) == orders
    member.topics = ("refunds",)
    member.join()
    bench.wait(SETTLE_MS)
    assert list(member.listen().queues) == refunds
    assert bench.in_force(1) == {**dict.fromkeys(orders, ""), **dict.fromkeys(refunds, "a")}


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


def test_a_restarted_coordinator_moves_nothing_while_its_members_return(bench: GroupBench) -> None:
    bench.create("orders")
    first, second = bench.member("a"), bench.member("b")
    all_listen(first, second)
    held = dict(first.queues), dict(second.queues)
    bench.restart()
    first.parked = second.parked = None
    assert first.listen().queues == held[0]
    newcomer = bench.member("c")
    bench.wait(1_000)
    assert (first.listen().queues, newcomer.listen().queues) == (held[0], {})
    second.parked = second.events()
    bench.wait(SETTLE_MS)
    assert second.took()
    assert second.queues.keys() == held[1].keys()
    all_listen(first, second, newcomer)
    assert shares(bench) == [1, 1, 2]


def test_who_does_not_return_loses_its_queues_after_a_lease(bench: GroupBench) -> None:
    bench.create("orders")
    first, second = bench.member("a"), bench.member("b")
    all_listen(first, second)
    bench.restart()
    first.parked = None
    for _ in range(LEASE_MS // 1_000):
        bench.wait(950)
        assert len(first.listen().queues) == 2
    bench.wait(600)
    first.listen()
    bench.wait(SETTLE_MS)
    assert len(first.listen().queues) == 4


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
    members[0].leave()
    bench.wait(SETTLE_MS)
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


def test_members_that_come_together_cost_few_rebalances(bench: GroupBench) -> None:
    bench.create("orders", queues=20)
    members = [bench.member(f"m{number}") for number in range(10)]
    bench.wait(SETTLE_MS)
    assert bench.core.stats()["rebalances"] == 2
    all_listen(*members)
    assert shares(bench) == [2] * 10


def test_a_full_disk_delays_grants_but_no_sign_of_life(bench: GroupBench) -> None:
    bench.create("orders")
    first, second = bench.member("a"), bench.member("b")
    all_listen(first, second)
    bench.journal.refuses = Refusal.DISK_FULL
    assert bench.member("c", group="another").join()[0] == Code.DISK_FULL
    second.leave()
    bench.wait(2_000)
    assert len(first.listen().queues) == 2
    bench.journal.refuses = None
    first.listen()
    bench.wait(1_100)
    assert len(first.listen().queues) == 4


def test_a_stop_answers_those_who_wait_for_news(bench: GroupBench) -> None:
    bench.create("orders")
    member = bench.member("a").listen()
    bench.run(bench.core.stop(bench.clock.now()))
    assert bench.replies[member.parked or 0][0] == Code.SHUTTING_DOWN
    assert bench.core.drained()


def test_live_state_is_replayed_state(bench: GroupBench) -> None:
    bench.create("orders", queues=7)
    members = [bench.member(name, retries=True) for name in "abc"]
    all_listen(*members)
    members[1].leave()
    all_listen(members[0], members[2])
    digest = bench.groups.digest()
    bench.restart()
    assert bench.groups.digest() == digest
