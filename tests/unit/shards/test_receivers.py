"""Receivers: who waits, until when, how many; each is settled once."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.frames import Route, pack_envelope, pack_request, unpack_route
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.work_messages import Receive
from shardmq.shards import receivers
from shardmq.shards.receivers import Receiver, Receivers
from shardmq.shards.requests import Request
from shardmq.shards.work_groups import WorkGroup

GROUP = WorkGroup(7)


def receiver(deadline_ms: float, *, session: int = 1, request_id: int = 1) -> Receiver:
    route: Route = unpack_route(pack_request(Verb.RECEIVE, request_id, 30_000))
    request = Request("mailbox", b"r", pack_envelope(7, session, 0), route, b"header", [b"x"])
    return Receiver(request, Receive(group_id=7, receipt=1), GROUP, deadline_ms)


def test_they_expire_in_the_order_of_their_deadlines() -> None:
    waiting = Receivers()
    late, soon, settled = receiver(30), receiver(10, request_id=2), receiver(20, request_id=3)
    for one in (late, soon, settled):
        waiting.park(one)
    assert waiting.wake_at_ms == 10
    waiting.settle(settled)
    assert waiting.expired(9) == []
    assert waiting.expired(30) == [soon, late]
    waiting.give_back(late)
    assert waiting.expired(30) == [late]
    assert len(waiting) == 2  # they are still to be settled
    waiting.settle(soon)
    waiting.settle(late)
    assert (len(waiting), waiting.wake_at_ms) == (0, None)


def test_a_retry_takes_the_place_of_the_request() -> None:
    waiting = Receivers()
    older = receiver(10)
    waiting.park(older)
    again = receiver(20)
    waiting.replace(again.request)
    assert older.settled
    waiting.park(again)
    other = receiver(20, session=2)
    waiting.replace(other.request)
    assert not again.settled


def test_what_was_read_of_the_request_is_not_kept() -> None:
    one = receiver(1)
    assert (one.request.header, one.request.payload) == (b"", [])


def test_the_bounds_of_a_shard_and_of_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "SESSION_REQUESTS_MAX", 1)
    monkeypatch.setattr(receivers, "PARKED_POLLS_MAX", 2)
    waiting = Receivers()
    first = receiver(1)
    assert waiting.why_not(first.request) is None
    waiting.park(first)
    assert "session" in str(waiting.why_not(receiver(1, request_id=2).request))
    second = receiver(1, session=2)
    assert waiting.why_not(second.request) is None
    waiting.park(second)
    assert "shard" in str(waiting.why_not(receiver(1, session=3).request))
    waiting.settle(first)
    assert waiting.why_not(receiver(1, request_id=2).request) is None


def test_settled_ones_do_not_pile_up() -> None:
    waiting = Receivers()
    for at in range(5_000):
        one = receiver(1e9, request_id=at + 1)
        waiting.park(one)
        waiting.settle(one)
    assert len(waiting._deadlines) < 1_100
