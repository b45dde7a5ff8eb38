"""Each checker sees a history that breaks its promise, and passes one that does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sim import checkers
from sim.history import Fate, History, QueueLog, Read, Send, Stored

PRODUCER = 0xABC


def message_id(number: int) -> str:
    return f"{PRODUCER:016x}{number:016x}"


def honest() -> tuple[History, dict[int, QueueLog]]:
    """Six acknowledged sends in two queues, with keys in the first; one consumer read them all."""
    history = History()
    logs = {1: QueueLog(0, 3, []), 2: QueueLog(0, 3, [])}
    for number in range(6):
        queue, offset = 1 + number % 2, number // 2
        key = "k" if queue == 1 else None
        body = f"body {number}".encode()
        send = Send(number, "producer-1", "t", body, key, None, "synced", 1.0 * number)
        history.give(send)
        history.acknowledged(send, queue, offset, message_id(number), 10.0)
        logs[queue].messages.append(Stored(offset, body, message_id(number), PRODUCER, number, key))
        history.topic_of[queue] = "t"
    for queue, log in logs.items():
        history.runs["consumer-1", 1, queue] = 0
        for one in log.messages:
            history.reads.append(
                Read("consumer-1", 1, queue, one.offset, one.body, one.message_id, 20.0)
            )
    return history, logs


Doctor = Callable[[History, dict[int, QueueLog]], None]
DOCTORS: dict[str, tuple[str, Doctor]] = {}


def doctored(rule: str) -> Callable[[Doctor], Doctor]:
    """Registers a lie, and the rule that it breaks."""

    def register(doctor: Doctor) -> Doctor:
        DOCTORS[doctor.__name__] = rule, doctor
        return doctor

    return register


@doctored("lost")
def an_acknowledged_message_is_not_there(history: History, logs: dict[int, QueueLog]) -> None:
    del logs[1].messages[2]
    history.reads.clear()


@doctored("lost")
def a_whole_queue_is_not_there(history: History, logs: dict[int, QueueLog]) -> None:
    del logs[2]
    history.reads.clear()


@doctored("changed")
def another_message_is_where_the_receipt_says(history: History, logs: dict[int, QueueLog]) -> None:
    first, second, *rest = logs[2].messages
    logs[2].messages = [second._replace(offset=0), first._replace(offset=1), *rest]


@doctored("vanished")
def what_was_read_is_not_there(history: History, logs: dict[int, QueueLog]) -> None:
    del logs[1].messages[2]
    history.sends[4].fate = Fate.UNKNOWN


@doctored("changed")
def two_readers_saw_different_messages(history: History, logs: dict[int, QueueLog]) -> None:
    history.reads.append(history.reads[0]._replace(consumer="consumer-2", body=b"body 5"))


@doctored("invented")
def a_stored_message_was_never_sent(history: History, logs: dict[int, QueueLog]) -> None:
    logs[1].messages.append(Stored(3, b"nobody's", message_id(9), PRODUCER, 9, None))


@doctored("invented")
def a_stored_message_had_failed_for_certain(history: History, logs: dict[int, QueueLog]) -> None:
    history.sends[5].fate = Fate.FAILED


@doctored("invented")
def a_read_message_was_never_sent(history: History, logs: dict[int, QueueLog]) -> None:
    history.reads.append(Read("consumer-1", 1, 9, 0, b"nobody's", message_id(9), 20.0))


@doctored("changed")
def a_key_changed_on_its_way(history: History, logs: dict[int, QueueLog]) -> None:
    logs[1].messages[0] = logs[1].messages[0]._replace(key="other")


@doctored("twice")
def a_message_is_stored_twice(history: History, logs: dict[int, QueueLog]) -> None:
    again = logs[1].messages[0]._replace(offset=3, sequence=99, message_id=message_id(99))
    logs[1].messages.append(again)


@doctored("twice")
def a_sequence_is_stored_twice(history: History, logs: dict[int, QueueLog]) -> None:
    logs[2].messages[2] = logs[2].messages[2]._replace(sequence=0)


@doctored("twice")
def two_receipts_name_one_message(history: History, logs: dict[int, QueueLog]) -> None:
    history.sends[1].message_id = history.sends[0].message_id


@doctored("reordered")
def sequences_fall_in_a_queue(history: History, logs: dict[int, QueueLog]) -> None:
    first, second, third = logs[2].messages
    logs[2].messages = [
        first, second._replace(sequence=third.sequence), third._replace(sequence=second.sequence)
    ]  # fmt: skip


@doctored("reordered")
def sends_of_a_key_fall_in_a_queue(history: History, logs: dict[int, QueueLog]) -> None:
    history.sends[0].number, history.sends[2].number = 2, 0


@doctored("skipped")
def a_reader_passed_over_a_message(history: History, logs: dict[int, QueueLog]) -> None:
    del history.reads[1]


@doctored("skipped")
def a_reader_began_too_late(history: History, logs: dict[int, QueueLog]) -> None:
    del history.reads[0]


@doctored("skipped")
def a_reader_went_back(history: History, logs: dict[int, QueueLog]) -> None:
    history.reads.append(history.reads[1])


@doctored("unresolved")
def a_send_was_never_answered(history: History, logs: dict[int, QueueLog]) -> None:
    history.sends[3].fate = Fate.OPEN


def test_an_honest_history_breaks_nothing() -> None:
    history, logs = honest()
    assert checkers.check_all(history, logs) == []
    assert checkers.misplaced(history, logs, ()) == []
    assert checkers.unread(history, logs, {("consumer-1", 1): 3, ("consumer-1", 2): 3}) == []


@pytest.mark.parametrize("name", DOCTORS)
def test_a_doctored_history_is_seen(name: str) -> None:
    rule, doctor = DOCTORS[name]
    history, logs = honest()
    doctor(history, logs)
    assert rule in {one.rule for one in checkers.check_all(history, logs)}


def test_a_key_in_two_queues_is_seen_unless_its_slots_moved() -> None:
    history, logs = honest()
    history.sends[1].key = "k"
    logs[2].messages[0] = logs[2].messages[0]._replace(key="k")
    assert [one.rule for one in checkers.misplaced(history, logs, ())] == ["misplaced"]
    assert checkers.misplaced(history, logs, ["t"]) == []


def test_a_queue_number_given_twice_is_seen() -> None:
    history, _ = honest()
    history.topic_ids_of[1] = {7, 8}
    assert [one.rule for one in checkers.renumbered(history)] == ["renumbered"]


def test_a_consumer_that_stopped_early_is_seen() -> None:
    history, logs = honest()
    assert [one.rule for one in checkers.unread(history, logs, {("consumer-1", 1): 2})] == [
        "unread"
    ]


def test_a_failed_send_may_be_stored_only_where_requests_are_copied() -> None:
    history, logs = honest()
    history.sends[5].fate = Fate.FAILED
    assert [one.rule for one in checkers.check_all(history, logs)] == ["invented"]
    history.copies = True
    assert checkers.check_all(history, logs) == []


def test_a_send_may_be_stored_twice_only_where_requests_are_copied() -> None:
    history, logs = honest()
    again = logs[1].messages[-1]._replace(offset=3, sequence=99, message_id=message_id(99))
    logs[1].messages.append(again)
    found = [one.rule for one in checkers.check_all(history, logs)]
    assert {"twice", "reordered"} <= set(found)
    history.copies = True
    assert checkers.reordered(history, logs) == checkers.twice(history, logs) == []


def test_what_retention_or_deletion_took_is_not_missed() -> None:
    history, logs = honest()
    logs[1] = QueueLog(2, 3, logs[1].messages[2:])
    history.dropped_queues = {2}
    del logs[2]
    assert checkers.check_all(history, logs) == []


def test_a_written_message_may_go_with_the_power_and_a_synced_one_may_not() -> None:
    history, logs = honest()
    history.reads.clear()
    del logs[1].messages[2]
    history.sends[4].ack, history.sends[4].forgiven = "written", True
    assert checkers.check_all(history, logs) == []
    history.sends[4].forgiven = False
    assert [one.rule for one in checkers.check_all(history, logs)] == ["lost"]
