"""The router's core: what is handed on, what is answered here, and never twice."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import (
    ENVELOPE,
    FLAG_JSON,
    FLAG_REPLY,
    ROUTE,
    SHARD_ANY,
    SHARD_COORDINATOR,
    SHARD_ROUTER,
    pack_envelope,
    pack_request,
    unpack_route,
)
from shardmq.actors.protocol.limits import (
    DEADLINE_MS_MAX,
    REQUEST_QUEUES_MAX,
    SESSION_BYTES_MAX,
    SESSION_IDLE_MS,
    SESSION_REQUESTS_MAX,
)
from shardmq.actors.protocol.verbs import VERB_ROWS, Destination, Verb
from shardmq.router.admission import RESEND_MS
from shardmq.router.router import GRACE_MS, STOP_WAIT_MS
from shardmq.router.takings import TELL_BYTES
from support.manual import at
from support.routers import EPOCH, PEER, answer, code_of, error_of, front, started

# --- sessions ---------------------------------------------------------------------------------


def test_hello_opens_a_session_and_announces_the_limits() -> None:
    router = started(hello=False)
    [(_, peer, (route, header))] = router.handle([front(Verb.HELLO, m.Hello())], at(0))
    welcome = msgspec.msgpack.decode(header, type=m.Welcome)
    assert (peer, unpack_route(route).tail) == (PEER, Code.OK)
    assert (welcome.shards, welcome.broker, welcome.batch_version) == (2, "9.9", 1)
    assert welcome.limits.session_bytes == SESSION_BYTES_MAX
    assert int(welcome.router_epoch, 16) == EPOCH


def test_hello_in_json_is_answered_in_json() -> None:
    router = started(hello=False)
    letters = router.handle([front(Verb.HELLO, m.Hello(), flags=FLAG_JSON)], at(0))
    assert msgspec.json.decode(letters[0][2][1])["shards"] == 2


def test_without_hello_there_is_no_session() -> None:
    router = started(hello=False)
    for verb in (Verb.PRODUCE, Verb.PING, Verb.ROUTE):
        assert error_of(router.handle([front(verb)], at(0))).name == "UNKNOWN_SESSION"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"\xc1", Code.BAD_REQUEST),
        (b"\x81\xa5minor\xa1x", Code.BAD_REQUEST),
        (encode_header(m.Hello(batch_version=0)), Code.UNSUPPORTED_VERSION),
    ],
)
def test_a_hello_that_cannot_be_read_or_served_opens_nothing(header: bytes, code: Code) -> None:
    router = started(hello=False)
    assert code_of(router.handle([front(Verb.HELLO, header)], at(0))) == code
    assert router.stats()["sessions"] == 0
    assert router.wake_at_ms is None or code_of(router.handle([front(Verb.PING)], at(1)))


def test_a_silent_session_is_forgotten_and_the_router_sleeps_again() -> None:
    router = started()
    late = SESSION_IDLE_MS + 2_000.0
    assert router.handle([], at(late)) == []
    assert router.stats()["sessions"] == 0
    assert router.wake_at_ms is None
    assert code_of(router.handle([front(Verb.PING)], at(late))) == Code.UNKNOWN_SESSION


# --- handing on -------------------------------------------------------------------------------


def test_a_request_is_handed_on_untouched_behind_an_envelope() -> None:
    router = started()
    letter = front(Verb.PRODUCE, b"\x80", b"batch", shard=1, request_id=77)
    [(link, peer, frames)] = router.handle([letter], at(0))
    assert (link, peer) == ("shard-1", b"")
    assert frames[1:] == letter[2]
    epoch, session, frame_bytes, _ = ENVELOPE.unpack(frames[0])
    assert (epoch, frame_bytes) == (EPOCH, 24 + 1 + 5)
    assert session > 0


def test_a_reply_finds_its_connection_and_loses_the_envelope() -> None:
    router = started()
    [handed_on] = router.handle([front(Verb.FETCH, request_id=5)], at(0))
    reply = answer(handed_on, b"records")
    assert router.handle([reply], at(1)) == [("front", PEER, reply[2][1:])]
    assert router.drained()


@pytest.mark.parametrize(
    ("verb", "shard", "link"),
    [
        (Verb.PRODUCE, 0, "shard-0"),
        (Verb.OFFSETS, 1, "shard-1"),
        (Verb.ROUTE, SHARD_ANY, "coordinator"),
        (Verb.TOPIC_CREATE, 0, "coordinator"),
        (Verb.TOPIC_UPDATE, SHARD_COORDINATOR, "coordinator"),
        (Verb.TOPIC_DELETE, 7, "coordinator"),
        (Verb.TOPIC_LIST, 1, "coordinator"),
        (Verb.STATS, 1, "shard-1"),
        (Verb.STATS, SHARD_COORDINATOR, "coordinator"),
        (Verb.ACK, 1, "shard-1"),
        (Verb.CURSORS, 0, "shard-0"),
        (Verb.NACK, 1, "shard-1"),
        (Verb.GROUP_JOIN, SHARD_COORDINATOR, "coordinator"),
        (Verb.EVENTS, SHARD_COORDINATOR, "coordinator"),
        (Verb.GROUP_LEAVE, SHARD_ANY, "coordinator"),
        (Verb.GROUP_LIST, 0, "coordinator"),
        (Verb.GROUP_DESCRIBE, SHARD_COORDINATOR, "coordinator"),
        (Verb.GROUP_DELETE, SHARD_COORDINATOR, "coordinator"),
        (Verb.GROUP_RESET, SHARD_COORDINATOR, "coordinator"),
    ],
)
def test_the_verbs_row_says_who_answers(verb: Verb, shard: int, link: str) -> None:
    [(found, _, _)] = started().handle([front(verb, shard=shard)], at(0))
    assert found == link


def test_every_verb_is_handed_on_or_answered_here() -> None:
    for row in VERB_ROWS:
        [(link, _, frames)] = started().handle([front(row.verb, m.Hello())], at(0))
        if row.destination in (Destination.SHARD, Destination.NAMED):
            assert link == "shard-0"
        elif row.destination is Destination.COORDINATOR:
            assert link == "coordinator"
        else:
            internal = row.destination is Destination.INTERNAL
            wanted = Code.FORBIDDEN if internal else Code.OK
            assert (link, unpack_route(frames[0]).tail) == ("front", wanted)


def test_a_session_may_have_many_parked_requests() -> None:
    router = started()
    polls = [front(Verb.EVENTS, request_id=one, deadline_ms=4_000) for one in range(500)]
    parked = router.handle(polls, at(0))
    assert {link for link, _, _ in parked} == {"coordinator"}
    assert len(parked) == 500
    assert router.handle([], at(4_000)) == [], "their deadlines are not over yet"
    answers = router.handle([answer(one) for one in parked], at(4_001))
    assert [unpack_route(frames[0]).tail for _, _, frames in answers] == [Code.OK] * 500


def test_any_shard_means_each_in_turn_that_is_there() -> None:
    router = started()
    ask = [front(Verb.PRODUCE, shard=SHARD_ANY, request_id=one) for one in range(4)]
    assert [link for link, _, _ in router.handle(ask, at(0))] == ["shard-0", "shard-1"] * 2
    router.link_changed("shard-0", False, at(1))
    ask = [front(Verb.PRODUCE, shard=SHARD_ANY, request_id=one) for one in range(4, 8)]
    assert [link for link, _, _ in router.handle(ask, at(2))] == ["shard-1"] * 4


def test_a_drain_of_many_is_answered_in_one_call() -> None:
    router = started()
    many = [front(Verb.PRODUCE, shard=one % 2, request_id=one) for one in range(100)]
    handed_on = router.handle(many, at(0))
    assert len(handed_on) == 100
    replies = router.handle([answer(one) for one in handed_on], at(1))
    assert [unpack_route(frames[0]).request_id for _, _, frames in replies] == list(range(100))


# --- answered here ----------------------------------------------------------------------------


def test_ping_and_the_routers_own_figures_are_answered_here() -> None:
    router = started()
    router.report_loop(lambda: {"turns": 3})
    assert code_of(router.handle([front(Verb.PING)], at(0))) == Code.OK
    [(_, _, frames)] = router.handle([front(Verb.STATS, shard=SHARD_ROUTER)], at(0))
    stats = msgspec.msgpack.decode(frames[1], type=m.StatsReply)
    assert stats.actor == "router-0"
    assert (stats.figures["turns"], stats.figures["sessions"]) == (3, 1)


@pytest.mark.parametrize(
    ("letter", "code"),
    [
        (front(Verb.DEFINE), Code.FORBIDDEN),
        (front(Verb.GRANT), Code.FORBIDDEN),
        (front(Verb.RELEASE), Code.FORBIDDEN),
        (front(Verb.SESSIONS_GONE), Code.FORBIDDEN),
        (front(99), Code.UNKNOWN_VERB),
        (front(Verb.PRODUCE, shard=2), Code.STALE_ROUTE),
        (front(Verb.STATS, shard=2), Code.INVALID_ARGUMENT),
        (front(Verb.PRODUCE, deadline_ms=0), Code.BAD_REQUEST),
        (("front", PEER, [pack_request(Verb.FETCH, 1, 9)]), Code.BAD_REQUEST),
        (front(Verb.FETCH, flags=FLAG_REPLY), Code.BAD_REQUEST),
        (front(Verb.FETCH, b"", *[b""] * (REQUEST_QUEUES_MAX + 1)), Code.TOO_LARGE),
        (front(Verb.PRODUCE, b"", bytes(SESSION_BYTES_MAX)), Code.TOO_LARGE),
        (("front", PEER, [ROUTE.pack(b"SMQ", 2, 1, 0, 0, 1, 1), b""]), Code.UNSUPPORTED_VERSION),
    ],
)
def test_what_cannot_be_handed_on_is_refused_with_the_reason(letter: Letter, code: Code) -> None:
    error = error_of(started().handle([letter], at(0)))
    assert error.name == code.name
    assert len(error.message) > 10


@pytest.mark.parametrize("frames", [[b""], [b"x" * 24, b""], [b"SMQ"], [bytes(25)]])
def test_what_has_no_route_frame_is_counted_and_dropped(frames: list[Any]) -> None:
    router = started()
    assert router.handle([("front", PEER, frames)], at(0)) == []
    assert router.handle([("front", b"stranger", frames)], at(0)) == []
    assert router.stats()["malformed_requests"] == 2


def test_a_deadline_beyond_the_limit_counts_as_the_limit() -> None:
    router = started()
    [letter] = router.handle([front(Verb.FETCH, deadline_ms=0xFFFFFFFF)], at(0))
    assert letter[0] == "shard-0"
    assert router.handle([], at(DEADLINE_MS_MAX)) == []
    assert code_of(router.handle([], at(DEADLINE_MS_MAX + 3_000.0))) == Code.TIMED_OUT


def test_too_much_in_flight_is_busy_until_a_reply_makes_room() -> None:
    router = started()
    [first] = router.handle([front(Verb.PRODUCE, b"", bytes(SESSION_BYTES_MAX - 100))], at(0))
    second = front(Verb.PRODUCE, b"", bytes(200), request_id=2)
    busy = error_of(router.handle([second], at(0)))
    assert (busy.name, busy.retryable) == ("BUSY", True)
    assert busy.retry_after_ms > 0
    router.handle([answer(first)], at(1))
    assert router.handle([second], at(2))[0][0] == "shard-0"


def test_too_many_requests_in_flight_are_busy() -> None:
    router = started()
    for request_id in range(SESSION_REQUESTS_MAX):
        router.handle([front(Verb.FETCH, request_id=request_id)], at(0))
    assert error_of(router.handle([front(Verb.FETCH, request_id=9_999)], at(0))).name == "BUSY"


# --- loss -------------------------------------------------------------------------------------


def test_a_shard_that_is_not_there_is_said_at_once() -> None:
    error = error_of(started(links=()).handle([front(Verb.PRODUCE)], at(0)))
    assert (error.name, error.retryable) == ("UNAVAILABLE", True)
    assert error.retry_after_ms > 0


def test_a_lost_link_answers_what_was_on_it_and_nothing_else() -> None:
    router = started()
    kept, lost = router.handle(
        [front(Verb.PRODUCE, shard=1, request_id=1), front(Verb.PRODUCE, shard=0, request_id=2)],
        at(0),
    )
    letters = router.link_changed("shard-0", False, at(1))
    assert code_of(letters) == Code.UNAVAILABLE
    assert unpack_route(letters[0][2][0]).request_id == 2
    assert router.handle([answer(lost)], at(2)) == []
    assert code_of(router.handle([answer(kept)], at(2))) == Code.OK
    assert router.stats()["late_replies"] == 1


def test_a_request_that_nobody_answers_times_out_behind_its_deadline() -> None:
    router = started()
    [lost] = router.handle([front(Verb.ROUTE, deadline_ms=2_000)], at(0))
    assert router.handle([], at(2_000.0 + GRACE_MS - 1)) == []
    assert code_of(router.handle([], at(2_000.0 + GRACE_MS + 1_000))) == Code.TIMED_OUT
    assert router.handle([answer(lost)], at(9_000)) == []


def test_a_reply_to_another_routers_request_is_dropped() -> None:
    router = started()
    [(link, peer, frames)] = router.handle([front(Verb.PRODUCE)], at(0))
    _, session, size, _ = ENVELOPE.unpack(frames[0])
    for envelope in (pack_envelope(EPOCH + 1, session, size), pack_envelope(EPOCH, 12345, size)):
        assert router.handle([answer((link, peer, [envelope, *frames[1:]]))], at(1)) == []
    assert router.stats()["late_replies"] == 2
    assert not router.drained()


def test_a_malformed_reply_is_counted_and_dropped() -> None:
    router = started()
    for frames in ([b""], [b"", b"", b""], [bytes(24), b"short", b""]):
        assert router.handle([("shard-0", b"", frames)], at(0)) == []
    assert router.stats()["malformed_requests"] == 3


def test_a_resent_request_is_answered_once() -> None:
    router = started()
    [first] = router.handle([front(Verb.FETCH, request_id=4)], at(0))
    [second] = router.handle([front(Verb.FETCH, request_id=4)], at(1))
    assert code_of(router.handle([answer(second)], at(2))) == Code.OK
    assert router.handle([answer(first)], at(3)) == []


def test_one_request_sent_again_and_again_stays_within_the_bounds() -> None:
    router = started()
    again = [front(Verb.PRODUCE, b"\x80", bytes(5 << 20), request_id=4) for _ in range(20)]
    handed_on = []
    for second in range(5):
        handed_on += router.handle(again, at(second * RESEND_MS))
    [*copies, busy] = [one for one in handed_on if one[0] == "shard-0" or one is handed_on[-1]]
    assert len(copies) == 3, "16 MiB a session"
    assert code_of([busy]) == Code.BUSY
    assert code_of(router.handle([answer(copies[0])], at(5_000))) == Code.OK
    assert router.stats()["bytes_in_flight"] == 0


# --- stop -------------------------------------------------------------------------------------


@pytest.mark.parametrize("parked", [Verb.FETCH, Verb.EVENTS])
def test_a_stop_answers_polls_at_once_and_lets_work_finish(parked: Verb) -> None:
    router = started()
    work, _ = router.handle([front(Verb.PRODUCE, request_id=1), front(parked, request_id=2)], at(0))
    assert code_of(router.stop(at(10))) == Code.SHUTTING_DOWN
    assert not router.drained()
    assert error_of(router.handle([front(Verb.PRODUCE)], at(11))).name == "SHUTTING_DOWN"
    assert code_of(router.handle([answer(work)], at(12))) == Code.OK
    assert router.drained()


def test_a_stop_does_not_wait_for_ever() -> None:
    router = started()
    router.handle([front(Verb.PRODUCE)], at(0))
    router.stop(at(10))
    assert router.wake_at_ms == 10 + STOP_WAIT_MS
    assert code_of(router.handle([], at(10 + STOP_WAIT_MS))) == Code.SHUTTING_DOWN
    assert router.drained()
    assert router.wake_at_ms is None


def test_requests_of_a_peer_that_takes_no_answers_are_refused_until_it_does() -> None:
    # Found by scripts/stuck_consumers.py: who never read had a thousand answers made at a time.
    router = started()
    choked = {PEER}
    router.heed(choked)
    assert error_of(router.handle([front(Verb.FETCH)], at(0))).name == "BUSY"
    choked.clear()
    assert router.handle([front(Verb.FETCH, request_id=2)], at(1))[0][0] == "shard-0"


def test_a_shard_hears_how_much_of_its_answers_was_taken() -> None:
    router = started()
    [asked] = router.handle([front(Verb.FETCH)], at(0))
    told = router.handle([answer(asked, bytes(TELL_BYTES))], at(1))
    assert [one[0] for one in told] == ["shard-0", "front"]
    assert router.handle([answer(told[0])], at(2)) == [], "nobody waits for what it answers"
    assert not router.stats()["late_replies"]
