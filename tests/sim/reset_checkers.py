"""Reset checkers: pure functions from what an operator asked, what shards answered and what the
logs hold to the promises that were broken.

Owns what a reset promises. Must not know the simulator (test_reset_checkers.py shows each checker a
history that breaks its promise). What needs the letters themselves is `cursor_wire.py`'s; that
everything behind a reset is handed out again is `group_checkers.undelivered`'s.

    claimed     a cursor has as done what lies below the place where it was set, what retention took
                and what members said since; nothing else
    misplaced   a cursor is set where the operator wants it
    unmoved     a reset that was answered as decided has reached its shard: with OK by then, else
                when the shard is back
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import ResetResult

from .checkers import Logs
from .cursor_log import Reset, position_in
from .group_history import GroupHistory, below
from .history import Fate, History, Violation

Topics = Mapping[int, str]
DECIDED = "the cursor moves when it is back"


def check_resets(
    groups: GroupHistory, history: History, logs: Logs, topic_of: Topics, *, steady: bool
) -> list[Violation]:
    """`logs` has the queues that exist; `steady`: the wall clock never stepped."""
    found = claimed(groups) + unmoved(groups, topic_of)
    return found + misplaced(groups, history, logs, steady=steady)


def claimed(groups: GroupHistory) -> list[Violation]:
    """claimed: answers to CURSORS against all that may be done."""
    found = []
    for one in groups.seen:
        if groups.groups[one.group].is_work:
            continue
        log = groups.cursor((one.group, one.queue))
        reset = log.last_reset(one.generation)
        floor = log.floor_of(reset)
        if floor is None:
            continue  # nobody knows where it began
        may_be = below(max(floor, one.earliest)) | log.said_since(reset, one.generation)
        if extra := one.done & ~may_be:
            lowest = (extra & -extra).bit_length() - 1
            text = f"{one.group} queue {one.queue}, asked at {one.asked_ms:.3f}: offset {lowest} is"
            text = f"{text} done, nobody said so; it was set to {floor} by generation {reset}"
            found.append(Violation("claimed", text))
    return found


def _results(groups: GroupHistory) -> Iterator[tuple[Reset, ResetResult]]:
    for reset in groups.resets:
        yield from ((reset, result) for result in reset.results)


def misplaced(
    groups: GroupHistory, history: History, logs: Logs, *, steady: bool
) -> list[Violation]:
    """misplaced: where cursors were set, or would have been (dry run), against the logs."""
    stored = [one for one in history.sends if one.fate is Fate.OK and one.ack == "synced"]
    found = []
    for reset, result in _results(groups):
        log = logs.get(result.queue)
        wish = reset.wish
        if result.code != Code.OK or log is None:
            continue
        wished = position_in(wish, result.queue_id)
        assert wished is not None, "only queues that were named are answered"
        known = [
            one.offset + 1
            for one in stored
            if one.queue == result.queue and one.ended_ms < reset.asked_ms
        ]
        latest, at = max(known, default=0), result.after
        passed = [one for one in log.messages if one.offset < at]
        right = at <= log.next
        if wished.at == "earliest":
            right &= not passed
        elif wished.at == "latest":
            right &= at >= latest
        elif wished.at == "offset":
            # Above it, if nothing between is there (any more); below, if it is behind the end.
            is_above = at > wished.offset and all(one.offset < wished.offset for one in passed)
            right &= at == wished.offset or is_above or latest <= at < wished.offset
        elif steady:
            right &= all(one.stored_at_ms < wished.time_ms for one in passed)
        if not right:
            text = f"{wish.group} queue {result.queue} was set to {at}, wanted was {wished}, asked"
            text = f"{text} at {reset.asked_ms:.3f}; it had {latest} at least, and has now"
            found.append(Violation("misplaced", f"{text} {log.earliest} to {log.next}"))
    return found


def unmoved(groups: GroupHistory, topic_of: Topics) -> list[Violation]:
    """unmoved: what was answered against what shards confirmed. `topic_of`: queues that exist."""
    found = []
    for reset, result in _results(groups):
        is_decided = result.code == Code.OK or DECIDED in result.message
        group = groups.groups.get(reset.wish.group)
        if reset.wish.dry_run or not is_decided or result.queue not in topic_of or group is None:
            continue
        log = groups.cursor((group.name, result.queue))
        limit_ms = reset.answered_ms if result.code == Code.OK else float("inf")
        moved = [
            began.floor
            for generation, began in log.began.items()
            if generation in log.resets and reset.asked_ms <= began.at_ms <= limit_ms
        ]
        where = f"{reset.wish.group} queue {result.queue}: a reset asked at {reset.asked_ms:.3f}"
        if not moved:
            text = f"{where} was answered with {result.code}, and no shard did it"
            found.append(Violation("unmoved", text))
        elif result.code == Code.OK and min(moved) > result.after:
            text = f"{where} set it to {min(moved)}, the answer says {result.after}"
            found.append(Violation("unmoved", text))
    return found
