"""The wire rules of cursors: letters that break them are seen, the same ones in time are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shardmq.actors.coordinator.catalogue import Catalogue
from shardmq.actors.coordinator.groups import Groups
from shardmq.actors.coordinator.records import (
    GROUP_BIT,
    Granted,
    GrantRow,
    Group,
    GroupPut,
    Place,
    Position,
    Topic,
    TopicPut,
    encode_state,
)
from shardmq.actors.protocol import group_messages as g
from sim.cursor_wire import CursorWire
from sim.group_history import GroupHistory
from support.manual import at
from support.memory_journal import MemoryJournal

GROUP, QUEUE = 7, 2
FIRST = g.Start(at="earliest")


class Scene:
    """A group of one topic with one queue."""

    def __init__(self) -> None:
        self.groups = GroupHistory()
        self.violations: list[str] = []
        self.wire = CursorWire(self.groups, lambda rule, text: self.violations.append(rule))
        self.grant(1)
        self.asks(1)

    def wish(self, to: g.Start = FIRST, topic: str = "t", *, dry_run: bool = False) -> None:
        wish = g.GroupReset(group="g", topic=topic, to=to, dry_run=dry_run)
        self.wire.coordinator_asked(wish)

    def grant(self, generation: int, *, reset: bool = False, to: g.Start = FIRST) -> None:
        one = g.GrantQueue(queue=QUEUE, generation=generation, expression="*", start=to)
        one.reset = reset
        grant = g.Grant(group_id=GROUP, group="g", queues=[one])
        self.wire.grant_leaves(grant, CATALOGUE, 5.0)

    def asks(self, generation: int) -> None:
        """A member acks by a generation, and is answered."""
        ack = g.Ack(group_id=GROUP, queues=[g.AckQueue(queue=QUEUE, generation=generation)])
        self.wire.shard_answers(ack, g.AckReply(queues=[g.AckResult(queue=QUEUE, floor=0)]), 6.0)


def test_a_reset_that_was_asked_for_sets_a_cursor() -> None:
    scene = Scene()
    scene.wish()
    scene.grant(2, reset=True)
    assert scene.violations == []
    assert scene.groups.cursors[GROUP, QUEUE].resets == [2]


@pytest.mark.parametrize(
    "wish",
    [
        lambda scene: None,
        lambda scene: scene.wish(g.Start(at="latest")),
        lambda scene: scene.wish(topic="other"),
        lambda scene: scene.wish(dry_run=True),
    ],
)
def test_a_reset_that_nobody_asked_for_is_seen(wish: Callable[[Scene], None]) -> None:
    scene = Scene()
    wish(scene)
    scene.grant(2, reset=True)
    assert scene.violations == ["reset"]


def test_a_reset_goes_over_to_the_next_grant_while_nobody_had_it() -> None:
    scene = Scene()
    scene.wish()
    scene.grant(2, reset=True)
    scene.grant(2, reset=True)
    scene.grant(3, reset=True)
    assert scene.violations == []


def test_a_reset_that_a_member_has_gone_on_from_is_not_done_again() -> None:
    scene = Scene()
    scene.wish()
    scene.grant(2, reset=True)
    scene.asks(2)
    scene.grant(3, reset=True)
    assert scene.violations == ["reset"]
    scene.wish()
    scene.wish()
    scene.asks(3)
    scene.grant(4, reset=True)
    assert scene.violations == ["reset"]


@pytest.mark.parametrize(("generation", "rules"), [(3, []), (4, []), (2, ["unwritten"])])
def test_a_coordinator_that_returns_knows_what_it_sent(generation: int, rules: list[str]) -> None:
    scene = Scene()
    scene.grant(3)
    scene.wire.coordinator_started(groups_with(generation), CATALOGUE)
    assert scene.violations == rules


def test_what_was_deleted_need_not_be_known() -> None:
    scene = Scene()
    scene.wire.coordinator_started(Groups(), CATALOGUE)
    scene.wire.coordinator_started(groups_with(0), Catalogue())
    assert scene.violations == []


def topics() -> Catalogue:
    catalogue = Catalogue()
    topic = Topic(
        name="t", topic_id=1, version=1, slots_version=1, write_queues=1, places=(Place(QUEUE, 0),),
        slots=(0,),
    )  # fmt: skip
    journal = MemoryJournal(catalogue)
    journal.append_state(encode_state(TopicPut(topic)), at(0), queue=1)
    return catalogue


def groups_with(generation: int) -> Groups:
    """The group as a journal has it, its queue granted by `generation`."""
    groups = Groups()
    journal = MemoryJournal(groups)
    group = Group(
        name="g", group_id=GROUP, model="clustering", strategy="sticky", topics=(),
        start=Position(), lease_ms=1_000,
    )  # fmt: skip
    rows = (GrantRow(QUEUE, generation, "m", None, 0),)
    for state in (GroupPut(group), Granted(GROUP, GROUP, rows)):
        journal.append_state(encode_state(state), at(0), queue=GROUP | GROUP_BIT)
    return groups


CATALOGUE = topics()
