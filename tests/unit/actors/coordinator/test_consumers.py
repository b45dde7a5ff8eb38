"""Consumer groups in the coordinator, as members and shards see them."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shardmq.actors.coordinator.catalogue import Catalogue
from shardmq.actors.coordinator.groups import Groups
from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.verbs import Verb
from support.group_bench import GroupBench, Member, all_listen


@pytest.fixture
def bench() -> GroupBench:
    return GroupBench()


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


NAMES = "abc"
LINKS = ("shard-0", "shard-1")


class Machine(RuleBasedStateMachine):
    """Members that come, go, fall silent and come back; shards that go, come and do not answer; a
    coordinator that loses power. A queue is usable for whoever believes in the generation that its
    shard has in force: that is never more than one, and in the end everything is shared out."""

    @initialize()
    def starts(self) -> None:
        self.bench = GroupBench()
        self.queues = self.bench.create("orders", queues=6)
        self.members: dict[str, Member] = {}
        self.generations: dict[int, int] = {}

    @rule(name=st.sampled_from(NAMES))
    def comes(self, name: str) -> None:
        if name not in self.members:
            self.members[name] = Member(self.bench, name, "billing", ("orders",), {})
        self.members[name].join()

    @rule(name=st.sampled_from(NAMES))
    def leaves(self, name: str) -> None:
        member = self.members.pop(name, None)
        if member is not None:
            member.leave()

    @rule(name=st.sampled_from(NAMES))
    def is_killed(self, name: str) -> None:
        member = self.members.pop(name, None)
        if member is not None:
            member.connection_ends()

    @rule(name=st.sampled_from(NAMES), releases=st.booleans())
    def listens(self, name: str, releases: bool) -> None:
        member = self.members.get(name)
        if member is not None:
            member.listen_or_join(releases=releases)

    @rule(link=st.sampled_from(LINKS), up=st.booleans())
    def link_changes(self, link: str, up: bool) -> None:
        self.bench.link(link, False)
        if up:
            self.bench.link(link, True)

    @rule(links=st.sets(st.sampled_from(LINKS)))
    def shards_fall_silent(self, links: set[str]) -> None:
        self.bench.silent = links

    @rule(syncs=st.booleans())
    def disk_is_slow(self, syncs: bool) -> None:
        self.bench.syncs = syncs

    @rule()
    def loses_power(self) -> None:
        self.bench.restart()
        for member in self.members.values():
            member.parked = None

    @rule(offset=st.integers(0, 9))
    def is_reset(self, offset: int) -> None:
        to = g.Start(at="offset", offset=offset)
        self.bench.send(Verb.GROUP_RESET, g.GroupReset(group="billing", topic="orders", to=to))

    @rule(span=st.sampled_from([20, 60, 500, 4_000]))
    def time_passes(self, span: int) -> None:
        self.bench.wait(span)

    @invariant()
    def one_can_use_a_queue(self) -> None:
        for (group_id, queue), grant in self.in_force().items():
            assert grant.generation >= self.generations.get(queue, 0)
            self.generations[queue] = grant.generation
            users = [
                member.name
                for member in self.members.values()
                if member.group_id == group_id
                and queue in member.queues
                and member.queues[queue].generation == grant.generation
            ]
            assert users in ([], [grant.member])

    def in_force(self) -> dict[tuple[int, int], g.GrantQueue]:
        shards = self.bench.shards.values() if hasattr(self, "bench") else ()
        return {key: grant for shard in shards for key, grant in shard.grants.items()}

    def teardown(self) -> None:
        bench = self.bench
        bench.syncs, bench.silent = True, set()
        bench.sync()
        for link in LINKS:
            bench.link(link, True)
        for _ in range(25):
            for member in self.members.values():
                member.listen_or_join()
            bench.wait(500)
        if self.members:
            sizes = [len(member.queues) for member in self.members.values()]
            assert sum(sizes) == len(self.queues)
            assert max(sizes) - min(sizes) <= 1
        assert bench.core.stats()["grants_pending"] == 0
        for (_, queue), grant in self.in_force().items():
            holders = [one.name for one in self.members.values() if queue in one.queues]
            assert holders == ([grant.member] if grant.member else [])
        replayed = Catalogue(), Groups()
        bench.journal.replayed_into(*replayed)
        assert [one.digest() for one in replayed] == [
            bench.catalogue.digest(),
            bench.groups.digest(),
        ]


Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestConsumersUnderFaults = Machine.TestCase
