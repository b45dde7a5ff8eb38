"""Membership on a manual clock: who is there, and who has been silent for too long."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shardmq.actors.coordinator.membership import (
    GONE_GRACE_MS,
    STALL_MS,
    TRANSITIONS,
    Event,
    Member,
    Membership,
    State,
)
from support.clock import ManualClock
from support.manual import at

LEASE_MS = 10_000


def there(members: Membership, group_id: int, name: str) -> Member:
    found = members.get(group_id, name)
    assert found is not None
    return found


def names(gone: list[Member]) -> list[str]:
    return [member.name for member in gone]


@pytest.fixture
def members() -> Membership:
    return Membership()


def test_a_silent_member_is_gone_when_its_lease_is_over(members: Membership) -> None:
    assert members.join(1, "a", LEASE_MS, "s", at(0))
    assert members.wake_at_ms == LEASE_MS
    assert members.late(at(LEASE_MS - 1)) == []
    assert names(members.late(at(LEASE_MS))) == ["a"]
    assert (len(members), members.expired, members.of(1)) == (0, 1, {})


def test_signs_of_life_put_the_lease_off(members: Membership) -> None:
    members.join(1, "a", LEASE_MS, "s", at(0))
    for now in range(3_000, 40_000, 3_000):
        members.heard(there(members, 1, "a"), "s", at(now))
        assert members.late(at(now)) == []
    assert there(members, 1, "a").state is State.STABLE
    for now in range(39_000, 39_000 + LEASE_MS, 500):
        assert members.late(at(now)) == []
    assert names(members.late(at(39_000 + LEASE_MS))) == ["a"]


def test_who_joins_again_is_the_same_member(members: Membership) -> None:
    members.join(1, "a", LEASE_MS, "s", at(0))
    before = there(members, 1, "a")
    assert not members.join(1, "a", 5_000, "t", at(1))
    assert there(members, 1, "a") is before
    assert (before.session, before.lease_ms) == ("t", 5_000)


def test_who_leaves_is_gone_at_once(members: Membership) -> None:
    members.join(1, "a", LEASE_MS, "s", at(0))
    member = there(members, 1, "a")
    members.leave(member)
    assert (members.get(1, "a"), member.state, members.left) == (None, State.GONE, 1)
    assert members.late(at(LEASE_MS)) == []


def test_a_closed_connection_leaves_a_moment_to_come_back(members: Membership) -> None:
    for name in ("killed", "back"):
        members.join(1, name, LEASE_MS, f"session of {name}", at(0))
    members.join(2, "other", LEASE_MS, "elsewhere", at(0))
    members.sessions_gone(["session of killed", "session of back", "unknown"], at(100))
    assert there(members, 1, "killed").state is State.LOST
    members.heard(there(members, 1, "back"), "new session", at(200))
    assert members.wake_at_ms == 100 + GONE_GRACE_MS
    assert names(members.late(at(100 + GONE_GRACE_MS))) == ["killed"]
    assert there(members, 1, "back").state is State.STABLE


def test_the_end_of_a_former_connection_means_nothing(members: Membership) -> None:
    members.join(1, "a", LEASE_MS, "old", at(0))
    members.heard(there(members, 1, "a"), "new", at(10))
    members.sessions_gone(["old"], at(20))
    assert there(members, 1, "a").state is State.STABLE
    assert members.late(at(1_000)) == []


def test_the_grace_never_makes_a_lease_longer(members: Membership) -> None:
    members.join(1, "a", 1_000, "s", at(0))
    members.sessions_gone(["s"], at(900))
    assert names(members.late(at(1_000))) == ["a"]


def test_after_a_restart_holders_have_one_lease_to_return(members: Membership) -> None:
    for name in ("a", "b", "a"):
        members.expect(1, name, LEASE_MS, at(0))
    assert (len(members), members.is_settled(1)) == (2, False)
    members.heard(there(members, 1, "a"), "s", at(5_000))
    assert not members.is_settled(1)
    assert names(members.late(at(LEASE_MS))) == ["b"]
    assert members.is_settled(1)
    assert there(members, 1, "a").state is State.STABLE


def test_who_returns_by_joining_is_no_new_member(members: Membership) -> None:
    members.expect(1, "a", LEASE_MS, at(0))
    assert not members.join(1, "a", LEASE_MS, "s", at(1))
    assert members.is_settled(1)
    assert there(members, 1, "a").state is State.JOINING


def test_a_coordinator_that_was_stopped_blames_nobody(members: Membership) -> None:
    for name in ("a", "b"):
        members.join(1, name, LEASE_MS, "s", at(0))
    resumed = LEASE_MS + STALL_MS + 1
    assert members.late(at(resumed)) == []
    members.heard(there(members, 1, "a"), "s", at(resumed + 10))
    assert names(members.late(at(resumed + STALL_MS))) == ["b"]


def test_every_state_has_an_outcome_for_every_event() -> None:
    left_out = {
        (state, event) for state in State for event in Event if (state, event) not in TRANSITIONS
    }
    gone = {(State.GONE, event) for event in Event}
    assert left_out == gone | {(State.RETURNING, Event.DISCONNECTED)}


class Machine(RuleBasedStateMachine):
    """Against a model that keeps only the moment at which each member would be gone."""

    def __init__(self) -> None:
        super().__init__()
        self.members = Membership()
        self.clock = ManualClock()
        self.model: dict[tuple[int, str], tuple[float, str]] = {}

    groups = st.integers(1, 2)
    who = st.sampled_from(["a", "b", "c"])
    sessions = st.sampled_from(["s", "t"])

    @rule(group=groups, name=who, session=sessions)
    def joins(self, group: int, name: str, session: str) -> None:
        now = self.clock.now()
        is_new = self.members.join(group, name, LEASE_MS, session, now)
        assert is_new == ((group, name) not in self.model)
        self.model[group, name] = (now.mono_ms + LEASE_MS, session)

    @rule(group=groups, name=who, session=sessions)
    def is_heard_of(self, group: int, name: str, session: str) -> None:
        member = self.members.get(group, name)
        assert (member is None) == ((group, name) not in self.model)
        if member is not None:
            now = self.clock.now()
            self.members.heard(member, session, now)
            self.model[group, name] = (now.mono_ms + LEASE_MS, session)

    @rule(group=groups, name=who)
    def leaves(self, group: int, name: str) -> None:
        member = self.members.get(group, name)
        if member is not None:
            self.members.leave(member)
            del self.model[group, name]

    @rule(session=sessions)
    def connection_ends(self, session: str) -> None:
        now = self.clock.now()
        self.members.sessions_gone([session], now)
        for key, (gone_at, held) in self.model.items():
            if held == session:
                self.model[key] = (min(gone_at, now.mono_ms + GONE_GRACE_MS), "")

    @rule(span=st.sampled_from([1, 100, 399, 400, 900]))
    def time_passes(self, span: int) -> None:
        now = self.clock.advance(span)
        gone = {(member.group_id, member.name) for member in self.members.late(now)}
        expected = {key for key, (gone_at, _) in self.model.items() if gone_at <= now.mono_ms}
        assert gone == expected
        for key in expected:
            del self.model[key]

    @invariant()
    def all_are_there(self) -> None:
        assert len(self.members) == len(self.model)
        for group in (1, 2):
            expected = {name for group_id, name in self.model if group_id == group}
            assert set(self.members.of(group)) == expected


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestMembershipAgainstItsModel = Machine.TestCase
