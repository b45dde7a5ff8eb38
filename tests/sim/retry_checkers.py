"""Retry checkers: pure functions from NACKs and the logs of a group's retry and dead letter topics
to the promises that were broken.

Owns the promises about messages that failed. Must not know the simulator. A copy keeps its
message's id, so (id, attempt) names a delivery, whichever queue it was made from.

    doubled     a message has one copy for each attempt, and is a dead letter once
    untold      a copy is there only if somebody asked for it
    dropped     a NACK that was answered with OK has its copy, or its dead letter
    buried      a dead letter has failed as often as it had to, or its member gave it up
    early       a copy is not stored before it is due
    altered     a copy is its message: body, tag and key
"""

from __future__ import annotations

from collections.abc import Mapping

from shardmq.actors.protocol.retries import dlq_topic, retry_topic

from .checkers import Logs
from .group_history import Group, GroupHistory
from .history import History, QueueLog, Stored, Violation
from .records import attempt_of

Topics = Mapping[int, str]
EARLY_MS = 2
"""Two clocks that are read in whole milliseconds."""


class _Copies:
    """What the queues of one system topic hold."""

    def __init__(self, topic: str, logs: Logs, topic_of: Topics) -> None:
        self.logs = [log for queue, log in logs.items() if topic_of.get(queue) == topic]
        self.messages = [one for log in self.logs for one in log.messages]

    @property
    def is_whole(self) -> bool:
        """Retention has taken nothing."""
        return bool(self.logs) and not any(log.earliest for log in self.logs)


def check_retries(
    groups: GroupHistory,
    history: History,
    logs: Logs,
    topic_of: Topics,
    *,
    steady: bool,
) -> list[Violation]:
    """`logs` has the queues that exist, those of the system, too; `steady`: the wall clock never
    stepped."""
    found: list[Violation] = []
    for group in groups.groups.values():
        if group.retries:
            retries = _Copies(retry_topic(group.name), logs, topic_of)
            dead = _Copies(dlq_topic(group.name), logs, topic_of)
            found += _doubled(group, retries, dead)
            found += _untold(groups, group, retries, dead)
            found += _dropped(groups, group, retries, dead, logs)
            found += _altered(history, group, retries, dead)
            if steady:
                found += _early(groups, group, retries)
    return found


def _where(group: Group, what: str, message: Stored) -> str:
    return f"{group.name}: {what} of {message.message_id}, attempt {attempt_of(message)}"


def _doubled(group: Group, retries: _Copies, dead: _Copies) -> list[Violation]:
    found = []
    seen: set[tuple[str, int]] = set()
    for message in retries.messages:
        name = message.message_id, attempt_of(message)
        if name in seen:
            found.append(Violation("doubled", _where(group, "a copy", message)))
        seen.add(name)
    letters: set[str] = set()
    for message in dead.messages:
        if message.message_id in letters:
            found.append(Violation("doubled", _where(group, "a dead letter", message)))
        letters.add(message.message_id)
    return found


def _untold(groups: GroupHistory, group: Group, retries: _Copies, dead: _Copies) -> list[Violation]:
    """untold, buried: copies and dead letters against what was asked for."""
    found = []
    for message in retries.messages:
        if (group.name, message.message_id, attempt_of(message) - 1) not in groups.nack_asked:
            found.append(Violation("untold", _where(group, "a copy", message)))
    for message in dead.messages:
        attempt = attempt_of(message)
        if (group.name, message.message_id, attempt) not in groups.nack_asked:
            found.append(Violation("untold", _where(group, "a dead letter", message)))
        elif attempt < group.max_attempts and message.message_id not in groups.given_up:
            found.append(Violation("buried", _where(group, "a dead letter", message)))
    return found


def _dropped(
    groups: GroupHistory, group: Group, retries: _Copies, dead: _Copies, logs: Logs
) -> list[Violation]:
    copies = {(one.message_id, attempt_of(one)) for one in retries.messages}
    letters = {one.message_id for one in dead.messages}
    found = []
    for one in groups.nacked:
        source = logs.get(one.queue)
        if one.group != group.name or source is None or one.offset < source.earliest:
            continue  # its queue was deleted, or retention has taken it
        where = f"{group.name}: {one.message_id} failed at {one.answered_ms:.3f}, attempt"
        where = f"{where} {one.attempt}"
        if one.dead and one.message_id not in letters and dead.is_whole:
            found.append(Violation("dropped", f"{where}, and is no dead letter"))
        comes_again = (one.message_id, one.attempt + 1) in copies
        if not one.dead and not comes_again and retries.is_whole:
            found.append(Violation("dropped", f"{where}, and does not come again"))
        if one.dead and comes_again:
            found.append(Violation("doubled", f"{where}, a dead letter, and it comes again, too"))
    return found


def _early(groups: GroupHistory, group: Group, retries: _Copies) -> list[Violation]:
    stored = {(one.message_id, attempt_of(one)): one.stored_at_ms for one in retries.messages}
    found = []
    for one in groups.nacked:
        at_ms = stored.get((one.message_id, one.attempt + 1))
        if one.group == group.name and at_ms is not None and at_ms < one.due_wall_ms - EARLY_MS:
            text = f"{group.name}: {one.message_id}, attempt {one.attempt + 1}, came"
            found.append(Violation("early", f"{text} {one.due_wall_ms - at_ms} ms too early"))
    return found


def _altered(history: History, group: Group, retries: _Copies, dead: _Copies) -> list[Violation]:
    found = []
    for message in [*retries.messages, *dead.messages]:
        send = history.by_body.get(message.body)
        if send is None or (send.tag, send.key) != (message.tag, message.key):
            found.append(Violation("altered", _where(group, "a copy", message)))
    return found


def waiting(groups: GroupHistory, logs: Mapping[int, QueueLog], topic_of: Topics) -> list[str]:
    """NACKs whose copy is not there yet."""
    found = []
    for group in groups.groups.values():
        if group.retries:
            retries = _Copies(retry_topic(group.name), logs, topic_of)
            dead = _Copies(dlq_topic(group.name), logs, topic_of)
            found += [one.text for one in _dropped(groups, group, retries, dead, logs)]
    return found
