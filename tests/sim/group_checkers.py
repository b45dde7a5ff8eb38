"""Group checkers: pure functions from what members saw, and the logs, to the promises that were
broken.

Owns the promises of consumer groups. Must not know the simulator (test_group_checkers.py shows each
checker a history that breaks its promise). What needs the letters themselves is `group_wire.py`'s.

    overtaken   an answer with a generation is not accepted after one with a higher generation
    shared      a generation of a queue has one holder; who asks later is shown no lower one
    displaced   a member whose name nobody else has is not displaced by what it asked itself before
    forgotten   what was acked is in every later answer to CURSORS, and handed to nobody any more
    back        a cursor does not go back while its shard lives
    undelivered every message that the group selects was handed to a member, and is done at the end
    sifted      a FETCH passes over no message that the group selects
    disordered  one holder is handed the messages of a queue in order
    strange     what a member was handed is what the log has there
    lag         lag and age are those of the messages that are not done
    lopsided    in calm weather every queue has one holder, and nobody has too many; members of
                broadcasting groups have all
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TypeVar

from shardmq.actors.protocol.group_messages import GroupDescription
from shardmq.actors.protocol.work_messages import EVERYBODY

from .checkers import Logs
from .group_history import (
    Accepted,
    Delivery,
    Group,
    GroupHistory,
    Place,
    Seen,
    Shown,
    below,
    floor_of,
)
from .history import QueueLog, Stored, Violation

T = TypeVar("T", Accepted, Shown, Seen)
Topics = Mapping[int, str]
"""Queue number -> topic."""


def check_groups(groups: GroupHistory, logs: Logs, topic_of: Topics) -> list[Violation]:
    """Everything that can be said once the storm is over. `logs` has the queues that exist."""
    found = overtaken(groups) + shared(groups) + forgotten(groups) + back(groups)
    found += redelivered(groups) + disordered(groups) + displaced(groups)
    for check in (undelivered, sifted, lag):
        found += check(groups, logs, topic_of)
    return found + strange(groups.deliveries, groups, logs)


def _by_place(items: Iterable[T]) -> dict[Place, list[T]]:
    found: dict[Place, list[T]] = {}
    for one in items:
        found.setdefault((one.group, one.queue), []).append(one)
    return found


def _fallen(items: Sequence[Accepted | Shown]) -> Iterable[tuple[int, int, str]]:
    """(generation, the higher one that was answered before it was asked for, member)."""
    answered = sorted(items, key=lambda one: one.answered_ms)
    highest, at = 0, 0
    for one in sorted(items, key=lambda one: one.asked_ms):
        while at < len(answered) and answered[at].answered_ms < one.asked_ms:
            highest = max(highest, answered[at].generation)
            at += 1
        if one.generation < highest:
            yield one.generation, highest, one.member


def overtaken(groups: GroupHistory) -> list[Violation]:
    """overtaken: at most one grant in force, as FETCH and ACK show it."""
    found = []
    for (group, queue), items in _by_place(groups.accepted).items():
        for generation, higher, member in _fallen(items):
            text = f"{group} queue {queue}: {member}'s generation {generation} was accepted"
            found.append(Violation("overtaken", f"{text} behind {higher}"))
    return found


def shared(groups: GroupHistory) -> list[Violation]:
    """shared: what the coordinator says to members."""
    found = []
    for (group, queue), items in _by_place(groups.shown).items():
        holders: dict[int, str] = {}
        for one in items:
            holder = holders.setdefault(one.generation, one.member)
            if holder != one.member:
                text = f"{group} queue {queue}: generation {one.generation} of {one.member}"
                found.append(Violation("shared", f"{text} is {holder}'s, too"))
        for generation, higher, member in _fallen(items):
            text = f"{group} queue {queue}: {member} was shown generation {generation}"
            found.append(Violation("shared", f"{text} behind {higher}"))
    return found


def displaced(groups: GroupHistory) -> list[Violation]:
    """displaced: what members were told of themselves."""
    return [
        Violation("displaced", f"{member} of {group} at {at_ms:.3f}, by nobody")
        for group, member, at_ms in groups.displaced
    ]


class _Done:
    """What is done for certain at one place, asked in the order of time. A reset takes back what
    was promised to lower generations."""

    def __init__(self, groups: GroupHistory, place: Place) -> None:
        self._promises = sorted(
            (one for one in groups.promises if (one.group, one.queue) == place),
            key=lambda one: one.answered_ms,
        )
        self._log = groups.cursor(place)
        self._next = 0
        self._done = 0

    def before(self, asked_ms: float, generation: int) -> int:
        """Offsets that an answer to what was asked at `asked_ms` must know as done."""
        promises = self._promises
        while self._next < len(promises) and promises[self._next].answered_ms < asked_ms:
            self._done |= promises[self._next].done
            self._next += 1
        reset = self._log.last_reset(generation)
        if not reset:
            return self._done
        done = 0
        for one in promises[: self._next]:
            if one.generation >= reset:
                done |= one.done
        return done


def forgotten(groups: GroupHistory) -> list[Violation]:
    """forgotten: acks against later answers to CURSORS."""
    found = []
    for place, items in _by_place(groups.seen).items():
        done = _Done(groups, place)
        for one in sorted(items, key=lambda one: one.asked_ms):
            missing = done.before(one.asked_ms, one.generation) & ~one.done
            if missing:
                text = f"{place[0]} queue {place[1]}, asked at {one.asked_ms:.3f}: CURSORS has"
                text = f"{text} floor {floor_of(one.done)}, {_few(missing)} had been acked"
                found.append(Violation("forgotten", text))
    return found


def redelivered(groups: GroupHistory) -> list[Violation]:
    """forgotten: acks against what later holders were handed."""
    found = []
    ordered = sorted(groups.deliveries, key=lambda one: (one.group, one.queue, one.since_ms))
    for place, items in groupby(ordered, key=lambda one: (one.group, one.queue)):
        done = _Done(groups, place)
        for one in items:
            if done.before(one.since_ms, one.generation) >> one.offset & 1:
                text = f"{place[0]} queue {place[1]} offset {one.offset}: acked, and then handed"
                found.append(Violation("forgotten", f"{text} to {one.process} at {one.at_ms:.3f}"))
    return found


def back(groups: GroupHistory) -> list[Violation]:
    """back: answers to CURSORS against each other, while no reset and no end of a shard between.

    What CURSORS says need not be durable, so the shard's death makes it void.
    """
    found = []
    for place, items in _by_place(groups.seen).items():
        log, ends = groups.cursor(place), groups.ends_of_shards
        answered = sorted(items, key=lambda one: one.answered_ms)
        for one in items:
            reset = log.last_reset(one.generation)
            since_ms = max((at_ms for at_ms in ends if at_ms <= one.answered_ms), default=-1.0)
            for other in answered:
                if other.answered_ms >= one.asked_ms:
                    break
                if other.generation < reset:
                    continue
                if other.asked_ms > since_ms and other.done & ~one.done:
                    text = f"{place[0]} queue {place[1]}: {_few(other.done & ~one.done)} were done"
                    found.append(Violation("back", f"{text} at {other.answered_ms:.3f}, not later"))
                    break
    return found


def disordered(groups: GroupHistory) -> list[Violation]:
    """disordered: within one holding of one process offsets rise."""
    found = []
    last: dict[tuple[str, int, int, str, float], int] = {}
    for one in groups.deliveries:
        holding = one.group, one.queue, one.generation, one.process, one.since_ms
        before = last.get(holding, -1)
        if one.offset <= before:
            text = f"{one.process} was handed offset {one.offset} of queue {one.queue}"
            found.append(Violation("disordered", f"{text} behind {before}"))
        last[holding] = one.offset
    return found


def _wanted(group: Group, log: QueueLog, topic: str) -> list[Stored]:
    return [one for one in log.messages if group.selects(topic, one.tag)]


def _starts(groups: GroupHistory) -> dict[Place, int]:
    """Where each cursor began, as far as anybody saw."""
    starts: dict[Place, int] = {}
    for one in sorted(groups.seen, key=lambda one: one.answered_ms):
        starts.setdefault((one.group, one.queue), floor_of(one.done))
    return starts


def undelivered(groups: GroupHistory, logs: Logs, topic_of: Topics) -> list[Violation]:
    """undelivered: everything that is there, is wanted, and lies behind the group's start; or where
    the last reset set it, and then again."""
    done: dict[Place, int] = {}
    resets: dict[Place, int] = {}
    for seen in sorted(groups.seen, key=lambda one: one.answered_ms):
        place = seen.group, seen.queue
        done[place] = seen.done
        resets[place] = groups.cursor(place).last_reset(seen.generation)
    handed: dict[Place, int] = {}
    for one in groups.deliveries:
        place = one.group, one.queue
        if one.generation >= resets.get(place, 0):
            handed[place] = handed.get(place, 0) | 1 << one.offset
    starts = _starts(groups)
    found = []
    for group in groups.groups.values():
        for queue, log in logs.items():
            topic = topic_of.get(queue, "")
            if topic not in group.topics or group.is_work:
                continue
            place = group.name, queue
            first = starts.get(place, 0) if group.start != "earliest" else log.earliest
            if reset := resets.get(place, 0):
                first = groups.cursor(place).floor_of(reset) or 0
            for message in _wanted(group, log, topic):
                if message.offset < first:
                    continue
                where = f"{group.name} queue {queue} offset {message.offset} ({message.tag})"
                if not handed.get(place, 0) >> message.offset & 1:
                    found.append(Violation("undelivered", f"{where} was handed to nobody"))
                elif not done.get(place, 0) >> message.offset & 1:
                    found.append(Violation("undelivered", f"{where} is not done at the end"))
    return found


def sifted(groups: GroupHistory, logs: Logs, topic_of: Topics) -> list[Violation]:
    """sifted: what FETCH passed over, message by message."""
    wanted: dict[Place, int] = {}
    found = []
    for one in groups.fetched:
        log = logs.get(one.queue)
        if log is None:
            continue
        place = one.group, one.queue
        if place not in wanted:
            topic = topic_of.get(one.queue, "")
            messages = _wanted(groups.groups[one.group], log, topic)
            wanted[place] = sum(1 << message.offset for message in messages)
        passed = wanted[place] & below(one.next_offset) & ~below(one.offset) & ~one.found
        passed &= ~below(log.earliest)
        if passed:
            text = f"{one.group} queue {one.queue}: from {one.offset} to {one.next_offset} without"
            found.append(Violation("sifted", f"{text} {_few(passed)}"))
    return found


def lag(groups: GroupHistory, logs: Logs, topic_of: Topics) -> list[Violation]:
    """lag: answers to CURSORS that can still be computed anew. A gap in the log that recovery left
    may count as if it were messages."""
    found = []
    for one in groups.seen:
        log = logs.get(one.queue)
        if log is None or log.earliest > floor_of(one.done):
            continue
        span = below(one.latest) & ~below(one.earliest) & ~one.done
        there = sum(1 << message.offset for message in log.messages)
        wanted = _wanted(groups.groups[one.group], log, topic_of.get(one.queue, ""))
        left = [message for message in wanted if span >> message.offset & 1]
        gaps = (span & ~there).bit_count()
        text = f"{one.group} queue {one.queue} at {one.answered_ms:.3f}: floor"
        text = f"{text} {floor_of(one.done)} of {one.latest}"
        if not len(left) <= one.lag <= len(left) + gaps:
            found.append(Violation("lag", f"{text}: lag {one.lag}, {len(left)} are left"))
        elif not gaps and one.oldest_at_ms != (left[0].stored_at_ms if left else 0):
            found.append(Violation("lag", f"{text}: the oldest is not of {one.oldest_at_ms}"))
    return found


def strange(deliveries: Iterable[Delivery], groups: GroupHistory, logs: Logs) -> list[Violation]:
    """strange: deliveries against the logs, and against each other."""
    found = []
    seen: dict[tuple[int, int], tuple[bytes, str, str | None]] = {}
    for queue, log in logs.items():
        for stored in log.messages:
            seen[queue, stored.offset] = stored.body, stored.message_id, stored.tag
    for delivery in deliveries:
        value = delivery.body, delivery.message_id, delivery.tag
        place = delivery.queue, delivery.offset
        if seen.setdefault(place, value) != value:
            text = f"{delivery.process} got {delivery.body[:24]!r} at {place}"
            found.append(Violation("strange", f"{text}, it is {seen[place][0][:24]!r}"))
        group = groups.groups[delivery.group]
        log_of = logs.get(delivery.queue)
        if log_of is not None and delivery.offset >= log_of.next:
            text = f"{delivery.process} of {group.name} got {place}, the log ends at {log_of.next}"
            found.append(Violation("strange", text))
    return found


def lopsided(group: Group, description: GroupDescription, live: Topics) -> list[Violation]:
    """lopsided: what GROUP_DESCRIBE says in calm weather; `live` has all queues that there are."""
    wanted = {queue for queue, topic in live.items() if topic in group.topics}
    owned = {one.queue: one.owner for one in description.queues if one.owner}
    found = []
    if group.alone:
        held = {one.member: one.queues for one in description.members}
        if held != held | {group.alone: len(wanted)}:
            text = f"{group.name} holds {held.get(group.alone)} queues of {len(wanted)}"
            found.append(Violation("lopsided", text))
        return found
    missing = sorted(wanted - set(owned))
    if missing:
        found.append(Violation("lopsided", f"{group.name}: queues {missing} have no owner"))
    members = {EVERYBODY} if group.is_work else {one.member for one in description.members}
    strangers = sorted({one for one in owned.values() if one not in members})
    if strangers:
        found.append(Violation("lopsided", f"{group.name}: {strangers} own queues, not {members}"))
    loads = dict.fromkeys(members, 0)
    for owner in owned.values():
        if owner in loads:
            loads[owner] += 1
    spread = 1 if group.strategy == "sticky" else len(group.topics)
    if group.strategy != "hash" and loads and max(loads.values()) - min(loads.values()) > spread:
        found.append(Violation("lopsided", f"{group.name} ({group.strategy}): {loads}"))
    return found


def _few(offsets: int) -> str:
    listed: list[int] = []
    while offsets and len(listed) < 5:
        lowest = offsets & -offsets
        listed.append(lowest.bit_length() - 1)
        offsets ^= lowest
    return f"offsets {listed}" + ("..." if offsets else "")
