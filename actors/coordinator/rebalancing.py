"""Rebalancing: queues follow the members, and each member learns what it holds.

Owns the divisions, and does for each event what it takes: a new aim, and the grants for it. How
queues move is `division.py`'s, who is there `membership.py`'s, what is written down `grants.py`'s,
the talk with shards `granting.py`'s and that with members `parking.py`'s.

Nothing is done while an event is handled but noting it; the turn's end does all of it once. A group
is rebalanced at once, and then not again before SETTLE_MS: when many members come together, the
first gets everything and a moment later all have their share.

A member is shown only grants that shards have confirmed, in this run of the coordinator.

In a work group one holder that is always there has all queues, EVERYBODY. Members are shown what it
holds, and nothing moves when they come and go; only their names are written down, for a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import cast

from ..kernel.ports import Letter, Now
from ..protocol.codes import Code
from ..protocol.group_messages import AssignedQueue, Events, Strategy
from ..protocol.work_messages import EVERYBODY
from .assignment import assigned, in_common
from .division import Division
from .granting import Granting, Outcome, Pending
from .grants import Grants
from .groups import Groups, GroupState
from .ledger import REFUSAL_RETRY_MS, Ledger
from .membership import Member, Membership
from .parking import Asker, Parking
from .plans import Plans, pools_of
from .records import Position
from .timers import Timers
from .topics import Refused

__all__ = ["SETTLE_MS", "Rebalancing"]

SETTLE_MS = 50.0
"""Between two rebalances of one group."""
TURN_DIVISIONS_MAX = 64
"""Divisions in one turn, so that a topic that many groups read, or a restart, stops nobody."""


class Rebalancing:
    """All groups of one coordinator."""

    def __init__(
        self,
        ledger: Ledger,
        groups: Groups,
        plans: Plans,
        membership: Membership,
        granting: Granting,
    ) -> None:
        self._groups = groups
        self._plans = plans
        self._membership = membership
        self._granting = granting
        self._grants = Grants(ledger, groups, plans, granting)
        self._parking = Parking(ledger.epoch, view=self._view, is_ready=self._is_ready)
        self._divisions: dict[int, Division] = {}
        self._due: Timers[Division] = Timers()
        self._impatient: Timers[Division] = Timers()
        self._touched: dict[Division, None] = {}  # no set: its order differs from run to run
        self.rebalances = self.forced = 0
        """Counters since the start."""

    @property
    def wake_at_ms(self) -> float | None:
        moments = (
            self._membership.wake_at_ms,
            self._parking.wake_at_ms,
            self._due.wake_at_ms,
            self._impatient.wake_at_ms,
        )
        return min((one for one in moments if one is not None), default=None)

    @property
    def parked(self) -> int:
        """EVENTS that wait."""
        return len(self._parking)

    def division(self, state: GroupState, cursor_id: int) -> Division:
        """The division of a cursor id; a new one, if it never had a member."""
        division = self._divisions.get(cursor_id)
        if division is None:
            group_id, rows = state.group.group_id, state.granted(cursor_id)
            division = self._divisions[cursor_id] = Division(group_id, cursor_id, rows)
            division.plan = self._plans.of(state.group)
        return division

    def divisions_of(self, state: GroupState) -> Iterator[tuple[str, Division]]:
        """(member it belongs to, division) of a group; one for "" when clustering."""
        for member, cursor_id in (("", state.group.group_id), *state.cursor_ids.items()):
            division = self._divisions.get(cursor_id)
            if division is not None:
                yield member, division

    # --- events --------------------------------------------------------------------------------

    def start(self, now: Now) -> None:
        """Grants in force name members: all count as alive for one lease."""
        for state in self._groups.all():
            group = state.group
            for cursor_id in state.grants:
                division = self.division(state, cursor_id)
                for member in state.roster if state.is_work else division.holders():
                    if member != EVERYBODY:  # of a former model, and not yet granted anew
                        self._membership.expect(group.group_id, member, group.lease_ms, now)
                self.want(division, now)
            for one in self._membership.of(group.group_id).values():
                self._parking.news(one)

    def joined(
        self, state: GroupState, cursor_id: int, name: str, lease_ms: int, asker: Asker, now: Now
    ) -> None:
        """A member came, or came back."""
        group_id = state.group.group_id
        known = self._membership.get(group_id, name)
        if known is not None and self._parking.is_overtaken(known, asker):
            return  # the connection is one that it has given up since
        was_settled = self._membership.is_settled(group_id)
        is_new = self._membership.join(group_id, name, lease_ms, asker.session, now)
        is_first = cursor_id not in self._divisions
        division = self.division(state, cursor_id)
        if is_new:
            self._parking.news(self._membership.of(group_id)[name])
        if is_new or is_first:
            self.want(division, now)
        self._settled(group_id, was_settled, now)

    def events(self, wish: Events, asker: Asker, now: Now) -> None:
        """A member asks for what it holds, and waits for news.

        Raises:
            Refused: there is no such member, or it has asked again since.
        """
        member, division = self._member(wish.group_id, wish.member)
        wait_ms = min(wish.wait_ms, asker.route.tail, member.lease_ms / 3)
        self._parking.park(member, asker, wish.version, now.mono_ms + wait_ms)
        was_settled = self._membership.is_settled(member.group_id)
        self._membership.heard(member, asker.session, now)
        self._settled(member.group_id, was_settled, now)
        if wish.released and division.released(wish.member, wish.released):
            self._want_at(division, now.mono_ms)

    def left(self, group_id: int, name: str, now: Now) -> None:
        """A member goes. Raises Refused if there is none. Should nobody be left, the journal has it
        with the answer: after a restart nobody waits for the lease of one who said good-bye."""
        member, division = self._member(group_id, name)
        self._membership.leave(member)
        self._gone(member, now)
        if division.cursor_id != member.group_id or not self._membership.of(member.group_id):
            self._due.drop(division)
            self._rebalance(division, now)

    def topic_changed(self, topic_id: int, now: Now) -> None:
        """A topic is new, has other queues, or is gone; durably."""
        for group_id in self._plans.topic_changed(topic_id):
            state = self._groups.get(group_id)
            if state is not None:
                self.group_changed(state, now)

    def group_changed(self, state: GroupState, now: Now) -> None:
        """A group reads other queues, or divides them in another way."""
        for _, division in self.divisions_of(state):
            self.want(division, now)

    def forget(self, cursor_ids: Sequence[int]) -> None:
        """Groups, or members' own cursors, are gone."""
        self._granting.forget(cursor_ids)
        for cursor_id in cursor_ids:
            division = self._divisions.pop(cursor_id, None)
            if division is not None:
                self._due.drop(division)
                self._impatient.drop(division)
                self._touched.pop(division, None)

    def want(self, division: Division, now: Now) -> None:
        """The division wants to be rebalanced."""
        self._want_at(division, max(now.mono_ms, division.rebalanced_at_ms + SETTLE_MS))

    def outcome(self, outcome: Outcome, now: Now) -> None:
        """A shard has a grant, or knows a later one."""
        division = self._divisions.get(outcome.cursor_id)
        if division is None:
            return
        self._touched[division] = None
        asked, result = outcome.asked, outcome.result
        row = division.row(asked.queue)
        if row is None or row.generation != asked.generation:
            return
        if result.code == Code.OK:
            if division.confirmed(asked.queue):
                self.want(division, now)
            return
        try:  # Whatever made it so, the next generation is above both.
            self.grant_again(division, [asked.queue], now, above=result.generation)
        except Refused:
            self._granting.put_off(outcome, now)

    def in_force(self, shard: int) -> Iterator[Pending]:
        """All grants on queues of a shard."""
        return self._grants.in_force(self._divisions.values(), shard)

    # --- the turn's end ------------------------------------------------------------------------

    def turn(self, now: Now) -> list[Letter]:
        """Does what events and time have made necessary."""
        for member in self._membership.late(now):
            self._gone(member, now)
        for division in self._impatient.due(now.mono_ms):
            if division.impatient(now.mono_ms):
                self.forced += 1
                self._want_at(division, now.mono_ms)
            self._watch(division)
        due = self._due.due(now.mono_ms)
        for division in due[:TURN_DIVISIONS_MAX]:
            self._rebalance(division, now)
        for division in due[TURN_DIVISIONS_MAX:]:
            self._due.set(division, now.mono_ms)
        for division in self._touched:
            there = self._membership.of(division.group_id)
            for name in there if EVERYBODY in division.news else division.news:
                known = there.get(name)
                if known is not None:
                    self._parking.news(known)
            division.news.clear()
        self._touched.clear()
        return self._parking.letters(now)

    def stop(self, text: str, now: Now) -> list[Letter]:
        """Decides what would be due in a moment, and answers all who wait."""
        for division in self._due.due(now.mono_ms + SETTLE_MS)[:TURN_DIVISIONS_MAX]:
            self._rebalance(division, now)
        return self._parking.stop(text)

    # --- one division --------------------------------------------------------------------------

    def _rebalance(self, division: Division, now: Now) -> None:
        division.rebalance_at_ms = None
        division.rebalanced_at_ms = now.mono_ms
        found = self._groups.of_cursor_id(division.cursor_id)
        if found is None:
            return
        state, own = found
        self.rebalances += 1
        self._touched[division] = None
        former_plan, plan = division.plan, self._plans.of(state.group)
        members = self._members_of(state, own)
        settled = self._membership.is_settled(state.group.group_id)
        if state.is_work and not own:
            wanted, alive = in_common(list(plan), division.current()), {EVERYBODY: inf}
        else:
            strategy = cast(Strategy, state.group.strategy)
            pools = pools_of(plan, state.group)
            wanted = assigned(strategy, list(members), pools, division.current())
            alive = {name: now.mono_ms + member.lease_ms for name, member in members.items()}
        free = division.rebalance(plan, wanted, alive, may_revoke=settled)
        try:
            self._grants.let_go(division, former_plan, now)
            self._grants.give(division, free, now)
            if not own:
                self._grants.enroll(state, members if state.is_work else (), now)
        except Refused:
            division.plan = former_plan  # what is not read any more has yet to be let go
            self._want_at(division, now.mono_ms + REFUSAL_RETRY_MS)
        self._watch(division)
        # Who waits for the first answer of this run may have waited for no more than this.
        for member in members.values():
            self._parking.look_at(member)

    def grant_again(
        self,
        division: Division,
        queues: Iterable[int],
        now: Now,
        *,
        resets: Mapping[int, Position] | None = None,
        above: int = 0,
    ) -> None:
        """Who holds queues, holds them with a new generation: see `Grants.again`.

        Raises:
            Refused: the journal takes nothing just now.
        """
        self._touched[division] = None
        self._grants.again(division, queues, now, resets=resets, above=above)

    def _members_of(self, state: GroupState, own: str) -> dict[str, Member]:
        """Who shares a division. `own`: the member that has it for itself."""
        members = self._membership.of(state.group.group_id)
        if bool(own) != (state.group.model == "broadcasting"):
            return {}  # the group has changed its model; these are cursors of the other one
        if not own:
            return members
        return {own: members[own]} if own in members else {}

    # --- helpers -------------------------------------------------------------------------------

    def _member(self, cursor_id: int, name: str) -> tuple[Member, Division]:
        found = self._groups.of_cursor_id(cursor_id)
        division = self._divisions.get(cursor_id)
        if found is not None and division is not None:
            state, _ = found
            member = self._membership.get(state.group.group_id, name)
            if member is not None and state.cursor_id_of(name) == cursor_id:
                return member, division
        text = f"{name[:80]!r} is no member of group {cursor_id} (any more); join again"
        raise Refused(Code.UNKNOWN_MEMBER, text)

    def _view(self, member: Member) -> list[AssignedQueue]:
        division, holder = self._holding_of(member)
        return [] if division is None else division.view(holder)

    def _is_ready(self, member: Member) -> bool:
        division, holder = self._holding_of(member)
        if division is None:
            return True
        # What everybody has, stays: the next rebalance can only add to it.
        stays = holder == EVERYBODY and division.held_by(EVERYBODY) > 0
        is_due = division.rebalance_at_ms is not None
        return (stays or not is_due) and not division.is_waiting(holder)

    def _holding_of(self, member: Member) -> tuple[Division | None, str]:
        """The division that a member takes part in, and in whose name it holds queues there."""
        state = self._groups.get(member.group_id)
        if state is None:
            return None, member.name
        division = self._divisions.get(state.cursor_id_of(member.name))
        return division, state.holder_of(member.name)

    def _gone(self, member: Member, now: Now) -> None:
        self._parking.gone(member)
        division, holder = self._holding_of(member)
        if division is not None:
            if holder != EVERYBODY:
                division.abandoned(holder)
            self.want(division, now)

    def _settled(self, group_id: int, was_settled: bool, now: Now) -> None:
        state = self._groups.get(group_id)
        if state is not None and not was_settled and self._membership.is_settled(group_id):
            self.group_changed(state, now)

    def _want_at(self, division: Division, at_ms: float) -> None:
        if division.rebalance_at_ms is None or at_ms < division.rebalance_at_ms:
            division.rebalance_at_ms = at_ms
            self._due.set(division, at_ms)

    def _watch(self, division: Division) -> None:
        at_ms = division.impatient_at_ms
        if at_ms is None:
            self._impatient.drop(division)
        else:
            self._impatient.set(division, at_ms)
