"""Grants: what is written down, piece by piece, and what a shard is told of it."""

from __future__ import annotations

import pytest

from shardmq.actors.coordinator import grants as module
from shardmq.actors.coordinator.catalogue import Catalogue
from shardmq.actors.coordinator.division import Division
from shardmq.actors.coordinator.granting import Granting
from shardmq.actors.coordinator.grants import Grants
from shardmq.actors.coordinator.groups import Groups, GroupState
from shardmq.actors.coordinator.ledger import Ledger
from shardmq.actors.coordinator.plans import Plans
from shardmq.actors.coordinator.records import (
    Group,
    GroupPut,
    GroupTopic,
    Place,
    Position,
    RosterChanged,
    Topic,
    TopicGone,
    TopicPut,
    decode_state,
)
from shardmq.actors.coordinator.topics import Refused
from shardmq.actors.kernel.ports import Refusal
from support.manual import at
from support.memory_journal import MemoryJournal

NOW = at(0)
RESET = Position("offset", offset=7)


class Desk:
    """A group that reads a topic of five queues over two shards."""

    def __init__(self) -> None:
        self.catalogue, self.groups = Catalogue(), Groups()
        self.journal = MemoryJournal(self.catalogue, self.groups)
        self.ledger = Ledger(self.journal)
        self.plans = Plans(self.catalogue)
        self.granting = Granting(2, epoch=1, live_ids=lambda: ([], 0), is_told=lambda link: True)
        self.grants = Grants(self.ledger, self.groups, self.plans, self.granting)
        self.reads(5)
        topics = (GroupTopic("orders", "*", queue_max=4),)
        self.group = Group(
            name="billing", group_id=1, model="clustering", strategy="sticky", topics=topics,
            start=Position(), lease_ms=1_000,
        )  # fmt: skip
        self.ledger.append(GroupPut(self.group), NOW)
        self.division = Division(1, 1, {})
        self.division.plan = self.plans.of(self.group)

    @property
    def state(self) -> GroupState:
        found = self.groups.get(1)
        assert found is not None
        return found

    def reads(self, queues: int) -> None:
        places = tuple(Place(number, number % 2) for number in range(1, queues + 1))
        topic = Topic(
            name="orders", topic_id=1, version=1, slots_version=1, write_queues=queues,
            places=places, slots=(0,),
        )  # fmt: skip
        self.ledger.append(TopicPut(topic), NOW)
        self.plans.topic_changed(1)

    def aims(self, queues: int) -> None:
        """The topic has so many queues now, and the group reads them."""
        former = self.division.plan
        self.reads(queues)
        self.division.plan = self.plans.of(self.group)
        self.grants.let_go(self.division, former, NOW)

    def rows(self) -> dict[int, tuple[int, str]]:
        return {one.queue: (one.generation, one.member) for one in self.division.rows()}


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_grants_are_numbered_queue_by_queue_and_lie_in_the_journal(desk: Desk) -> None:
    desk.grants.give(desk.division, [(1, "a"), (2, "b")], NOW)
    desk.grants.give(desk.division, [(2, "a"), (3, "a")], NOW)
    assert desk.rows() == {1: (1, "a"), 2: (2, "a"), 3: (1, "a")}
    assert desk.state.granted(1) == {one.queue: one for one in desk.division.rows()}


def test_what_holds_is_granted_again_above_what_a_shard_knows(desk: Desk) -> None:
    desk.grants.give(desk.division, [(1, "a")], NOW)
    desk.grants.again(desk.division, [1, 2], NOW, above=8)
    assert desk.rows() == {1: (9, "a"), 2: (9, "")}


def test_a_reset_goes_along_until_it_is_confirmed(desk: Desk) -> None:
    desk.grants.again(desk.division, [1], NOW, resets={1: RESET})
    desk.grants.give(desk.division, [(1, "a")], NOW)
    row = desk.division.row(1)
    assert row is not None and row.reset == RESET
    desk.division.confirmed(1)
    desk.grants.give(desk.division, [(1, "b")], NOW)
    row = desk.division.row(1)
    assert row is not None and row.reset is None


def test_a_shard_is_told_of_its_queues_and_where_new_cursors_begin(desk: Desk) -> None:
    desk.grants.give(desk.division, [(queue, "a") for queue in range(1, 6)], NOW)
    told = {
        shard: {one.grant.queue: one.grant.start.at for one in found}
        for shard in (0, 1)
        for found in [desk.grants.in_force([desk.division], shard)]
    }
    assert told == {
        0: {2: "latest", 4: "latest"},
        1: {1: "latest", 3: "latest", 5: "earliest"},
    }
    assert list(desk.grants.in_force([Division(9, 9, {})], 0)) == []


def test_queues_that_are_gone_are_forgotten_and_others_go_to_nobody(desk: Desk) -> None:
    desk.grants.give(desk.division, [(queue, "a") for queue in range(1, 6)], NOW)
    desk.aims(3)
    assert set(desk.rows()) == set(desk.state.granted(1)) == {1, 2, 3}
    former, desk.division.plan = desk.division.plan, {}
    desk.grants.let_go(desk.division, former, NOW)
    assert desk.rows() == dict.fromkeys((1, 2, 3), (2, ""))
    desk.ledger.append(TopicGone(1), NOW)
    desk.grants.let_go(desk.division, former, NOW)
    assert desk.rows() == {}


def test_many_rows_go_in_pieces_and_a_refusal_keeps_those_that_are_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECORD_ROWS_MAX", 2)
    before = len(desk.journal.records)
    desk.grants.give(desk.division, [(queue, "a") for queue in range(1, 6)], NOW)
    assert len(desk.journal.records) - before == 3
    desk.journal.refuses = Refusal.DISK_FULL
    with pytest.raises(Refused):
        desk.grants.give(desk.division, [(1, "b")], NOW)
    assert desk.rows() == dict.fromkeys(range(1, 6), (1, "a"))


def test_only_who_came_or_went_is_enrolled(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECORD_ROWS_MAX", 2)
    desk.grants.enroll(desk.state, ["a", "b", "c"], NOW)
    desk.grants.enroll(desk.state, ["d", "b"], NOW)
    desk.grants.enroll(desk.state, ["b", "d"], NOW)
    assert [decode_state(one.payload) for one in desk.journal.records[-3:]] == [
        RosterChanged(1, ("a", "b")),
        RosterChanged(1, ("c",)),
        RosterChanged(1, ("d",), ("a", "c")),
    ]
    assert list(desk.state.roster) == ["b", "d"]
