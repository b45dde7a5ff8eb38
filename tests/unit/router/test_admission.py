"""Admission: the books of what is in flight."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.frames import pack_request, unpack_route
from shardmq.actors.protocol.limits import (
    ROUTER_BYTES_MAX,
    SESSION_BYTES_MAX,
    SESSION_REQUESTS_MAX,
)
from shardmq.actors.protocol.verbs import Verb
from shardmq.router.admission import RESEND_MS, Admission
from shardmq.router.sessions import InFlight, Session


def entry(
    frame_bytes: int = 100,
    *,
    deadline_ms: float = 1_000.0,
    link: str = "shard-0",
    verb: int = Verb.PRODUCE,
) -> InFlight:
    return frame_bytes, deadline_ms, link, pack_request(verb, 1, 1_000)


def test_bytes_are_charged_and_given_back() -> None:
    books, session = Admission(), Session(b"a", 1, 0.0)
    books.enter(session, 7, entry(300))
    assert (books.bytes_in_flight, session.bytes_in_flight, books.requests_in_flight) == (
        300,
        300,
        1,
    )
    assert books.settle(session, 7) == entry(300)
    assert books.settle(session, 7) is None
    assert (books.bytes_in_flight, session.bytes_in_flight, books.requests_in_flight) == (0, 0, 0)


def test_a_request_that_is_resent_takes_over_its_entry() -> None:
    books, session = Admission(), Session(b"a", 1, 0.0)
    books.enter(session, 7, entry(300))
    books.enter(session, 7, entry(200))
    assert (books.bytes_in_flight, books.requests_in_flight) == (500, 1), "both are under way"
    assert books.settle(session, 7) is not None
    assert (books.bytes_in_flight, books.requests_in_flight) == (0, 0)


@pytest.mark.parametrize("parked", [Verb.FETCH, Verb.EVENTS])
def test_only_a_small_parked_request_is_exchanged_at_once(parked: Verb) -> None:
    books, session = Admission(), Session(b"a", 1, 0.0)
    books.enter(session, 1, entry(deadline_ms=3_000.0))  # asked for 1,000 ms at 2,000
    produce, fetch = (unpack_route(pack_request(verb, 1, 900)) for verb in (Verb.PRODUCE, parked))
    assert books.is_hasty(session, produce, 100, 2_000.0 + RESEND_MS - 1)
    assert not books.is_hasty(session, produce, 100, 2_000.0 + RESEND_MS)
    assert not books.is_hasty(session, fetch, 100, 2_001.0)
    assert books.is_hasty(session, fetch, 1 << 20, 2_001.0), "nobody asks for so many queues"
    assert not books.is_hasty(session, produce._replace(request_id=2), 100, 2_001.0)


def test_a_session_is_busy_at_its_bytes_and_at_its_requests() -> None:
    books, session = Admission(), Session(b"a", 1, 0.0)
    assert books.why_busy(session, SESSION_BYTES_MAX) is None
    books.enter(session, 0, entry(SESSION_BYTES_MAX - 10))
    assert books.why_busy(session, 10) is None
    assert "this session" in str(books.why_busy(session, 11))
    books.settle(session, 0)
    for request_id in range(SESSION_REQUESTS_MAX):
        books.enter(session, request_id, entry(1))
    assert str(SESSION_REQUESTS_MAX) in str(books.why_busy(session, 1))


def test_all_sessions_together_are_bounded() -> None:
    books = Admission()
    for number in range(ROUTER_BYTES_MAX // SESSION_BYTES_MAX):
        books.enter(Session(b"%d" % number, number, 0.0), 0, entry(SESSION_BYTES_MAX))
    assert "all sessions" in str(books.why_busy(Session(b"x", 99, 0.0), 1))


def test_entries_are_found_by_link_deadline_and_verb() -> None:
    books = Admission()
    one, two = Session(b"a", 1, 0.0), Session(b"b", 2, 0.0)
    books.enter(one, 1, entry(link="shard-0", deadline_ms=10.0))
    books.enter(one, 2, entry(link="shard-1", deadline_ms=20.0))
    books.enter(two, 1, entry(link="shard-0", deadline_ms=30.0, verb=Verb.FETCH))
    both = [one, two]
    assert [found[0] for found in books.settle_where(both, due_ms=10.0)] == [one]
    assert [found[0] for found in books.settle_where(both, verbs=[Verb.FETCH])] == [two]
    assert books.settle_where(both, link="shard-0") == []
    assert [found[1][2] for found in books.settle_where(both)] == ["shard-1"]
    assert (books.bytes_in_flight, books.requests_in_flight) == (0, 0)
