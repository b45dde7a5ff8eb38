"""A division: a queue changes hands only when its holder has let go, and aims are reached."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shardmq.actors.coordinator import division as module
from shardmq.actors.coordinator.assignment import assigned
from shardmq.actors.coordinator.division import Division, capped
from shardmq.actors.coordinator.plans import Place, Plan
from shardmq.actors.coordinator.records import GrantRow, Position
from shardmq.actors.protocol.group_messages import HeldQueue

QUEUES = range(1, 7)
UNTIL_MS = 100.0


def plan_of(queues: range = QUEUES) -> Plan:
    return {queue: Place(queue, 0, "orders", 1, queue - 1, "*", Position(), 0) for queue in queues}


def aim(division: Division, *members: str, settled: bool = True) -> list[tuple[int, str]]:
    plan = plan_of()
    wanted = assigned("sticky", members, [list(plan)], division.current())
    alive = dict.fromkeys(members, UNTIL_MS)
    return division.rebalance(plan, wanted, alive, may_revoke=settled)


def grant(division: Division, *pairs: tuple[int, str], confirm: bool = True) -> None:
    for queue, member in pairs:
        known = division.row(queue)
        division.granted(GrantRow(queue, 1 + (known.generation if known else 0), member))
        if confirm:
            division.confirmed(queue)


def shown(division: Division, member: str) -> dict[int, bool]:
    return {one.queue: one.revoked for one in division.view(member)}


def held(division: Division, *queues: int) -> list[HeldQueue]:
    found = []
    for queue in queues:
        row = division.row(queue)
        assert row is not None
        found.append(HeldQueue(queue=queue, generation=row.generation))
    return found


def new() -> Division:
    return Division(1, 1, {})


def test_free_queues_are_granted_at_once_and_shown_when_confirmed() -> None:
    division = new()
    pairs = aim(division, "a")
    assert pairs == [(queue, "a") for queue in QUEUES]
    grant(division, *pairs, confirm=False)
    assert (shown(division, "a"), division.is_waiting("a")) == ({}, True)
    for queue in QUEUES:
        division.confirmed(queue)
    assert (list(shown(division, "a")), division.is_waiting("a")) == (list(QUEUES), False)
    assert list(division.news) == ["a"]


def test_a_held_queue_is_revoked_first_and_granted_when_it_is_released() -> None:
    division = new()
    grant(division, *aim(division, "a"))
    assert aim(division, "a", "b") == []
    revoked = [queue for queue, is_revoked in shown(division, "a").items() if is_revoked]
    assert (len(revoked), division.moving) == (3, 3)
    assert division.released("a", held(division, revoked[0]))
    assert aim(division, "a", "b") == [(revoked[0], "b")]
    grant(division, (revoked[0], "b"))
    assert list(shown(division, "b")) == [revoked[0]]
    assert revoked[0] not in shown(division, "a")


def test_a_release_by_a_former_generation_says_nothing() -> None:
    division = new()
    grant(division, *aim(division, "a"))
    old = held(division, 1)
    grant(division, (1, "a"))
    assert not division.released("a", old)
    assert not division.released("b", held(division, 1))
    assert division.released("a", held(division, 1))
    assert not division.released("a", held(division, 1)), "told again"


def test_a_released_queue_that_is_wanted_back_is_granted_anew() -> None:
    division = new()
    grant(division, *aim(division, "a"))
    aim(division, "a", "b")
    division.released("a", held(division, 6))
    assert (6, "a") in aim(division, "a")


def test_a_grant_that_was_never_shown_needs_no_release() -> None:
    division = new()
    grant(division, *aim(division, "a"), confirm=False)
    assert len(aim(division, "a", "b")) == 3


def test_a_holder_that_takes_too_long_loses_the_queue() -> None:
    division = new()
    grant(division, *aim(division, "a"))
    aim(division, "a", "b")
    assert division.impatient_at_ms == UNTIL_MS
    assert not division.impatient(UNTIL_MS - 1)
    assert division.impatient(UNTIL_MS)
    assert len(shown(division, "a")) == 3
    assert len(aim(division, "a", "b")) == 3
    assert division.impatient_at_ms is None


def test_while_members_return_nothing_is_taken_from_anybody() -> None:
    division = new()
    grant(division, *aim(division, "a"))
    assert aim(division, "a", "b", settled=False) == []
    assert not any(shown(division, "a").values())


def test_after_a_restart_grants_are_in_force_and_shown_when_they_are_confirmed() -> None:
    rows = {queue: GrantRow(queue, 4, "a") for queue in QUEUES}
    division = Division(1, 1, rows)
    assert aim(division, "a") == []
    assert (shown(division, "a"), division.is_waiting("a")) == ({}, True)
    assert division.holders() == ["a"]
    assert aim(division, "a", "b") == [], "they may be in use"
    for queue in QUEUES:
        division.confirmed(queue)
    assert (list(shown(division, "a")), division.is_waiting("a")) == (list(QUEUES), False)


def test_a_reset_goes_over_to_the_next_grant_until_it_is_confirmed() -> None:
    division = new()
    earliest = Position("earliest")
    division.granted(GrantRow(1, 1, "a", earliest))
    assert division.pending_reset(1) == earliest
    division.confirmed(1)
    assert division.pending_reset(1) is None


def test_after_a_restart_a_reset_is_confirmed_before_the_queue_moves() -> None:
    division = Division(1, 1, {1: GrantRow(1, 4, "", Position("earliest"))})
    assert 1 not in dict(aim(division, "a"))
    assert division.confirmed(1), "a rebalance waited for it"
    assert (1, "a") in aim(division, "a")


def test_queues_that_left_the_plan_are_left_over_until_somebody_acts() -> None:
    division = new()
    grant(division, *aim(division, "a"))
    few = plan_of(range(1, 3))
    division.rebalance(few, dict.fromkeys(few, "a"), {"a": UNTIL_MS}, may_revoke=True)
    assert sorted(division.leftover()) == [3, 4, 5, 6]
    assert list(shown(division, "a")) == [1, 2]
    division.gone([3, 4])
    grant(division, (5, ""), (6, ""))
    assert (division.leftover(), division.row(3), division.held_by("a")) == ([], None, 2)


def test_a_view_is_made_once_for_all_who_are_shown_the_same() -> None:
    division = new()
    grant(division, *aim(division, "a"))
    assert division.view("a") is division.view("a")
    former = division.view("a")
    grant(division, (1, "a"))
    assert division.view("a") != former
    division.released("a", held(division, 2))
    assert 2 not in shown(division, "a")


def test_nobody_gets_more_than_fits_in_an_answer() -> None:
    count = module.MEMBER_QUEUES_MAX + 10
    wanted = dict.fromkeys(range(count), "a") | {count: "b"}
    assert len(capped(wanted)) == module.MEMBER_QUEUES_MAX + 1
    assert capped(wanted)[count] == "b"


class Machine(RuleBasedStateMachine):
    """Members that come, go, listen and release; a shard that confirms when it likes.

    What a member believes is what it was shown last, less what it has released: at no time may two
    that are alive believe in the same queue with different generations in force.
    """

    @initialize()
    def starts(self) -> None:
        self.division = new()
        self.alive: set[str] = set()
        self.believes: dict[str, dict[int, int]] = {}
        self.unconfirmed: set[int] = set()

    def rebalance(self) -> None:
        for queue, member in aim(self.division, *sorted(self.alive)):
            row = self.division.row(queue)
            generation = 1 + (row.generation if row else 0)
            for name, believed in self.believes.items():
                assert name == member or queue not in believed, "granted while it is used"
            self.division.granted(GrantRow(queue, generation, member))
            self.unconfirmed.add(queue)

    @rule(name=st.sampled_from("abc"))
    def comes(self, name: str) -> None:
        self.alive.add(name)
        self.believes.setdefault(name, {})
        self.rebalance()

    @rule(name=st.sampled_from("abc"))
    def goes(self, name: str) -> None:
        self.alive.discard(name)
        self.believes.pop(name, None)
        self.rebalance()

    @rule(name=st.sampled_from("abc"), lets_go=st.booleans())
    def listens(self, name: str, lets_go: bool) -> None:
        if name not in self.alive:
            return
        view = self.division.view(name)
        believed = {one.queue: one.generation for one in view}
        released = [
            HeldQueue(queue=one.queue, generation=one.generation)
            for one in view
            if one.revoked and lets_go
        ]
        for one in released:
            del believed[one.queue]
        self.believes[name] = believed
        if self.division.released(name, released):
            self.rebalance()

    @rule(queue=st.sampled_from(list(QUEUES)))
    def shard_confirms(self, queue: int) -> None:
        if queue in self.unconfirmed:
            self.unconfirmed.discard(queue)
            self.division.confirmed(queue)

    @invariant()
    def one_believer(self) -> None:
        believers = [queue for one in self.believes.values() for queue in one]
        assert len(believers) == len(set(believers))

    @invariant()
    def what_is_shown_is_what_is_so(self) -> None:
        for name in "abc":
            known = self.division.view(name)
            self.division._last_view = None
            assert self.division.view(name) == known

    def teardown(self) -> None:
        if not self.alive:
            return
        for _ in range(4):
            for queue in sorted(self.unconfirmed):
                self.shard_confirms(queue)
            for name in sorted(self.alive):
                self.listens(name, True)
        sizes = [len(self.division.view(name)) for name in self.alive]
        assert sum(sizes) == len(QUEUES)
        assert max(sizes) - min(sizes) <= 1
        assert self.division.moving == 0


Machine.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestDivisionAgainstBelief = Machine.TestCase
