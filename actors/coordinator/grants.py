"""Grants: who holds a queue is written to the journal, and from there goes to its shard.

Owns the step from "these queues go to those" to records, with the generations that they get. Who
shall have which queue is up to `rebalancing.py`, how shards are told to `granting.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ..kernel.ports import Now
from .division import Division
from .granting import Granting, Pending
from .groups import Groups, GroupState
from .ledger import Ledger
from .plans import NOBODY, Plan, Plans, grant_of
from .records import Granted, GrantRow, Position, QueuesGone, RosterChanged

__all__ = ["Grants"]

RECORD_ROWS_MAX = 1_024


class Grants:
    """Writes the grants of all groups. Every method that writes raises Refused when the journal
    takes nothing just now; what was written until then holds."""

    def __init__(self, ledger: Ledger, groups: Groups, plans: Plans, granting: Granting) -> None:
        self._ledger = ledger
        self._groups = groups
        self._plans = plans
        self._granting = granting

    def give(self, division: Division, pairs: list[tuple[int, str]], now: Now) -> None:
        """Queues of the division's plan go to members, as (queue, member)."""
        self._write(division, pairs, division.plan, {}, now)

    def again(
        self,
        division: Division,
        queues: Iterable[int],
        now: Now,
        *,
        resets: Mapping[int, Position] | None = None,
        above: int = 0,
    ) -> None:
        """Who holds queues, holds them with a new generation; above `above`, if that is higher.

        Args:
            resets: queues whose cursors move, and where to.
        """
        pairs = [
            (queue, row.member if (row := division.row(queue)) else NOBODY) for queue in queues
        ]
        self._write(division, pairs, division.plan, resets or {}, now, above)

    def let_go(self, division: Division, former_plan: Plan, now: Now) -> None:
        """Nobody holds queues that were in the former plan and are not in the division's."""
        plan = division.plan
        gone: list[int] = []
        unread: list[int] = []
        for queue in division.leftover():
            place = former_plan.get(queue)
            is_there = place is not None and self._plans.still_exists(place)
            (unread if is_there else gone).append(queue)
        if former_plan is not plan:
            for queue in former_plan.keys() - plan.keys():
                if not self._plans.still_exists(former_plan[queue]):
                    gone.append(queue)
        if gone:
            self._ledger.append(QueuesGone(division.group_id, tuple(sorted(set(gone)))), now)
            division.gone(gone)
        self._write(division, [(queue, NOBODY) for queue in unread], former_plan, {}, now)

    def enroll(self, state: GroupState, names: Iterable[str], now: Now) -> None:
        """The group's grants name none of its members: these are who is there."""
        there = dict.fromkeys(names)
        came = [name for name in there if name not in state.roster]
        went = [name for name in state.roster if name not in there]
        for first in range(0, max(len(came), len(went)), RECORD_ROWS_MAX):
            piece = slice(first, first + RECORD_ROWS_MAX)
            changed = RosterChanged(state.group.group_id, tuple(came[piece]), tuple(went[piece]))
            self._ledger.append(changed, now)

    def in_force(self, divisions: Iterable[Division], shard: int) -> Iterator[Pending]:
        """All grants on queues of a shard."""
        for division in divisions:
            state = self._groups.get(division.group_id)
            if state is None:
                continue
            plan = self._plans.of(state.group)
            for row in division.rows():
                place = plan.get(row.queue)
                if place is not None and place.shard == shard:
                    grant = grant_of(place, row, state.queue_max.get(division.cursor_id, 0))
                    yield Pending(shard, division.cursor_id, state.group.name, grant)

    def _write(
        self,
        division: Division,
        pairs: list[tuple[int, str]],
        places: Plan,
        resets: Mapping[int, Position],
        now: Now,
        above: int = 0,
    ) -> None:
        state = self._groups.get(division.group_id)
        assert state is not None, "queues are granted to a group that exists"
        queue_max = state.queue_max.get(division.cursor_id, 0)
        for first in range(0, len(pairs), RECORD_ROWS_MAX):
            rows = []
            for queue, member in pairs[first : first + RECORD_ROWS_MAX]:
                known = division.row(queue)
                generation = max(above, 0 if known is None else known.generation) + 1
                reset = resets.get(queue) or division.pending_reset(queue)
                rows.append(GrantRow(queue, generation, member, reset, places[queue].revision))
            granted = Granted(division.group_id, division.cursor_id, tuple(rows))
            mark = self._ledger.append(granted, now)
            for row in rows:
                division.granted(row)
                place = places[row.queue]
                grant = grant_of(place, row, queue_max)
                one = Pending(place.shard, division.cursor_id, state.group.name, grant)
                self._granting.decided(one, mark)
