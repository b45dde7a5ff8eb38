"""Rebalancing: queues follow the members, and no two members hold one."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest

from shardmq.actors.coordinator import rebalancing as module
from shardmq.actors.coordinator.membership import GONE_GRACE_MS
from shardmq.actors.coordinator.rebalancing import SETTLE_MS
from shardmq.actors.kernel.ports import Refusal
from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.verbs import Verb
from support.group_bench import LEASE_MS, GroupBench, all_listen


@pytest.fixture
def bench() -> GroupBench:
    return GroupBench()


def shares(bench: GroupBench) -> list[int]:
    return sorted(Counter(bench.owners().values()).values())


def test_the_first_member_gets_all_queues_with_its_first_answer(bench: GroupBench) -> None:
    queues = bench.create("orders")
    member = bench.member("a").listen()
    assert list(member.queues) == queues
    assert {one.generation for one in member.queues.values()} == {1}
    assert bench.in_force(member.group_id) == dict.fromkeys(queues, "a")
    assert bench.owners() == dict.fromkeys(queues, "a")


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
    second.connection_ends()
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


def test_who_comes_again_under_its_name_is_told_apart_from_who_went(bench: GroupBench) -> None:
    bench.create("orders")
    bench.member("a").listen().leave()
    again = bench.member("a")
    all_listen(again)
    assert {one.generation for one in again.queues.values()} == {3}


def test_what_the_last_member_leaves_is_in_the_journal_with_the_answer(bench: GroupBench) -> None:
    queues = bench.create("orders")
    member = bench.member("a").listen()
    assert member.leave() == g.GroupLeaveReply()  # within SETTLE_MS of the last rebalance
    bench.restart()
    assert bench.owners() == dict.fromkeys(queues)
    successor = bench.member("b")
    all_listen(successor)
    assert list(successor.queues) == queues
    assert bench.clock.now().mono_ms < LEASE_MS


@pytest.mark.parametrize("stops", [True, False])
def test_a_stop_decides_what_would_be_due_in_a_moment(bench: GroupBench, stops: bool) -> None:
    bench.create("orders")
    first, second = bench.member("a"), bench.member("b")
    all_listen(first, second)
    bench.member("c").leave()
    bench.wait(SETTLE_MS / 2)
    second.leave()
    if stops:
        bench.run(bench.core.stop(bench.clock.now()))
    bench.restart()
    owners = set(bench.owners().values())
    assert owners == ({"a"} if stops else {"a", "b"})


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


def test_a_known_member_that_joins_again_moves_nothing(bench: GroupBench) -> None:
    bench.create("orders")
    first, second = bench.member("a"), bench.member("b")
    all_listen(first, second)
    held, version = dict(first.queues), first.version
    first.join()
    bench.wait(200)
    assert (first.listen().queues, first.version) == (held, version)


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


def test_members_that_come_together_cost_few_rebalances(bench: GroupBench) -> None:
    bench.create("orders", queues=20)
    members = [bench.member(f"m{number}") for number in range(10)]
    bench.wait(SETTLE_MS)
    assert bench.core.stats()["rebalances"] == 2
    all_listen(*members)
    assert shares(bench) == [2] * 10


def test_a_change_that_concerns_many_groups_is_done_in_pieces(
    bench: GroupBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.create("orders", queues=1)
    members = [bench.member("a", group=f"g{number}").listen() for number in range(5)]
    bench.wait(SETTLE_MS)
    before = bench.core.stats()["rebalances"]
    monkeypatch.setattr(module, "TURN_DIVISIONS_MAX", 2)
    bench.syncs = False
    bench.send(Verb.TOPIC_UPDATE, m.TopicUpdate(topic="orders", queues=2))
    bench.journal.sync()
    letters = bench.core.durable_advanced(bench.clock.now())
    assert bench.core.stats()["rebalances"] - before == 2
    bench.syncs = True
    bench.run(letters)
    bench.wait(SETTLE_MS)
    assert [len(member.listen().queues) for member in members] == [2] * 5


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


def of_topic(bench: GroupBench, queues: list[int], names: str) -> list[int]:
    """How many of `queues` each member has, and how many of the others."""
    owners = bench.owners()
    asked = Counter(owners[queue] for queue in queues)
    retries = Counter(owner for queue, owner in owners.items() if queue not in queues)
    return [asked[name] for name in names] + [retries[name] for name in names]


@pytest.mark.parametrize("strategy", ["sticky", "average", "circle"])
@pytest.mark.parametrize(
    ("queues", "names", "shares"),
    [
        (2, "ab", [1, 1, 1, 1]),
        (4, "ab", [2, 2, 1, 1]),
        (4, "abcd", [1, 1, 1, 1]),
        (6, "abc", [2, 2, 2]),
        (3, "ab", [1, 2]),
    ],
)
def test_no_member_has_only_queues_of_retries(
    bench: GroupBench, strategy: str, queues: int, names: str, shares: list[int]
) -> None:
    numbers = bench.create("orders", queues)
    members = [bench.member(name, retries=True, strategy=strategy) for name in names]
    all_listen(*members)
    count = len(names)
    found = of_topic(bench, numbers, names)
    assert sorted(found[:count]) == shares[:count]
    assert sum(found[count:]) == 2
    assert max(found[count:]) - min(found[count:]) <= 1


def test_a_group_that_was_divided_as_one_pool_is_mended_after_a_restart_and_then_rests(
    bench: GroupBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = bench.create("orders", queues=2)
    with monkeypatch.context() as former:
        former.setattr(
            module,
            "assigned",
            lambda strategy, members, pools, held: {
                queue: "a" if queue in queues or "b" not in members else "b"
                for queue in chain.from_iterable(pools)
            },
        )
        members = [bench.member(name, retries=True) for name in "ab"]
        all_listen(*members)
    assert of_topic(bench, queues, "ab") == [2, 0, 0, 2]
    bench.restart()
    for member in members:
        member.parked = None
    all_listen(*members)
    assert of_topic(bench, queues, "ab") == [1, 1, 1, 1]
    before = {member.name: dict(member.queues) for member in members}
    bench.ask(Verb.TOPIC_UPDATE, m.TopicUpdate(topic="orders", retention_ms=60_000))
    all_listen(*members)
    assert {member.name: dict(member.queues) for member in members} == before
