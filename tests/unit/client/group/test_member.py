"""Membership: the table, what leaves, and what a holder is told; on a manual clock."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import errors
from shardmq.client.group import member as module
from shardmq.client.group.member import Changes, Event, Membership, State, changes_of
from support.clients import Wired


def queue(number: int, generation: int = 1, *, revoked: bool = False) -> g.AssignedQueue:
    return g.AssignedQueue(
        topic="t", queue_id=number, queue=number, shard=0, generation=generation, revoked=revoked
    )


class Recorder:
    """A holder that writes down what it is told."""

    def __init__(self) -> None:
        self.group_ids: list[int] = []
        self.changes: list[Changes] = []
        self.errors: list[errors.ShardMQError] = []

    def joined(self, group_id: int, now: Now) -> None:
        del now
        self.group_ids.append(group_id)

    def changed(self, changes: Changes, now: Now) -> None:
        del now
        if changes != ([], [], []):
            self.changes.append(changes)

    def failed(self, error: errors.ShardMQError, now: Now) -> None:
        del now
        self.errors.append(error)


class Group:
    """A membership joined to a fake broker."""

    def __init__(self) -> None:
        self.wired = Wired()
        self.broker = self.wired.broker
        self.broker.create("t", 4)
        self.holder = Recorder()
        wish = g.GroupJoin(group="g", member="me", subscriptions=[g.Subscription(topic="t")])
        self.member = Membership(self.wired.core, wish, self.holder)

    def start(self) -> None:
        self.member.start(self.wired.now)
        self.wired.run()

    def tell(self) -> None:
        """Lets the broker answer whoever is parked."""
        for reply in self.broker._woken():
            self.wired.core.receive(reply, self.wired.now)
        self.wired.run()

    def seen(self, verb: Verb) -> list[Any]:
        kind: Any = {Verb.EVENTS: g.Events, Verb.GROUP_JOIN: g.GroupJoin}[verb]
        return [decode_header(h, kind) for r, h, _ in self.broker.seen if r.verb == verb]


@pytest.fixture
def group() -> Group:
    return Group()


def test_changes_name_what_is_new_revoked_and_gone_and_nothing_that_stays() -> None:
    held = {n: queue(n) for n in (1, 2, 3, 4)}
    told = [queue(1), queue(2, revoked=True), queue(4, 2), queue(5)]
    changes = changes_of(held, told)
    assert [one.queue for one in changes.new] == [4, 5]
    assert changes.revoked == [2]
    assert sorted(changes.gone) == [3, 4]


def test_the_table_of_the_docstring_is_the_table_of_the_code() -> None:
    assert module.__doc__ is not None
    lines = [line.split() for line in module.__doc__.splitlines() if line.startswith("    ")]
    states = [State[name] for name in lines[0][1:]]
    drawn = {}
    for event, *after in lines[1 : 1 + len(Event)]:
        for state, name in zip(states, after, strict=True):
            if name != "-":
                drawn[state, Event[event]] = State[name]
    assert drawn == module.TRANSITIONS


def test_a_member_joins_and_keeps_one_request_parked(group: Group) -> None:
    group.broker.give("me", "t", 0)
    group.start()
    assert (group.member.state, group.member.group_id) == (State.MEMBER, 7)
    assert [one.queue_id for one in group.holder.changes[0].new] == [0]
    assert [events.version for events in group.seen(Verb.EVENTS)] == [0, 2]
    assert len(group.broker.groups.parked) == 1
    assert group.seen(Verb.EVENTS)[0].wait_ms * 3 <= group.broker.groups.lease_ms


def test_a_revoked_queue_is_named_as_released_until_it_is_not_shown_any_more(group: Group) -> None:
    group.broker.give("me", "t", 0)
    group.start()
    [number] = group.member.held
    group.broker.groups.revoke("me", number)
    group.tell()
    assert group.holder.changes[1].revoked == [number]
    assert group.broker.groups.released == []
    group.member.release(number, group.wired.now)
    group.wired.run()
    assert group.broker.groups.released == [number]
    assert group.seen(Verb.EVENTS)[-1].released == []
    assert group.member.held == {}


def test_a_lost_answer_to_a_release_changes_nothing(group: Group) -> None:
    group.broker.give("me", "t", 0)
    group.start()
    [number] = group.member.held
    group.broker.groups.revoke("me", number)
    group.tell()
    group.broker.answer = lambda route, *_: "lost" if route.verb == Verb.EVENTS else None
    group.member.release(number, group.wired.now)
    group.wired.run()
    group.broker.answer = lambda *_: None
    group.wired.advance(20_000)
    assert group.broker.groups.released == [number]


def test_a_forgotten_member_joins_again_under_its_name_and_keeps_what_it_held(
    group: Group,
) -> None:
    group.broker.give("me", "t", 0, 1)
    group.start()
    kept = dict(group.broker.groups.held["me"])
    group.broker.groups.forget("me")
    group.broker.groups.held["me"] = kept
    group.tell()
    assert [join.member for join in group.seen(Verb.GROUP_JOIN)] == ["me", "me"]
    assert group.member.state is State.MEMBER
    assert len(group.holder.changes) == 1, "nothing moved"


def test_another_group_of_that_name_voids_what_was_held(group: Group) -> None:
    group.broker.give("me", "t", 0)
    group.start()
    group.broker.groups.forget("me")
    group.broker.groups.group_id = 8
    group.tell()
    assert group.holder.group_ids == [7, 8]
    assert group.member.held == {}


def test_a_refusal_for_good_is_told_and_ends_it(group: Group) -> None:
    group.broker.groups.members["other"] = g.GroupJoin(
        group="g", member="other", subscriptions=[g.Subscription(topic="u")]
    )
    group.start()
    assert group.member.state is State.FAILED
    [error] = group.holder.errors
    assert isinstance(error, errors.SubscriptionConflict)
    assert "other" in str(error)


def test_a_broker_that_does_not_answer_is_asked_again_and_again(group: Group) -> None:
    group.broker.answer = lambda route, *_: "lost" if route.verb == Verb.GROUP_JOIN else None
    group.start()
    group.wired.advance(25_000)
    assert group.member.state is State.JOINING
    group.broker.answer = lambda *_: None
    group.wired.advance(10_000)
    assert group.member.state is State.MEMBER


def test_leaving_is_told_and_what_comes_later_changes_nothing(group: Group) -> None:
    group.broker.give("me", "t", 0)
    group.start()
    group.member.leave(group.wired.now)
    group.wired.run()
    assert (group.member.state, group.broker.groups.left) == (State.LEFT, ["me"])
    group.member.start(group.wired.now)
    group.member.leave(group.wired.now)
    assert group.member.state is State.LEFT
    assert group.member.has_left


def test_leaving_before_it_joined_tells_nobody(group: Group) -> None:
    group.member.leave(group.wired.now)
    assert group.member.has_left
    assert not group.wired.core.outbox


def test_an_answer_that_never_comes_to_a_leave_ends_it_too(group: Group) -> None:
    group.start()
    group.broker.answer = lambda route, *_: "lost" if route.verb == Verb.GROUP_LEAVE else None
    group.member.leave(group.wired.now)
    group.wired.run()
    assert group.member.state is State.LEAVING
    group.wired.advance(5_000)
    assert group.member.has_left


def test_an_event_without_a_row_changes_nothing(group: Group) -> None:
    assert not group.member._move(Event.JOINED)
    assert group.member.state is State.IDLE
