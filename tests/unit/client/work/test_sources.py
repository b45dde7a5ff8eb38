"""The values of a receiver: their beginnings and ends."""

from __future__ import annotations

import pytest

from shardmq.client import errors
from shardmq.client.work.options import Asked
from shardmq.client.work.sources import PATIENCE_MS, Request, Source, Wish


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
