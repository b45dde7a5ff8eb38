"""Retry checkers: pure functions from NACKs and the logs of a group's retry and dead letter topics
to the promises that were broken.

Owns the promises about messages that failed. Must not know the simulator. A copy keeps its
message's id, so (id, attempt) names a delivery, whichever queue it was made from.

    doubled     a message has one copy for each delivery that failed, or is a dead letter once
    untold      a copy is there only if somebody asked for it
    dropped     a NACK that was answered with OK has its copy, or its dead letter
    buried      a dead letter has failed as often as it had to, or its member gave it up
    early       a copy is not stored before it is due
    altered     a copy is its message: body, tag and key
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from shardmq.actors.protocol.retries import dlq_topic, retry_topic

from .checkers import Logs
from .group_history import Group, GroupHistory
from .history import History, QueueLog, Stored, Violation
from .records import attempt_of

Topics = Mapping[int, str]
Source = tuple[int, int, int]
"""(queue, offset, last reset before) of a delivery."""
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
            found += _doubled(groups, group, retries, dead)
            found += _untold(groups, group, retries, dead)
            found += _dropped(groups, group, retries, dead, logs)
            found += _altered(history, group, retries, dead)
            if steady:
                found += _early(groups, group, retries)
    return found


def _where(group: Group, what: str, message: Stored) -> str:
    return f"{group.name}: {what} of {message.message_id}, attempt {attempt_of(message)}"


def _sources(groups: GroupHistory, group: Group, name: tuple[str, int]) -> set[Source]:
    """The deliveries of a message that failed as (id, attempt): it may have a copy for each."""
    asked = groups.nack_asked.get((group.name, *name), set())
    return {_source(groups, group, *one) for one in asked}


def _source(groups: GroupHistory, group: Group, queue: int, offset: int, generation: int) -> Source:
    """A message in a queue is delivered once; and once more behind each reset."""
    return queue, offset, groups.cursor((group.name, queue)).last_reset(generation)


def _doubled(
    groups: GroupHistory, group: Group, retries: _Copies, dead: _Copies
) -> list[Violation]:
    """doubled: copies and dead letters, together, against the deliveries that failed."""
    ends = [(one.message_id, attempt_of(one) - 1) for one in retries.messages]
    ends += [(one.message_id, attempt_of(one)) for one in dead.messages]
    found = []
    for (message_id, attempt), count in sorted(Counter(ends).items()):
        failed = len(_sources(groups, group, (message_id, attempt)))
        if count > max(failed, 1):
            text = f"{group.name}: {message_id} failed {failed} times at attempt {attempt}, and has"
            found.append(Violation("doubled", f"{text} {count} copies and dead letters of that"))
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
    copies = Counter((one.message_id, attempt_of(one) - 1) for one in retries.messages)
    letters = Counter(one.message_id for one in dead.messages)
    again: dict[tuple[str, int], set[Source]] = {}
    buried: dict[str, set[Source]] = {}
    found = []
    for one in groups.nacked:
        log = logs.get(one.queue)
        if one.group != group.name or log is None or one.offset < log.earliest:
            continue  # its queue was deleted, or retention has taken it
        source = _source(groups, group, one.queue, one.offset, one.generation)
        where = f"{group.name}: {one.message_id} failed at {one.answered_ms:.3f}, attempt"
        where = f"{where} {one.attempt}"
        if one.dead:
            buried.setdefault(one.message_id, set()).add(source)
            if letters[one.message_id] < len(buried[one.message_id]) and dead.is_whole:
                found.append(Violation("dropped", f"{where}, and is no dead letter"))
            continue
        name = one.message_id, one.attempt
        again.setdefault(name, set()).add(source)
        if copies[name] < len(again[name]) and retries.is_whole:
            found.append(Violation("dropped", f"{where}, and does not come again"))
    return found


def _early(groups: GroupHistory, group: Group, retries: _Copies) -> list[Violation]:
    """early: the copies of a message, latest first, against when they were due."""
    stored: dict[tuple[str, int], list[int]] = {}
    for one in retries.messages:
        stored.setdefault((one.message_id, attempt_of(one) - 1), []).append(one.stored_at_ms)
    due: dict[tuple[str, int], dict[Source, int]] = {}
    for failed in groups.nacked:
        if failed.group == group.name and not failed.dead:
            source = _source(groups, group, failed.queue, failed.offset, failed.generation)
            sources = due.setdefault((failed.message_id, failed.attempt), {})
            sources.setdefault(source, failed.due_wall_ms)
    found = []
    for (message_id, attempt), sources in due.items():
        at_ms = sorted(stored.get((message_id, attempt), ()), reverse=True)
        for was_ms, due_ms in zip(at_ms, sorted(sources.values(), reverse=True), strict=False):
            if was_ms < due_ms - EARLY_MS and len(at_ms) >= len(sources):
                text = f"{group.name}: {message_id}, attempt {attempt + 1}, came"
                found.append(Violation("early", f"{text} {due_ms - was_ms} ms too early"))
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
