"""ClientCore: sessions, retries, deadlines, heartbeats, on a manual clock."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import SHARD_ROUTER, unpack_route
from shardmq.actors.protocol.verbs import Verb
from shardmq.client.link.calls import Call, Reply
from shardmq.client.link.core import TRANSITIONS, Event, State
from support.clients import Wired


def ask(wired: Wired, timeout_ms: float = 3_000.0, verb: Verb = Verb.STATS) -> list[Reply]:
    """Submits a call; what it ends with will be in the list."""
    ended: list[Reply] = []
    call = Call(
        verb,
        encode_header(m.StatsRequest()),
        lambda reply, now: ended.append(reply),
        deadline_ms=wired.now.mono_ms + timeout_ms,
        shard=0,
    )
    wired.core.submit(call, wired.now)
    return ended


def refuse(code: Code, retry_after_ms: int = 0) -> tuple[Code, m.ErrorReply]:
    return code, m.ErrorReply(name=code.name, message="no", retry_after_ms=retry_after_ms)


def verbs(wired: Wired) -> list[int]:
    return [route.verb for route, _, _ in wired.broker.seen]


def test_a_connection_says_hello_and_then_requests_may_leave() -> None:
    wired = Wired(connected=False)
    ended = ask(wired)
    assert not wired.core.outbox, "nothing leaves before there is a session"
    wired.core.connected(wired.now)
    wired.run()
    assert verbs(wired) == [Verb.HELLO, Verb.STATS]
    assert [reply.code for reply in ended] == [Code.OK]
    assert wired.core.state is State.READY


def test_every_transition_leads_where_the_table_says_and_others_change_nothing() -> None:
    for state in State:
        for event in Event:
            wired = Wired()
            wired.core.state = state
            moved = wired.core._move(event, wired.now)
            assert wired.core.state is TRANSITIONS.get((state, event), state)
            assert moved == ((state, event) in TRANSITIONS)


def test_it_is_known_since_when_there_is_no_session() -> None:
    wired = Wired(connected=False)
    assert wired.core.away_since_ms == -inf
    wired.core.connected(wired.now)
    assert wired.core.away_since_ms == -inf, "nobody has said WELCOME"
    wired.run()
    assert wired.core.away_since_ms == inf
    wired.advance(500)
    wired.core.disconnected(wired.now)
    since_ms = wired.now.mono_ms
    wired.advance(300)
    wired.core.connected(wired.now)
    wired.core.disconnected(wired.now)
    assert wired.core.away_since_ms == since_ms


def test_an_unknown_session_is_answered_with_hello_and_the_same_request() -> None:
    wired = Wired()
    wired.broker.known_session = False  # the router was replaced, and TCP did not tell
    ended = ask(wired)
    wired.run()
    assert verbs(wired) == [Verb.HELLO, Verb.STATS, Verb.HELLO, Verb.STATS]
    assert [reply.code for reply in ended] == [Code.OK]
    assert not ended[0].unknown, "a refused request did not happen"
    first, again = wired.broker.seen[1][0], wired.broker.seen[3][0]
    assert first.request_id == again.request_id


def test_a_lost_reply_is_asked_for_again_with_the_same_bytes() -> None:
    wired = Wired()
    wired.broker.lose = lambda route: len(wired.broker.seen) == 2
    ended = ask(wired)
    wired.run()
    assert ended == []
    wired.advance(999)
    assert len(wired.broker.seen) == 2
    wired.advance(1)
    assert [reply.code for reply in ended] == [Code.OK]
    (first, header, _), (again, header_again, _) = wired.broker.seen[1:]
    assert (first.request_id, header) == (again.request_id, header_again)
    assert again.tail < first.tail, "the second attempt has less time left"


def test_one_deadline_bounds_all_attempts_and_the_end_is_unknown() -> None:
    wired = Wired()
    wired.broker.lose = lambda route: True
    ended = ask(wired)
    wired.run()
    wired.advance(2_999)
    assert ended == []
    wired.advance(1)
    assert [(reply.code, reply.unknown, reply.sent) for reply in ended] == [
        (Code.TIMED_OUT, True, True)
    ]
    assert wired.core.in_flight_bytes == 0


def test_without_a_broker_a_call_ends_at_its_deadline_and_surely_did_not_happen() -> None:
    wired = Wired(connected=False)
    ended = ask(wired)
    wired.advance(3_000)
    assert [(reply.code, reply.unknown, reply.sent) for reply in ended] == [
        (Code.TIMED_OUT, False, False)
    ]
    assert "no broker answered" in ended[0].error().message


@pytest.mark.parametrize("code", [Code.BUSY, Code.UNAVAILABLE, Code.SHUTTING_DOWN])
def test_a_retryable_refusal_is_sent_again_after_what_the_broker_asks_for(code: Code) -> None:
    wired = Wired()
    refusals = [refuse(code, retry_after_ms=70)]
    wired.broker.answer = lambda *_: refusals.pop() if refusals else None
    ended = ask(wired)
    wired.run()
    wired.advance(69)
    assert ended == []
    wired.advance(1)
    assert [reply.code for reply in ended] == [Code.OK]
    assert ended[0].unknown == (code != Code.BUSY)


def test_a_refusal_that_is_not_retryable_ends_the_call_at_once() -> None:
    wired = Wired()
    wired.broker.answer = lambda *_: refuse(Code.FORBIDDEN)
    ended = ask(wired)
    wired.run()
    assert [reply.code for reply in ended] == [Code.FORBIDDEN]


def test_a_busy_broker_is_reported_as_busy_at_the_deadline() -> None:
    wired = Wired()
    wired.broker.answer = lambda *_: refuse(Code.BUSY)
    ended = ask(wired)
    wired.run()
    wired.advance(3_000)
    assert [(reply.code, reply.unknown) for reply in ended] == [(Code.BUSY, False)]


def test_a_new_connection_says_hello_and_sends_everything_again() -> None:
    wired = Wired()
    wired.broker.lose = lambda route: True
    ended = ask(wired)
    wired.run()
    wired.core.disconnected(wired.now)
    wired.broker.lose = lambda route: False
    wired.broker.known_session = False
    wired.core.connected(wired.now)
    wired.run()
    assert [(reply.code, reply.unknown) for reply in ended] == [(Code.OK, True)]


def test_a_refused_hello_fails_what_waits_and_what_comes_later() -> None:
    wired = Wired(connected=False)
    wired.broker.answer = lambda route, *_: (
        refuse(Code.UNAUTHORIZED) if route.verb == Verb.HELLO else None
    )
    before = ask(wired)
    wired.core.connected(wired.now)
    wired.run()
    after = ask(wired)
    assert after == [], "never from inside submit"
    wired.advance(0)
    assert [reply.code for reply in before + after] == [Code.UNAUTHORIZED] * 2
    assert wired.core.state is State.REFUSED


def test_a_lost_welcome_is_asked_for_again() -> None:
    wired = Wired(connected=False)
    wired.broker.lose = lambda route: len(wired.broker.seen) == 1
    wired.core.connected(wired.now)
    wired.run()
    assert wired.core.state is State.GREETING
    wired.advance(1_000)
    assert wired.core.state is State.READY


def test_a_broker_with_too_many_sessions_is_greeted_again_later() -> None:
    wired = Wired(connected=False)
    refusals = [refuse(Code.BUSY, retry_after_ms=500)]
    wired.broker.answer = lambda *_: refusals.pop() if refusals else None
    wired.core.connected(wired.now)
    wired.run()
    wired.advance(499)
    assert wired.core.state is State.GREETING
    wired.advance(1)
    assert wired.core.state is State.READY


def test_a_quiet_client_sends_a_ping_and_a_busy_one_does_not() -> None:
    wired = Wired()
    wired.advance(9_999)
    assert verbs(wired) == [Verb.HELLO]
    ask(wired)
    wired.run()
    wired.advance(9_999)
    assert verbs(wired) == [Verb.HELLO, Verb.STATS]
    wired.advance(1)
    assert verbs(wired) == [Verb.HELLO, Verb.STATS, Verb.PING]
    assert wired.broker.seen[-1][0].shard == SHARD_ROUTER


def test_late_foreign_and_malformed_replies_are_dropped() -> None:
    wired = Wired()
    ended = ask(wired)
    (reply,) = wired.broker.handle(wired.core.outbox.popleft())
    wired.core.receive([b"short"], wired.now)
    wired.core.receive([], wired.now)
    wired.core.receive([reply[0][:6] + b"\0\0" + reply[0][8:], reply[1]], wired.now)
    assert wired.core.malformed == 3
    wired.core.receive(reply, wired.now)
    wired.core.receive(reply, wired.now)
    assert len(ended) == 1


def test_credit_counts_what_is_in_flight() -> None:
    wired = Wired()
    whole = wired.core.credit_bytes
    ask(wired)
    assert wired.core.credit_bytes == whole - len(encode_header(m.StatsRequest()))
    wired.run()
    assert wired.core.credit_bytes == whole


def test_a_forgotten_call_is_never_answered() -> None:
    wired = Wired()
    ended: list[Any] = []

    def done(reply: Reply, now: Now) -> None:
        ended.append(reply)

    call = Call(
        Verb.PING, encode_header(m.Ping()), done, deadline_ms=wired.now.mono_ms + 100, shard=0
    )
    wired.core.submit(call, wired.now)
    wired.core.forget(call)
    wired.run()
    wired.advance(5_000)
    assert ended == []
    assert wired.core.figures()["calls"] == 0


def test_replacing_a_parked_call_keeps_its_id() -> None:
    wired = Wired()
    wired.broker.lose = lambda route: True
    call = Call(
        Verb.STATS, encode_header(m.StatsRequest()), lambda *_: None,
        deadline_ms=wired.now.mono_ms + 9_000, shard=0, attempt_ms=8_000.0,
    )  # fmt: skip
    wired.core.submit(call, wired.now)
    wired.core.replace(call, b"\x80", wired.now)
    ids = {unpack_route(frames[0]).request_id for frames in wired.core.outbox}
    assert ids == {call.request_id}
    assert [frames[1] for frames in wired.core.outbox][1] == b"\x80"
