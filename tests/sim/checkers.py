"""Checkers: pure functions from a history and the logs to the promises that were broken.

Owns the promises. Must not know the simulator: a doctored history is as good as a real one
(test_checkers.py shows each checker one that breaks its promise). All are linear.

    lost         an acknowledged message is in its place, until retention or deletion takes it
    vanished     what a consumer was handed is in its place, likewise
    changed      a place has one message for ever, over all reads, receipts and restarts
    invented     every stored message was sent, and none whose sender was told "not stored"
    twice        a message is stored once; a (producer id, sequence) has one place
    reordered    in a queue the sequences of a producer rise, and so do the sends of a key
    misplaced    messages of one key lie in one queue while the slot table stays
    renumbered   a queue number belongs to one topic for ever
    skipped      a consumer is handed every message of a run, in order
    unresolved   after the storm every send is answered
    unread       after the storm every consumer reaches the end
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .history import Fate, History, QueueLog, Send, Stored, Violation

Logs = Mapping[int, QueueLog]


def check_all(history: History, logs: Logs) -> list[Violation]:
    """Everything that can be said once the storm is over."""
    found: list[Violation] = []
    for check in (lost, vanished, invented, twice, reordered, skipped, unresolved):
        found += check(history, logs)
    return found


def check_places(history: History, logs: Logs) -> list[Violation]:
    """What must hold at any moment for the queues in `logs`, after a restart above all."""
    return [
        *lost(history, logs, complete=False),
        *vanished(history, logs),
        *invented(history, logs),
    ]


def _at(log: QueueLog, offset: int) -> Stored | None:
    """The message at an offset; offsets are dense but for gaps that recovery left."""
    messages = log.messages
    low, high = 0, len(messages)
    while low < high:
        middle = (low + high) // 2
        if messages[middle].offset < offset:
            low = middle + 1
        else:
            high = middle
    return messages[low] if low < len(messages) and messages[low].offset == offset else None


def lost(history: History, logs: Logs, *, complete: bool = True) -> list[Violation]:
    """lost, changed: receipts against the logs, which are those of all queues if `complete`."""
    found = []
    for send in history.sends:
        if send.fate is not Fate.OK or send.ack == "none" or send.forgiven:
            continue
        log = logs.get(send.queue)
        if send.queue in history.dropped_queues or (log and send.offset < log.earliest):
            continue
        where = f"{send.body[:24]!r} ({send.ack}) at queue {send.queue} offset {send.offset}"
        if log is None:
            if complete:
                found.append(Violation("lost", f"{where}: there is no such queue any more"))
            continue
        stored = _at(log, send.offset)
        if stored is None:
            text = f"{where}, acknowledged at {send.ended_ms:.3f}, log has"
            found.append(Violation("lost", f"{text} {log.earliest}..{log.next}"))
        elif stored.body != send.body or stored.message_id != send.message_id:
            found.append(Violation("changed", f"{where}: the log has {stored.body[:24]!r}"))
    return found


def vanished(history: History, logs: Logs) -> list[Violation]:
    """vanished, changed: reads against the logs, and against each other."""
    found = []
    seen: dict[tuple[int, int], tuple[bytes, str]] = {}
    for read in history.reads:
        place = read.queue, read.offset
        value = read.body, read.message_id
        where = f"{read.body[:24]!r} at queue {read.queue} offset {read.offset}"
        before = seen.get(place)
        if before is not None:
            if before != value:
                text = f"{read.consumer} got {where}, earlier it was {before[0][:24]!r}"
                found.append(Violation("changed", text))
            continue
        seen[place] = value
        log = logs.get(read.queue)
        if log is None or read.queue in history.dropped_queues or read.offset < log.earliest:
            continue
        stored = _at(log, read.offset)
        if stored is None:
            text = f"{where}, handed to {read.consumer} at {read.at_ms:.3f}"
            found.append(Violation("vanished", f"{text}, log has {log.earliest}..{log.next}"))
        elif (stored.body, stored.message_id) != value:
            found.append(Violation("changed", f"{where}: the log has {stored.body[:24]!r}"))
    return found


def invented(history: History, logs: Logs) -> list[Violation]:
    """invented: the logs and the reads against what was sent."""
    found = []
    for queue, stored in _all(logs):
        send = history.by_body.get(stored.body)
        where = f"{stored.body[:24]!r} at queue {queue} offset {stored.offset}"
        if send is None:
            found.append(Violation("invented", f"{where} was never sent"))
        elif send.fate is Fate.FAILED and not history.copies:
            text = f"{where}, but its sender was told that it is not stored: {send.fault}"
            found.append(Violation("invented", text))
        elif send.key != stored.key:
            found.append(Violation("changed", f"{where} has key {stored.key!r}, not {send.key!r}"))
        elif send.tag != stored.tag:
            found.append(Violation("changed", f"{where} has tag {stored.tag!r}, not {send.tag!r}"))
    for read in history.reads:
        if read.body not in history.by_body:
            found.append(Violation("invented", f"{read.consumer} got {read.body[:24]!r}"))
    return found


def twice(history: History, logs: Logs) -> list[Violation]:
    """twice: by body, by (producer id, sequence), and by message id of a receipt."""
    found = []
    place_of: dict[bytes, tuple[int, int]] = {}
    owner_of: dict[tuple[int, int], tuple[int, int]] = {}
    for queue, stored in _all(logs):
        place = queue, stored.offset
        before = place_of.setdefault(stored.body, place)
        # With copies a batch may be refused, dealt anew, and its late copy be stored after all.
        if before != place and not history.copies:
            text = f"{stored.body[:24]!r} at (queue, offset) {before} and {place}"
            found.append(Violation("twice", text))
        number = stored.producer_id, stored.sequence
        before = owner_of.setdefault(number, place)
        if before != place:
            text = f"sequence {stored.sequence} of {stored.producer_id:x} at {before} and {place}"
            found.append(Violation("twice", text))
    ids: dict[str, Send] = {}
    for send in history.sends:
        if send.fate is Fate.OK and send.message_id:
            other = ids.setdefault(send.message_id, send)
            if other is not send:
                text = f"message id {send.message_id} for {other.body[:24]!r} and"
                found.append(Violation("twice", f"{text} {send.body[:24]!r}"))
    return found


def reordered(history: History, logs: Logs) -> list[Violation]:
    """reordered: offsets, sequences and sends rise together in each queue."""
    found = []
    for queue, log in logs.items():
        last_offset = -1
        last_sequence: dict[int, int] = {}
        last_send: dict[tuple[str, str | None, int | None], int] = {}
        sends_seen: set[int] = set()
        for stored in log.messages:
            where = f"queue {queue} offset {stored.offset}"
            if stored.offset <= last_offset:
                found.append(Violation("reordered", f"{where} behind offset {last_offset}"))
            last_offset = stored.offset
            before = last_sequence.get(stored.producer_id, -1)
            if stored.sequence <= before:
                text = f"{where}: sequence {stored.sequence} of {stored.producer_id:x}"
                found.append(Violation("reordered", f"{text} behind {before}"))
            last_sequence[stored.producer_id] = stored.sequence
            send = history.by_body.get(stored.body)
            if send is None or (send.key is None and send.queue_id is None):
                continue  # without a key a part may be dealt anew, behind what was sent later
            if history.copies and send.number in sends_seen:
                continue  # the copy of a batch that was refused and dealt anew, see `twice`
            sends_seen.add(send.number)
            lane = send.producer, send.key, send.queue_id
            if last_send.get(lane, -1) >= send.number:
                text = f"{where}: send {send.number} of {lane} behind send {last_send[lane]}"
                found.append(Violation("reordered", text))
            last_send[lane] = send.number
    return found


def misplaced(history: History, logs: Logs, moved_topics: Iterable[str]) -> list[Violation]:
    """misplaced: only for topics whose slot table never changed."""
    found = []
    moved = set(moved_topics)
    queue_of: dict[tuple[str, str], int] = {}
    for queue, stored in _all(logs):
        send = history.by_body.get(stored.body)
        if send is None or send.key is None or send.queue_id is not None or send.topic in moved:
            continue
        before = queue_of.setdefault((send.topic, send.key), queue)
        if before != queue:
            text = f"key {send.key!r} of {send.topic} lies in queues {before} and {queue}"
            found.append(Violation("misplaced", text))
    return found


def skipped(history: History, logs: Logs) -> list[Violation]:
    """skipped: within a run, offsets rise and pass over nothing that is there."""
    found = []
    position = dict(history.runs)
    for read in history.reads:
        run = read.consumer, read.run, read.queue
        expected = position.get(run)
        position[run] = read.offset + 1
        who = f"{read.consumer} run {read.run} queue {read.queue}"
        if expected is None or read.offset == expected:
            continue
        if read.offset < expected:
            text = f"{who}: offset {read.offset} when {expected} was next"
            found.append(Violation("skipped", text))
            continue
        log = logs.get(read.queue)
        if log is None or read.queue in history.dropped_queues:
            continue
        passed = [
            stored.offset
            for offset in range(max(expected, log.earliest), read.offset)
            if (stored := _at(log, offset)) is not None
        ]
        if passed:
            text = f"{who}: offsets {passed[:5]} were passed over for {read.offset}"
            found.append(Violation("skipped", text))
    return found


def renumbered(history: History) -> list[Violation]:
    """renumbered: over all that the coordinator and its routes ever said."""
    return [
        Violation("renumbered", f"queue number {queue} was given to topics {sorted(ids)}")
        for queue, ids in sorted(history.topic_ids_of.items())
        if len(ids) > 1
    ]


def unresolved(history: History, logs: Logs) -> list[Violation]:
    """unresolved: liveness of the producers."""
    return [
        Violation("unresolved", f"{send.body[:24]!r} of {send.producer}, given {send.at_ms:.3f}")
        for send in history.sends
        if send.fate is Fate.OPEN
    ]


def unread(history: History, logs: Logs, reached: Mapping[tuple[str, int], int]) -> list[Violation]:
    """unread: `reached` is the next offset of each (consumer, queue) that it was assigned."""
    found = []
    for (consumer, queue), offset in sorted(reached.items()):
        log = logs.get(queue)
        if log is None or queue in history.dropped_queues:
            continue
        left = sum(stored.offset >= offset for stored in log.messages)
        if left:
            text = f"{consumer} stands at offset {offset} of queue {queue}, {left} messages before"
            found.append(Violation("unread", f"{text} the end {log.next}"))
    return found


def _all(logs: Logs) -> Iterable[tuple[int, Stored]]:
    for queue, log in logs.items():
        for stored in log.messages:
            yield queue, stored
