"""Dead letters as people and programs see them."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.router.cli.deadletters import Choice, Failure, dead_letter, record_of, text_of
from support.received import Letter

SYSTEM = {
    "%TOPIC": "orders",
    "%QUEUE": "3",
    "%OFFSET": "4711",
    "%ATTEMPT": "16",
    "%CAUSE": "ValueError:\n no amount",
    "%DETAIL": "Traceback (most recent call last):\n  ValueError: no amount\n",
    "%HISTORY": '[[15, 1500, "first"], [16, 2500, "ValueError: no amount"]]',
}


def letter(**changes: Any) -> Any:
    properties = {**SYSTEM, "colour": "red"}
    message = Letter(
        topic="%DLQ%billing", queue_id=1, offset=7, keys=(), ordering_key=None,
        properties=properties, **changes,
    )  # fmt: skip
    return dead_letter(message)


def test_it_says_what_it_was_and_why_it_died() -> None:
    one = letter()
    assert (one.topic, one.queue_id, one.offset, one.attempts) == ("orders", 3, 4711, 16)
    assert one.place == "1/7"
    assert one.properties == {"colour": "red"}
    assert one.history == [Failure(15, 1500, "first"), Failure(16, 2500, "ValueError: no amount")]


def test_a_message_that_says_nothing_of_itself_is_shown_as_it_is() -> None:
    one = dead_letter(Letter(topic="%DLQ%billing", queue_id=1, offset=7, properties=None))
    assert (one.topic, one.queue_id, one.offset, one.attempts) == ("%DLQ%billing", 1, 7, 1)
    assert (one.cause, one.detail, one.history) == ("", "", [])


def test_as_text_it_has_two_lines_and_with_detail_all_there_is() -> None:
    short = text_of(letter(body=b"12 EUR")).splitlines()
    assert len(short) == 2
    assert short[0].startswith("1/7 ")
    assert "orders 3/4711  [paid] colour=red  12 EUR" in short[0]
    assert short[1].endswith("after 16 attempts: ValueError: no amount")
    detail = text_of(letter(), detail=True)
    assert "attempt 15: first" in detail
    assert "  Traceback (most recent call last):" in detail


def test_for_programs_it_is_one_record() -> None:
    record = record_of(letter(body=b"12 EUR"))
    assert record["origin"] == {"topic": "orders", "queue_id": 3, "offset": 4711}
    assert (record["place"], record["attempts"], record["body"]) == ("1/7", 16, "12 EUR")
    assert record["properties"] == {"colour": "red"}
    assert record["history"][0] == {
        "attempt": 15,
        "failed_at": "1970-01-01T00:00:01.500Z",
        "cause": "first",
    }


@pytest.mark.parametrize(
    ("choice", "taken"),
    [
        (Choice(), True),
        (Choice(topic="orders"), True),
        (Choice(topic="jobs"), False),
        (Choice(cause="valueERROR"), True),
        (Choice(cause="timeout"), False),
        (Choice(places=frozenset(["1/7", "0/1"])), True),
        (Choice(places=frozenset(["3/4711"])), False),
        (Choice(after={0: 0, 2: 9_000}), True),
        (Choice(after={0: 9_000, 1: 9_000}), False),
        (Choice(topic="orders", cause="timeout"), False),
    ],
)
def test_some_are_chosen_by_topic_cause_and_place(choice: Choice, taken: bool) -> None:
    assert choice.takes(letter()) is taken
