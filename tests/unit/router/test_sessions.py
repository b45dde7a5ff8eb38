"""Sessions: the table of connections that said HELLO."""

from __future__ import annotations

from shardmq.actors.protocol.limits import SESSION_IDLE_MS
from shardmq.router.sessions import Sessions
from support.manual import CountingRandomness


def test_a_peer_keeps_its_session_however_often_it_says_hello() -> None:
    sessions = Sessions(CountingRandomness())
    first = sessions.open(b"a", 0.0)
    assert first is not None
    assert sessions.open(b"a", 5.0) is first
    assert sessions.by_number[first.number] is first
    assert len(sessions) == 1


def test_numbers_fit_into_63_bits_and_are_never_given_twice() -> None:
    sessions = Sessions(CountingRandomness([0, (1 << 64) - 1, (1 << 63) - 1, 7]))
    first, second = sessions.open(b"a", 0.0), sessions.open(b"b", 0.0)
    assert first is not None
    assert second is not None
    assert (first.number, second.number) == ((1 << 63) - 1, 7)


def test_a_full_table_takes_no_more() -> None:
    sessions = Sessions(CountingRandomness(), sessions_max=1)
    assert sessions.open(b"a", 0.0) is not None
    assert sessions.open(b"b", 0.0) is None


def test_silence_ends_a_session_unless_it_waits_for_an_answer() -> None:
    sessions = Sessions(CountingRandomness())
    silent, waiting = sessions.open(b"a", 0.0), sessions.open(b"b", 0.0)
    assert silent is not None
    assert waiting is not None
    waiting.in_flight[1] = (10, 1e6, "shard-0", b"")
    assert sessions.expire(SESSION_IDLE_MS) == 0
    assert sessions.expire(SESSION_IDLE_MS + 1.0) == 1
    assert list(sessions.by_peer) == [b"b"]
    assert silent.number not in sessions.by_number


def test_a_session_ends_with_its_connection_unless_something_of_it_is_in_flight() -> None:
    sessions = Sessions(CountingRandomness(), sessions_max=2)
    idle, working = sessions.open(b"a", 0.0), sessions.open(b"b", 0.0)
    assert idle is not None
    assert working is not None
    working.in_flight[1] = (10, 1e6, "shard-0", b"")
    assert sessions.end(b"a") is idle
    assert sessions.end(b"a") is None
    assert sessions.end(b"b") is working
    assert sessions.by_peer == {}
    assert list(sessions.by_number) == [working.number]
    again = sessions.open(b"b", 1.0)
    assert again is not working, "a connection of the same name is another session"
    assert sessions.open(b"c", 1.0) is None, "what has ended but is not answered keeps its place"
    assert sessions.expire(2.0) == 0
    working.in_flight.clear()
    assert sessions.expire(2.0) == 1
    assert sessions.open(b"c", 2.0) is not None
