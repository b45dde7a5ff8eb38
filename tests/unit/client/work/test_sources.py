"""The values of a receiver: their beginnings and ends."""

from __future__ import annotations

import pytest

from shardmq.client import errors
from shardmq.client.work.options import Asked
from shardmq.client.work.sources import (
    PATIENCE_MS,
    Arrived,
    Request,
    Source,
    Sources,
    Wish,
    sharing,
)


def test_a_wish_waits_as_long_as_it_was_told_and_is_patient_for_a_while() -> None:
    short, long = Wish(Asked(5, 1, 10.0), 100.0), Wish(Asked(5, 1, 90_000.0), 100.0)
    assert (short.until_ms, short.patient_ms) == (110.0, 100.0 + PATIENCE_MS)
    assert (long.until_ms, long.patient_ms) == (90_100.0, 90_100.0)


def test_a_request_wants_as_much_as_all_its_wishes() -> None:
    wishes = [Wish(Asked(count, 7, 10.0), 0.0) for count in (3, 4)]
    request = Request(Source(1), wishes, 9, 500.0)
    assert (request.count, request.invisible_ms) == (7, 7)


def test_the_outcome_is_messages_or_the_reason_why_there_are_none() -> None:
    wish = Wish(Asked(5, 1, 10.0), 0.0)
    wish.settle()
    assert wish.outcome() == []
    wish.settle(errors.Busy("later"))
    with pytest.raises(errors.Busy):
        wish.outcome()


def test_what_arrived_is_taken_or_recalled_and_never_both() -> None:
    arrived, messages = Arrived(), [object()]
    taken, recalled, given_up = (Wish(Asked(5, 1, 10.0), 0.0) for _ in range(3))
    for wish in (taken, recalled, given_up):
        arrived.settle(wish, list(messages))  # type: ignore[arg-type]
    assert arrived.take(taken) == messages
    assert arrived.recall(given_up) == messages
    assert arrived.recall(given_up) == []
    assert arrived.recall_all(errors.ClosedError("consumer")) == messages
    assert arrived.recall_all(errors.ClosedError("consumer")) == []
    with pytest.raises(errors.ClosedError):
        arrived.take(recalled)
    assert taken.error is None


def test_shards_are_asked_in_turn_but_for_those_that_are_away() -> None:
    sources = Sources()
    assert sources.change({0, 1, 2, 3}) == []
    sources.last = 1
    sources[3].is_away = True
    assert [source.number for source in sources.in_turn()] == [2, 0, 1]
    gone = sources[2]
    assert sources.change({0, 1, 3, 4}) == [gone]
    assert sorted(sources) == [0, 1, 3, 4]


def test_wishes_share_a_request_that_are_invisible_alike_and_find_room() -> None:
    wishes = [Wish(Asked(*asked, 10.0), 0.0) for asked in ((1_000, 7), (5, 8), (30, 7), (24, 7))]
    assert sharing(wishes, 4) == [wishes[0], wishes[3]]
    assert sharing(wishes, 1) == [wishes[0]]


def test_a_request_knows_who_still_waits_for_it_and_whether_it_was_heard() -> None:
    wishes = [Wish(Asked(3, 7, 10.0), 0.0) for _ in range(3)]
    request, other = (Request(Source(1), wishes, 9, 500.0) for _ in range(2))
    wishes[0].settle()
    wishes[1].request = other
    assert request.waiting == [wishes[2]]
    assert not request.is_unheard
