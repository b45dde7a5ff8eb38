"""Group mutants: known bugs of consumer groups, planted in the real code, to be seen one at a time.

Owns these bugs, as `mutants.py` and `work_mutants.py` do the others.
"""

from __future__ import annotations

from array import array
from typing import Any

from shardmq.actors.coordinator import assignment, membership, rebalancing
from shardmq.actors.coordinator.division import Division
from shardmq.actors.coordinator.groups import Groups
from shardmq.actors.coordinator.membership import Membership
from shardmq.actors.protocol.group_messages import Start
from shardmq.shards import answers, filters, granted, grants, lag, nack
from shardmq.shards.cursors_log import CursorLog
from shardmq.shards.log.record import STATE
from shardmq.shards.scheduling import Sources
from shardmq.shards.state import cursors
from shardmq.shards.state.cursors import Cursors
from shardmq.shards.state.ranges import add
from shardmq.shards.state.records import SCHEDULED, tag_of
from shardmq.shards.state.schedule import Schedule

from .mutants import mutant

# --- cursors in the shard --------------------------------------------------------------------


@mutant
def accepts_every_generation_of_a_group() -> list[tuple[Any, str, Any]]:
    def fault_of_grant(cursor: Any, generation: int) -> str | None:
        return "not granted" if cursor is None else None

    return [(one, "fault_of_grant", fault_of_grant) for one in (answers, granted)]


@mutant
def answers_an_ack_before_it_is_durable() -> list[tuple[Any, str, Any]]:
    def answer(self: Any, request: Any, header: Any, out: list[Any]) -> None:
        out.append(request.answer(header))

    return [(CursorLog, "answer", answer)]


@mutant
def merges_ranges_one_offset_too_far() -> list[tuple[Any, str, Any]]:
    def add_more(bounds: array[int], start: int, stop: int) -> None:
        add(bounds, start, stop + 1)

    return [(cursors, "add", add_more)]


@mutant
def leaves_ranges_out_of_the_snapshot() -> list[tuple[Any, str, Any]]:
    right = Cursors.snapshot

    def snapshot(self: Any, bucket: int) -> Any:
        rows = right(self, bucket)
        return rows and [[*row[:-1], []] for row in rows]

    return [(Cursors, "snapshot", snapshot)]


@mutant
def does_not_restore_cursors_from_the_snapshot() -> list[tuple[Any, str, Any]]:
    return [(Cursors, "restore", lambda self, bucket, state: None)]


@mutant
def begins_anew_with_every_grant() -> list[tuple[Any, str, Any]]:
    right = grants.Granting._one

    def one(self: Any, group_id: int, item: Any, rows: Any) -> Any:
        item.reset, item.start = True, Start(at="earliest")
        return right(self, group_id, item, rows)

    return [(grants.Granting, "_one", one)]


@mutant
def filters_a_batch_by_its_first_tag() -> list[tuple[Any, str, Any]]:
    def selects(tags: frozenset[str], record: bytes) -> bool:
        names = filters.view_of(record).tag_names()
        return names is not None and names[0] in tags

    return [(filters, "_selects", selects)]


@mutant
def counts_acked_ranges_as_lag() -> list[tuple[Any, str, Any]]:
    return [(lag, "size_within", lambda *arguments: 0)]


# --- members and grants in the coordinator ---------------------------------------------------


@mutant
def takes_a_queue_before_its_holder_gave_it_back() -> list[tuple[Any, str, Any]]:
    right = Division.rebalance

    def rebalance(self: Any, plan: Any, wanted: Any, alive: Any, **options: Any) -> Any:
        return right(self, plan, wanted, {}, **options)

    return [(Division, "rebalance", rebalance)]


@mutant
def shows_a_queue_before_its_shard_has_answered() -> list[tuple[Any, str, Any]]:
    right = Division.granted

    def granted(self: Any, row: Any) -> None:
        right(self, row)
        self._unshown.discard(row.queue)
        self._unconfirmed.discard(row.queue)
        self._changed(row.member)

    return [(Division, "granted", granted)]


@mutant
def leaves_grants_out_of_the_snapshot() -> list[tuple[Any, str, Any]]:
    right = Groups.snapshot

    def snapshot(self: Any, bucket: int) -> Any:
        state = right(self, bucket)
        if state is None:
            return None
        return [state[0], [[group, ids, [], roster] for group, ids, _, roster in state[1]]]

    return [(Groups, "snapshot", snapshot)]


@mutant
def takes_members_for_gone_after_a_restart() -> list[tuple[Any, str, Any]]:
    return [(Membership, "expect", lambda self, *arguments: None)]


@mutant
def gives_a_lost_connection_no_time() -> list[tuple[Any, str, Any]]:
    return [(membership, "GONE_GRACE_MS", 0.0)]


@mutant
def never_misses_a_silent_member() -> list[tuple[Any, str, Any]]:
    return [(Membership, "late", lambda self, now: [])]


@mutant
def forgets_a_queue_in_the_assignment() -> list[tuple[Any, str, Any]]:
    right = assignment.assigned

    def assigned(strategy: Any, members: Any, queues: Any, current: Any) -> Any:
        wanted = right(strategy, members, queues, current)
        return {queue: member for queue, member in wanted.items() if queue != min(wanted)}

    return [(rebalancing, "assigned", assigned)]


# --- messages that failed --------------------------------------------------------------------


@mutant
def counts_every_failure_as_the_first() -> list[tuple[Any, str, Any]]:
    return [(Sources, "attempt_of", lambda self, offset: 1)]


@mutant
def gives_a_message_up_after_one_failure() -> list[tuple[Any, str, Any]]:
    return [(nack, "ATTEMPTS_MAX", 1)]


@mutant
def has_a_failed_message_come_again_at_once() -> list[tuple[Any, str, Any]]:
    right = nack._entry

    def entry(message: Any, lsn: int, due_ms: int, attempt: int, detail: str) -> Any:
        return right(message, lsn, 0, attempt, detail)

    return [(nack, "_entry", entry)]


@mutant
def does_not_end_an_entry_with_its_copy() -> list[tuple[Any, str, Any]]:
    return [(Schedule, "_end", lambda self, queue, names: None)]


@mutant
def schedules_a_failure_without_acking_it() -> list[tuple[Any, str, Any]]:
    right = Cursors.bucket_of

    def bucket_of(self: Any, record: Any) -> int:
        is_failure = record.kind == STATE and tag_of(record.payload) == SCHEDULED
        return -1 if is_failure else right(self, record)

    return [(Cursors, "bucket_of", bucket_of)]
