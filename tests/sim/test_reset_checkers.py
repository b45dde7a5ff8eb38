"""The checkers of resets: each sees a history that breaks its promise, and passes one that does
not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import GroupReset, ResetQueue, ResetResult, Start
from sim.cursor_log import Began, CursorLog, Reset
from sim.group_history import Group, GroupHistory, Seen, below
from sim.history import History, QueueLog, Send, Stored, Violation
from sim.reset_checkers import DECIDED, check_resets

Logs = dict[int, QueueLog]
TOPICS = {1: "t"}


def honest() -> tuple[GroupHistory, History, Logs]:
    """Four messages are acked; a reset to offset 1 takes that back, and one is acked again."""
    groups, history = GroupHistory(), History()
    groups.groups["g"] = Group("g", {"t": "*"}, group_id=7)
    stored = [
        Stored(at, f"{at}".encode(), f"id-{at}", 9, at, None, None, 100 + at) for at in range(4)
    ]
    for at in range(4):
        send = Send(at, "p", "t", f"{at}".encode(), None, None, "synced", 0.0)
        history.give(send)
        history.acknowledged(send, 1, at, f"id-{at}", 5.0)
    log = groups.cursors[7, 1] = CursorLog()
    log.began = {1: Began(0, 1.0), 2: Began(1, 31.0)}
    log.resets = [2]
    log.said = {1: below(4), 2: 0b10}
    groups.seen.append(Seen("g", 1, 1, 20.0, 21.0, below(4), 0, 4, 0, 0))
    groups.seen.append(Seen("g", 1, 2, 40.0, 41.0, below(2), 0, 4, 2, 0))
    wish = GroupReset(group="g", topic="t", to=Start(at="offset", offset=1))
    result = ResetResult(queue_id=0, queue=1, before=4, after=1)
    groups.resets.append(Reset(wish, 30.0, 32.0, [result]))
    return groups, history, {1: QueueLog(0, 4, stored)}


def checked(groups: GroupHistory, history: History, logs: Logs) -> list[Violation]:
    return check_resets(groups, history, logs, TOPICS, steady=True)


def told(groups: GroupHistory, to: Start, after: int) -> None:
    """Another position was wanted, and answered with `after`."""
    groups.resets[0].wish.to = to
    groups.resets[0].results[0].after = after
    groups.cursors[7, 1].began[2] = Began(after, 31.0)


def test_an_honest_history_breaks_nothing() -> None:
    assert checked(*honest()) == []


@pytest.mark.parametrize(
    ("rule", "doctor"),
    [
        ("claimed", lambda groups: groups.cursors[7, 1].said.pop(2)),
        ("claimed", lambda groups: groups.cursors[7, 1].began.update({2: Began(0, 31.0)})),
        ("unmoved", lambda groups: groups.cursors[7, 1].resets.clear()),
        ("unmoved", lambda groups: groups.cursors[7, 1].began.update({2: Began(1, 33.0)})),
        ("unmoved", lambda groups: groups.cursors[7, 1].began.update({2: Began(2, 31.0)})),
        ("misplaced", lambda groups: told(groups, Start(at="offset", offset=1), 2)),
        ("misplaced", lambda groups: told(groups, Start(at="earliest"), 1)),
        ("misplaced", lambda groups: told(groups, Start(at="latest"), 3)),
        ("misplaced", lambda groups: told(groups, Start(at="latest"), 5)),
        ("misplaced", lambda groups: told(groups, Start(at="time", time_ms=102), 3)),
    ],
)
def test_a_doctored_history_is_seen(rule: str, doctor: Callable[[GroupHistory], object]) -> None:
    groups, history, logs = honest()
    doctor(groups)
    if rule == "claimed":
        groups.seen.append(Seen("g", 1, 1, 50.0, 51.0, below(4), 0, 4, 0, 0))
    assert rule in {one.rule for one in checked(groups, history, logs)}


@pytest.mark.parametrize(
    ("to", "after"),
    [
        (Start(at="earliest"), 0),
        (Start(at="latest"), 4),
        (Start(at="offset", offset=100), 4),
        (Start(at="time", time_ms=102), 2),
        (Start(at="time", time_ms=0), 0),
    ],
)
def test_a_position_is_what_the_log_says(to: Start, after: int) -> None:
    groups, history, logs = honest()
    told(groups, to, after)
    groups.seen.clear()
    assert checked(groups, history, logs) == []


def test_a_shard_that_was_down_resets_its_queue_when_it_is_back() -> None:
    groups, history, logs = honest()
    result = ResetResult(queue_id=0, queue=1, code=Code.UNAVAILABLE, message=f"down; {DECIDED}")
    groups.resets[0].results = [result]
    groups.cursors[7, 1].began[2] = Began(1, 500.0)
    assert checked(groups, history, logs) == []
    del groups.cursors[7, 1].began[2]
    groups.seen.pop()
    assert [one.rule for one in checked(groups, history, logs)] == ["unmoved"]


def test_a_reset_of_single_queues_is_held_to_their_offsets() -> None:
    groups, history, logs = honest()
    groups.resets[0].wish.queues = [ResetQueue(queue_id=0, offset=1)]
    groups.resets[0].wish.to = Start(at="latest")
    assert checked(groups, history, logs) == []
