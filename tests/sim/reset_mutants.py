"""Reset mutants: known bugs of what an operator does to groups, and of what a coordinator must know
when it comes back, planted in the real code, to be seen one at a time.

Owns these bugs, and those of broadcasting members' cursors, as `mutants.py` and the others do
theirs.
"""

from __future__ import annotations

from typing import Any

from shardmq.actors.coordinator.division import Division
from shardmq.actors.coordinator.granting import Granting
from shardmq.actors.coordinator.groups import GroupState
from shardmq.actors.coordinator.rebalancing import Rebalancing
from shardmq.actors.protocol.group_messages import Start
from shardmq.shards import grants
from shardmq.shards.state.cursors import Cursors

from .mutants import mutant


@mutant
def tells_shards_of_grants_that_are_not_durable() -> list[tuple[Any, str, Any]]:
    right = Granting.decided

    def decided(self: Any, pending: Any, mark: int) -> None:
        right(self, pending, 0)

    return [(Granting, "decided", decided)]


@mutant
def keeps_what_was_acked_through_a_reset() -> list[tuple[Any, str, Any]]:
    right = Cursors._grant

    def grant(self: Any, bucket: int, granted: Any) -> None:
        before = {one.queue: self.get(granted.group_id, one.queue) for one in granted.queues}
        right(self, bucket, granted)
        for one in granted.queues:
            known = before[one.queue]
            if known is not None:
                self.get(granted.group_id, one.queue).acked = known.acked

    return [(Cursors, "_grant", grant)]


@mutant
def resets_to_the_end_whatever_is_wanted() -> list[tuple[Any, str, Any]]:
    right = grants.Granting._one

    def one(self: Any, group_id: int, item: Any, rows: Any) -> Any:
        if item.reset:
            item.start = Start(at="latest")
        return right(self, group_id, item, rows)

    return [(grants.Granting, "_one", one)]


@mutant
def forgets_a_reset_when_its_queue_moves() -> list[tuple[Any, str, Any]]:
    return [(Division, "pending_reset", lambda self, queue: None)]


@mutant
def resets_again_with_every_later_grant() -> list[tuple[Any, str, Any]]:
    def pending_reset(self: Any, queue: int) -> Any:
        row = self._rows.get(queue)
        return None if row is None else row.reset

    return [(Division, "pending_reset", pending_reset)]


# --- broadcasting members --------------------------------------------------------------------


@mutant
def has_broadcasting_members_share_a_cursor() -> list[tuple[Any, str, Any]]:
    return [(GroupState, "cursor_id_of", lambda self, member: self.group.group_id)]


@mutant
def forgets_the_cursor_of_a_broadcasting_member_that_goes() -> list[tuple[Any, str, Any]]:
    right = Rebalancing._gone

    def gone(self: Any, member: Any, now: Any) -> None:
        right(self, member, now)
        self._groups.get(member.group_id).cursor_ids.pop(member.name, None)

    return [(Rebalancing, "_gone", gone)]
