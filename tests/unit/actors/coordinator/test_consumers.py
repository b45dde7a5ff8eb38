"""Consumer groups in the coordinator, as members and shards see them."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shardmq.actors.coordinator.catalogue import Catalogue
from shardmq.actors.coordinator.groups import Groups
from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.work_messages import EVERYBODY
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

    model = "clustering"

    @initialize()
    def starts(self) -> None:
        self.bench = GroupBench()
        self.queues = self.bench.create("orders", queues=6)
        self.members: dict[str, Member] = {}
        self.generations: dict[int, int] = {}

    @rule(name=st.sampled_from(NAMES))
    def comes(self, name: str) -> None:
        if name not in self.members:
            wish = {"model": self.model}
            self.members[name] = Member(self.bench, name, "billing", ("orders",), wish)
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
            self.check_users(users, grant)

    def check_users(self, users: list[str], grant: g.GrantQueue) -> None:
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
        self.check_shares()
        assert bench.core.stats()["grants_pending"] == 0
        replayed = Catalogue(), Groups()
        bench.journal.replayed_into(*replayed)
        assert [one.digest() for one in replayed] == [
            bench.catalogue.digest(),
            bench.groups.digest(),
        ]

    def check_shares(self) -> None:
        if self.members:
            sizes = [len(member.queues) for member in self.members.values()]
            assert sum(sizes) == len(self.queues)
            assert max(sizes) - min(sizes) <= 1
        for (_, queue), grant in self.in_force().items():
            holders = [one.name for one in self.members.values() if queue in one.queues]
            assert holders == ([grant.member] if grant.member else [])


class WorkMachine(Machine):
    """The same for a work group: generations tell only what operators did, never who came, went or
    failed; and in the end everybody has everything."""

    model = "work"

    @initialize()
    def starts(self) -> None:
        super().starts()
        self.resets = 0

    @rule(offset=st.integers(0, 9))
    def is_reset(self, offset: int) -> None:
        super().is_reset(offset)
        self.resets += 1

    @rule()
    def a_queue_comes(self) -> None:
        wish = m.TopicUpdate(topic="orders", queues=len(self.queues) + 1)
        reply = self.bench.replies.get(self.bench.send(Verb.TOPIC_UPDATE, wish))
        if isinstance(reply, m.TopicReply):
            self.queues = [queue.number for queue in reply.route.queues]

    def check_users(self, users: list[str], grant: g.GrantQueue) -> None:
        assert grant.member == EVERYBODY or (grant.reset and grant.member == "")
        # A reset of a queue that has yet to be granted comes before its grant.
        assert grant.generation <= 1 + self.resets + bool(self.resets)
        assert not any(
            one.revoked for each in self.members.values() for one in each.queues.values()
        )

    def check_shares(self) -> None:
        there = {place.number for topic in self.bench.catalogue.all() for place in topic.places}
        for member in self.members.values():
            assert set(member.queues) == there
            for queue, held in member.queues.items():
                assert self.in_force()[member.group_id, queue].generation == held.generation
        state = self.bench.groups.named("billing")
        assert set(state.roster if state else ()) == set(self.members)


Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestConsumersUnderFaults = Machine.TestCase
WorkMachine.TestCase.settings = Machine.TestCase.settings
TestWorkGroupsUnderFaults = WorkMachine.TestCase
