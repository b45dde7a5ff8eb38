"""Farewells: what the coordinator is told, and when it is told again."""

from __future__ import annotations

import msgspec

from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import ENVELOPE, pack_envelope, unpack_route
from shardmq.actors.protocol.group_messages import SessionsGone
from shardmq.actors.protocol.limits import LEASE_MS, REQUEST_QUEUES_MAX, SESSIONS_MAX
from shardmq.actors.protocol.verbs import Verb
from shardmq.router.farewells import ANSWER_MS, OWN_SESSION, RETRY_MS, Farewells
from support.manual import at

EPOCH = 5


def told(letters: list[Letter]) -> tuple[int, list[int]]:
    """Request id and session numbers of the only letter."""
    [(link, peer, (envelope, route, header))] = letters
    assert (link, peer) == ("coordinator", b"")
    epoch, number, frame_bytes, _ = ENVELOPE.unpack(envelope)
    assert (epoch, number, frame_bytes) == (EPOCH, OWN_SESSION, 24 + len(header))
    asked = unpack_route(route)
    assert asked.verb == Verb.SESSIONS_GONE
    sessions = msgspec.msgpack.decode(header, type=SessionsGone).sessions
    numbers = [int.from_bytes(bytes.fromhex(one)[8:], "little") for one in sessions]
    assert sessions == [pack_envelope(EPOCH, one, 77, "who")[:16].hex() for one in numbers]
    return asked.request_id, numbers


def started(*numbers: int, up: bool = True) -> Farewells:
    farewells = Farewells("coordinator", epoch=EPOCH)
    if up:
        assert farewells.link_changed(True, at(0)) == []
    for number in numbers:
        farewells.add(number, at(0))
    return farewells


def test_all_that_ended_in_a_turn_is_told_at_once() -> None:
    farewells = started(7, 8)
    request_id, numbers = told(farewells.due(at(0)))
    assert numbers == [7, 8]
    assert farewells.due(at(1)) == [], "one at a time"
    assert farewells.answered(request_id, Code.OK, at(2)) == []
    assert (len(farewells), farewells.wake_at_ms) == (0, None)


def test_what_ends_meanwhile_goes_with_the_next() -> None:
    farewells = started(7)
    request_id, _ = told(farewells.due(at(0)))
    farewells.add(8, at(1))
    farewells.add(9, at(1))
    assert farewells.due(at(1)) == []
    assert told(farewells.answered(request_id, Code.OK, at(2)))[1] == [8, 9]


def test_many_go_in_several_requests() -> None:
    farewells = started(*range(1, REQUEST_QUEUES_MAX + 3))
    request_id, first = told(farewells.due(at(0)))
    _, second = told(farewells.answered(request_id, Code.OK, at(1)))
    assert (len(first), len(second)) == (REQUEST_QUEUES_MAX, 2)


def test_a_refusal_for_now_is_told_again_soon_and_no_answer_a_little_later() -> None:
    farewells = started(7)
    request_id, _ = told(farewells.due(at(0)))
    assert farewells.answered(request_id, Code.BUSY, at(10)) == []
    assert farewells.wake_at_ms == 10 + RETRY_MS
    again, numbers = told(farewells.due(at(10 + RETRY_MS)))
    assert (again, numbers) == (request_id + 1, [7])
    assert farewells.wake_at_ms == 10 + RETRY_MS + ANSWER_MS
    last, _ = told(farewells.due(at(10 + RETRY_MS + ANSWER_MS)))
    assert farewells.answered(again, Code.OK, at(2_000)) == [], "that one was given up"
    assert len(farewells) == 1
    farewells.answered(last, Code.OK, at(2_001))
    assert len(farewells) == 0


def test_a_refusal_for_ever_is_not_told_again() -> None:
    farewells = started(7)
    request_id, _ = told(farewells.due(at(0)))
    assert farewells.answered(request_id, Code.UNKNOWN_VERB, at(1)) == []
    assert len(farewells) == 0


def test_without_a_coordinator_it_waits_for_one() -> None:
    farewells = started(7, up=False)
    assert farewells.due(at(0)) == []
    assert farewells.wake_at_ms is None
    request_id, numbers = told(farewells.link_changed(True, at(50)))
    assert numbers == [7]
    assert farewells.link_changed(False, at(60)) == []
    assert farewells.answered(request_id, Code.OK, at(61)) == [], "of another life"
    assert told(farewells.link_changed(True, at(70)))[1] == [7]


def test_news_older_than_a_lease_is_no_news() -> None:
    farewells = started(7, up=False)
    farewells.add(8, at(1))
    assert told(farewells.link_changed(True, at(LEASE_MS)))[1] == [8]
    assert farewells.due(at(LEASE_MS + 1)) == []
    assert (len(farewells), farewells.wake_at_ms) == (0, None)


def test_there_is_a_bound_and_the_oldest_is_left_out() -> None:
    farewells = started(*range(1, SESSIONS_MAX + 2), up=False)
    assert len(farewells) == SESSIONS_MAX
    assert told(farewells.link_changed(True, at(0)))[1][0] == 2
