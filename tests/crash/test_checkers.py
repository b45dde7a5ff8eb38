"""The checkers of histories: silent on a sound one, and each red on a history doctored for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.checkers import CHECKS, History, Place, Read, Value, check

KEYS = ("a", "b", "c")


def sound() -> History:
    """Two producers, three keys, two queues, a reader that saw it all and one that saw some."""
    final: list[Read] = []
    acknowledged: dict[Value, Place] = {}
    ends = {0: 0, 1: 0}
    for number in range(60):
        producer = f"p{number % 2}"
        key = KEYS[number % 3]
        value = Value(producer, key, number)
        queue_id = KEYS.index(key) % 2
        place = Place(queue_id, ends[queue_id])
        ends[queue_id] += 1
        final.append(Read(place, value))
        if number % 7:  # some answers were lost
            acknowledged[value] = place
    final.sort()
    lost_for_sure = Value("p0", "a", 100)
    lost_maybe = Value("p1", "b", 101)
    sent = {read.value for read in final} | {lost_for_sure, lost_maybe}
    return History(
        sent=frozenset(sent),
        acknowledged=acknowledged,
        failed=frozenset([lost_for_sure]),
        readers={"tail": list(final), "hop-1": final[10:20]},
        final=list(final),
    )


def broken(history: History) -> set[str]:
    return {violation.promise for violation in check(history)}


def test_a_sound_history_has_no_violation() -> None:
    assert check(sound()) == []


def lose_an_acknowledged_one(history: History) -> History:
    value, place = next(iter(history.acknowledged.items()))
    final = [read for read in history.final if read.value != value]
    readers = {"tail": []}
    return history._replace(final=final, readers=readers, acknowledged={value: place})


def move_an_acknowledged_one(history: History) -> History:
    value, place = next(iter(history.acknowledged.items()))
    acknowledged = {**history.acknowledged, value: Place(place.queue_id, place.offset + 1)}
    return history._replace(acknowledged=acknowledged)


def invent_one(history: History) -> History:
    return history._replace(sent=history.sent - {history.final[5].value})


def deliver_a_failed_one(history: History) -> History:
    return history._replace(failed=frozenset([history.final[5].value]))


def store_one_twice(history: History) -> History:
    last = history.final[-1]
    again = Read(Place(last.place.queue_id, last.place.offset + 1), history.final[3].value)
    return history._replace(final=[*history.final, again])


def swap_two_of_one_key(history: History) -> History:
    final = list(history.final)
    first, second = [
        index for index, read in enumerate(final) if read.value[:2] == final[0].value[:2]
    ][:2]
    one, other = final[first], final[second]
    final[first], final[second] = one._replace(value=other.value), other._replace(value=one.value)
    return history._replace(final=final, readers={}, acknowledged={})


def split_a_key_over_two_queues(history: History) -> History:
    value = Value("p0", "a", 999)
    place = Place(1, 1 + max(r.place.offset for r in history.final if r.place.queue_id == 1))
    return history._replace(final=[*history.final, Read(place, value)], sent=history.sent | {value})


def skip_an_offset_in_a_reader(history: History) -> History:
    tail = [read for index, read in enumerate(history.final) if index != 4]
    return history._replace(readers={"tail": tail})


def repeat_an_offset_in_a_reader(history: History) -> History:
    return history._replace(readers={"tail": [*history.final[:3], *history.final[2:]]})


def leave_a_hole_at_the_end(history: History) -> History:
    final = [read for index, read in enumerate(history.final) if index != 4]
    return history._replace(final=final, readers={}, acknowledged={})


def forget_what_a_reader_saw(history: History) -> History:
    return history._replace(final=history.final[:-1], acknowledged={})


def change_what_a_reader_saw(history: History) -> History:
    final = list(history.final)
    final[-1] = final[-1]._replace(value=Value("p1", "b", 101))
    return history._replace(final=final, acknowledged={})


@pytest.mark.parametrize(
    ("doctor", "promise"),
    [
        (lose_an_acknowledged_one, "nothing lost"),
        (move_an_acknowledged_one, "nothing lost"),
        (invent_one, "nothing invented"),
        (deliver_a_failed_one, "nothing invented"),
        (store_one_twice, "nothing twice"),
        (swap_two_of_one_key, "nothing reordered"),
        (split_a_key_over_two_queues, "nothing reordered"),
        (skip_an_offset_in_a_reader, "nothing skipped"),
        (repeat_an_offset_in_a_reader, "nothing skipped"),
        (leave_a_hole_at_the_end, "nothing skipped"),
        (forget_what_a_reader_saw, "nothing vanished"),
        (change_what_a_reader_saw, "nothing vanished"),
    ],
)
def test_a_doctored_history_breaks_its_promise(
    doctor: Callable[[History], History], promise: str
) -> None:
    violations = [one for one in check(doctor(sound())) if one.promise == promise]
    assert violations
    assert all(one.text for one in violations)


def test_every_promise_was_seen_broken() -> None:
    marks = test_a_doctored_history_breaks_its_promise.pytestmark  # type: ignore[attr-defined]
    assert {promise for _, promise in marks[0].args[1]} == set(CHECKS)


def test_an_unknown_send_may_be_there_or_not() -> None:
    history = sound()
    maybe = Value("p1", "b", 101)
    assert maybe in history.sent
    place = Place(1, 1 + max(r.place.offset for r in history.final if r.place.queue_id == 1))
    assert check(history._replace(final=[*history.final, Read(place, maybe)])) == []
