"""The router's core and connections that close: sessions end, the coordinator hears of members."""

from __future__ import annotations

import msgspec
import pytest

from shardmq.actors.protocol.frames import unpack_route
from shardmq.actors.protocol.group_messages import SessionsGone
from shardmq.actors.protocol.verbs import Verb
from shardmq.router.farewells import ANSWER_MS
from support.manual import at
from support.routers import PEER, answer, error_of, front, started


def test_a_session_ends_with_its_connection() -> None:
    router = started()
    assert router.peers_gone([PEER, b"stranger"], at(1)) == []
    assert router.stats()["sessions"] == 0
    assert error_of(router.handle([front(Verb.PING)], at(2))).name == "UNKNOWN_SESSION"


def test_closing_a_connection_frees_nothing_that_a_shard_still_holds() -> None:
    router = started()
    [work] = router.handle([front(Verb.PRODUCE, b"", bytes(1_000))], at(0))
    router.peers_gone([PEER], at(1))
    assert router.stats()["bytes_in_flight"] > 1_000
    assert not router.drained()
    router.handle([answer(work)], at(2))
    assert router.stats()["bytes_in_flight"] == 0
    assert router.handle([], at(1_001)) == []
    assert router.wake_at_ms is None, "nothing is left to look after"


@pytest.mark.parametrize("verb", [Verb.GROUP_JOIN, Verb.EVENTS])
def test_the_coordinator_hears_of_a_members_session_that_ended(verb: Verb) -> None:
    router = started()
    [asked] = router.handle([front(verb)], at(0))
    [(link, peer, (envelope, route, header))] = router.peers_gone([PEER], at(1))
    assert (link, peer, unpack_route(route).verb) == ("coordinator", b"", Verb.SESSIONS_GONE)
    gone = msgspec.msgpack.decode(header, type=SessionsGone)
    assert gone.sessions == [asked[2][0][:16].hex()]
    assert router.wake_at_ms is not None
    assert router.handle([answer((link, peer, [envelope, route, header]))], at(2)) == []
    assert router.stats()["farewells"] == 0
    assert router.stats()["late_replies"] == 0


def test_a_farewell_is_said_again_when_the_coordinator_is_back_or_silent() -> None:
    router = started()
    router.handle([front(Verb.GROUP_JOIN)], at(0))
    router.link_changed("coordinator", False, at(1))
    assert router.peers_gone([PEER], at(2)) == []
    [first] = router.link_changed("coordinator", True, at(3))
    again_ms = 3.0 + ANSWER_MS
    assert router.handle([], at(again_ms - 1)) == []
    assert router.wake_at_ms == again_ms
    [again] = router.handle([], at(again_ms))
    assert again[2][2] == first[2][2]


def test_nobody_hears_of_a_session_that_was_no_members() -> None:
    router = started()
    router.handle([front(Verb.FETCH, request_id=1), front(Verb.GROUP_LIST, request_id=2)], at(0))
    assert router.peers_gone([PEER], at(1)) == []
