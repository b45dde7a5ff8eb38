"""Work checkers: pure functions from what shards answered about work queues to the promises that
were broken.

Owns these promises. Must not know the simulator (test_work_checkers.py shows each checker a history
that breaks its promise). What is known of single messages is `work_replay.py`'s.

    twice       nobody gets a message that another receiver holds, or that waits after a failure
    again       a message whose ack, or whose end as a dead letter, was answered is not handed out
    late        what is said of a message that its receipt does not hold is not answered with OK
    refused     what is said in time is not answered with RECEIPT_EXPIRED
    attempts    each handout counts one more, up to the group's most, but for those returned
    anew        who asks again with a receipt that holds messages gets nothing new
    fifo        nothing is handed out behind a message that is handed out and not done
    unwanted    nobody is handed what the group does not select
    slept       nobody waits in vain beside a message, be it new or returned
    unsettled   in the end each message is acked, or a dead letter
    buried      dead letters are there once, and as they were answered
"""

from __future__ import annotations

from collections.abc import Mapping

from shardmq.actors.protocol.retries import dlq_topic

from .checkers import Logs
from .group_history import Group, GroupHistory, Place, floor_of
from .history import Fate, History, QueueLog, Stored, Violation
from .records import attempt_of
from .work_history import Answer, Handed, WorkHistory
from .work_replay import Message, Replay

Topics = Mapping[int, str]
Found = tuple[Answer, Handed, float]
"""Who got messages, which ones, and since when they had been there."""
SLACK_MS = 20.0
"""Between the sync of a message and the turn that sees it; calm disks need a few ms."""


def check_work(
    work: WorkHistory,
    groups: GroupHistory,
    history: History,
    logs: Logs,
    topic_of: Topics,
    *,
    steady: bool,
) -> list[Violation]:
    """`logs` has the queues that exist, those of the system, too; `steady`: the wall clock never
    stepped."""
    chosen = {one.group_id: one for one in groups.groups.values() if one.is_work and one.group_id}
    if not chosen:
        return []
    replay = Replay(work, chosen, {queue: log.earliest for queue, log in logs.items()})
    found = replay.violations(steady=steady)
    firsts = _first_handouts(work, groups, history, chosen) + replay.returned
    found += unwanted(work, groups, topic_of) + slept(work, chosen, firsts)
    for group in chosen.values():
        letters = _letters(group, logs, topic_of)
        found += buried(group, replay, logs, letters)
        found += unsettled(group, replay, groups, logs, topic_of, letters)
    return found


def _letters(group: Group, logs: Logs, topic_of: Topics) -> list[QueueLog]:
    name = dlq_topic(group.name)
    return [log for queue, log in logs.items() if topic_of.get(queue) == name]


def unwanted(work: WorkHistory, groups: GroupHistory, topic_of: Topics) -> list[Violation]:
    """unwanted: what workers found in the answers, by the tags of the messages."""
    return [
        Violation(
            "unwanted",
            f"{one.group} queue {one.queue} offset {one.offset} ({one.tag}) to {one.process}",
        )
        for one in work.deliveries
        # The topic of a queue may have gone before anybody had a receipt that tells its name.
        if one.queue in topic_of
        and not groups.groups[one.group].selects(topic_of[one.queue], one.tag)
    ]


def _first_handouts(
    work: WorkHistory, groups: GroupHistory, history: History, chosen: Mapping[int, Group]
) -> list[Found]:
    """New messages, first handed out, and since when they were there."""
    stored_ms = {
        (send.queue, send.offset): send.ended_ms
        for send in history.sends
        if send.fate is Fate.OK and send.ack == "synced"
    }
    granted_ms: dict[Place, float] = {}
    for one in groups.shown:
        granted_ms.setdefault((one.group, one.queue), one.answered_ms)
    firsts: list[Found] = []
    handed: set[tuple[int, int, int]] = set()
    for event in work.events:
        if not isinstance(event, Answer):
            continue
        for part in event.parts:
            place = event.group_id, part.queue, part.start
            is_first = part.attempt == 1 and place not in handed
            if is_first and place[1:] in stored_ms and event.group_id in chosen:
                known_ms = granted_ms.get((chosen[event.group_id].name, part.queue), float("inf"))
                firsts.append((event, part, max(stored_ms[place[1:]], known_ms)))
            handed.update((*place[:2], offset) for offset in range(part.start, part.stop))
    return firsts


def slept(work: WorkHistory, chosen: Mapping[int, Group], firsts: list[Found]) -> list[Violation]:
    """slept: in calm weather, empty answers to those who waited, against what was there."""
    found = []
    for event in work.events:
        if not isinstance(event, Answer) or event.parts or not event.count_max:
            continue
        if event.asked_ms < work.calm_ms or event.at_ms == event.asked_ms:
            continue
        for answer, part, there_ms in firsts:
            is_ours = (answer.shard, answer.group_id) == (event.shard, event.group_id)
            was_there = there_ms + SLACK_MS < event.at_ms < answer.at_ms
            if is_ours and was_there and not chosen[event.group_id].is_fifo:
                text = f"{event.shard} let a RECEIVE wait to {event.at_ms:.3f} beside queue"
                text = f"{text} {part.queue} offset {part.start}, there since {there_ms:.3f}"
                found.append(Violation("slept", text))
                break
    return found


def buried(group: Group, replay: Replay, logs: Logs, letters: list[QueueLog]) -> list[Violation]:
    """buried: dead letters against what was handed out and answered."""
    found = []
    ids: set[str] = set()
    for log in letters:
        for message in log.messages:
            where = f"{group.name}: a dead letter of {message.message_id}"
            if message.message_id in ids:
                found.append(Violation("buried", f"{where} is there twice"))
            ids.add(message.message_id)
    by_id = {
        stored.message_id: one
        for queue, offset, one in replay.messages(group.group_id)
        if (stored := _stored(logs, queue, offset)) is not None
    }
    for log in letters:
        for message in log.messages:
            known = by_id.get(message.message_id)
            attempt = attempt_of(message)
            if known is not None and attempt < group.max_attempts and not known.given_up:
                text = f"{group.name}: {message.message_id} is one after {attempt} attempts"
                found.append(Violation("buried", text))
    is_whole = bool(letters) and not any(log.earliest for log in letters)
    for queue, offset, one in replay.messages(group.group_id):
        lost = _stored(logs, queue, offset)
        if one.is_dead and lost is not None and lost.message_id not in ids and is_whole:
            text = f"{group.name} queue {queue} offset {offset} was answered as dead, and is none"
            found.append(Violation("buried", text))
    return found


def _stored(logs: Logs, queue: int, offset: int) -> Stored | None:
    log = logs.get(queue)
    if log is None:
        return None
    return next((one for one in log.messages if one.offset == offset), None)


def unsettled(
    group: Group,
    replay: Replay,
    groups: GroupHistory,
    logs: Logs,
    topic_of: Topics,
    letters: list[QueueLog],
) -> list[Violation]:
    """unsettled: everything that is there, is wanted, and lies behind the group's start."""
    dead = {message.message_id for log in letters for message in log.messages}
    is_whole = not any(log.earliest for log in letters)
    known: dict[tuple[int, int], Message] = {
        (queue, offset): one for queue, offset, one in replay.messages(group.group_id)
    }
    starts: dict[int, int] = {}
    found = []
    for seen in sorted(groups.seen, key=lambda one: one.answered_ms):
        if seen.group == group.name:
            starts.setdefault(seen.queue, floor_of(seen.done))
    last = {seen.queue: seen for seen in groups.seen if seen.group == group.name}
    for queue, log in logs.items():
        topic = topic_of.get(queue, "")
        if topic not in group.topics:
            continue
        where = f"{group.name} queue {queue}"
        end = last.get(queue)
        if end is not None and (end.in_flight or end.lag or floor_of(end.done) < end.latest):
            text = f"{where}: {end.in_flight} in flight, lag {end.lag}, done to"
            found.append(Violation("unsettled", f"{text} {floor_of(end.done)} of {end.latest}"))
        first = log.earliest if group.start == "earliest" else starts.get(queue, log.next)
        for message in log.messages:
            if message.offset < first or not group.selects(topic, message.tag):
                continue
            one = known.get((queue, message.offset))
            is_dead = message.message_id in dead or (
                not is_whole and one is not None and one.may_be_dead(group.max_attempts)
            )
            if not is_dead and (one is None or not one.may_be_done):
                state = "was handed to nobody" if one is None else f"was left: {one}"
                text = f"{where} offset {message.offset} ({message.tag}) {state}"
                found.append(Violation("unsettled", text))
    return found
