"""The checkers of retries: each sees a history that breaks its promise."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sim.group_history import Group, GroupHistory, Nacked
from sim.history import History, QueueLog, Send, Stored, Violation
from sim.retry_checkers import check_retries, waiting

Logs = dict[int, QueueLog]
TOPICS = {1: "t", 2: "%RETRY%g", 3: "%DLQ%g"}


def copy(offset: int, number: int, attempt: int, stored_at_ms: int) -> Stored:
    return Stored(
        offset, f"body {number}".encode(), f"id-{number}", 9, offset, None, "a", stored_at_ms,
        {"%ATTEMPT": str(attempt)},
    )  # fmt: skip


def honest() -> tuple[GroupHistory, History, Logs]:
    """Two messages fail: one comes again once, the other twice, and is a dead letter then."""
    groups, history = GroupHistory(), History()
    groups.groups["g"] = Group("g", {"t": "*"}, retries=True, max_attempts=3)
    for number in (0, 1):
        history.give(
            Send(number, "p", "t", f"body {number}".encode(), None, None, "synced", 0.0, tag="a")
        )
    for number, attempt in ((0, 1), (1, 1), (1, 2), (1, 3)):
        queue = 1 if attempt == 1 else 2
        dead = attempt == 3
        groups.nacked.append(
            Nacked("g", queue, number, f"id-{number}", attempt, dead, 100 * attempt, 5.0)
        )
        groups.nack_asked["g", f"id-{number}", attempt] = {(queue, number, 0)}
    retries = [copy(0, 0, 2, 100), copy(1, 1, 2, 101), copy(2, 1, 3, 200)]
    logs = {
        1: QueueLog(0, 2, [copy(0, 0, 1, 1), copy(1, 1, 1, 1)]),
        2: QueueLog(0, 3, retries),
        3: QueueLog(0, 1, [copy(0, 1, 3, 300)]),
    }
    return groups, history, logs


def checked(groups: GroupHistory, history: History, logs: Logs) -> list[Violation]:
    return check_retries(groups, history, logs, TOPICS, steady=True)


Doctor = Callable[[GroupHistory, Logs], object]


@pytest.mark.parametrize(
    ("rule", "doctor"),
    [
        ("doubled", lambda groups, logs: logs[2].messages.append(copy(3, 0, 2, 150))),
        ("doubled", lambda groups, logs: logs[3].messages.append(copy(1, 1, 3, 300))),
        ("doubled", lambda groups, logs: logs[2].messages.append(copy(3, 1, 4, 300))),
        ("untold", lambda groups, logs: groups.nack_asked.pop(("g", "id-0", 1))),
        ("untold", lambda groups, logs: groups.nack_asked.pop(("g", "id-1", 3))),
        ("dropped", lambda groups, logs: logs[2].messages.pop()),
        ("dropped", lambda groups, logs: logs[3].messages.pop()),
        ("buried", lambda groups, logs: setattr(groups.groups["g"], "max_attempts", 4)),
        ("early", lambda groups, logs: logs[2].messages.__setitem__(2, copy(2, 1, 3, 190))),
        (
            "altered",
            lambda groups, logs: logs[2].messages.__setitem__(
                0, logs[2].messages[0]._replace(tag="b")
            ),
        ),
    ],
)
def test_a_doctored_history_is_seen(rule: str, doctor: Doctor) -> None:
    groups, history, logs = honest()
    doctor(groups, logs)
    assert rule in {one.rule for one in checked(groups, history, logs)}


def test_an_honest_history_breaks_nothing_and_waits_for_nothing() -> None:
    groups, history, logs = honest()
    assert checked(groups, history, logs) == []
    assert waiting(groups, logs, TOPICS) == []


def test_a_member_may_give_a_message_up_before_its_last_attempt() -> None:
    groups, history, logs = honest()
    groups.groups["g"].max_attempts = 4
    groups.given_up.add("id-1")
    assert checked(groups, history, logs) == []


def test_what_is_not_due_yet_is_waited_for() -> None:
    groups, _, logs = honest()
    logs[2].messages.pop()
    assert len(waiting(groups, logs, TOPICS)) == 1


def test_what_retention_took_from_its_queue_need_not_come_again() -> None:
    groups, history, logs = honest()
    logs[1] = QueueLog(2, 2, [])
    logs[2].messages.pop(0)
    assert checked(groups, history, logs) == []
