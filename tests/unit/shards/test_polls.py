"""Polls: parking, waking and expiring cost what has news, never what merely waits."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.frames import Route, pack_envelope
from shardmq.shards import polls as module
from shardmq.shards.polls import GroupRead, Poll, Polls, PollState
from shardmq.shards.requests import Request
from shardmq.shards.serving import ServedQueue
from shardmq.shards.state.queues import QueueOffsets


def served(number: int) -> ServedQueue:
    return ServedQueue(number, QueueOffsets())


def poll(
    queues: list[ServedQueue],
    *,
    session: int = 1,
    request_id: int = 1,
    deadline_ms: float = 100.0,
    group_id: int = 0,
) -> Poll:
    route = Route(21, 0, 0, request_id, 30_000)
    request = Request("mailbox", b"peer", pack_envelope(1, session, 0), route, b"header", [])
    group = GroupRead(group_id, {one.number: 1 for one in queues}) if group_id else None
    return Poll(request, {one.number: 0 for one in queues}, 1 << 20, deadline_ms, group)


def park(polls: Polls, queues: list[ServedQueue], **how: int) -> Poll:
    one = poll(queues, **how)
    assert polls.why_not(one) is None
    polls.park(one, queues)
    return one


def test_a_parked_poll_keeps_nothing_of_its_header() -> None:
    assert poll([served(1)]).request.header == b""


def test_news_makes_ready_who_waits_for_that_queue() -> None:
    polls, one, two = Polls(), served(1), served(2)
    first = park(polls, [one, two], request_id=1)
    second = park(polls, [two], request_id=2)
    polls.wake([one])
    assert list(polls.ready) == [first]
    assert (first.ready, first.state) == ([1], PollState.READY)
    assert second.state == PollState.PARKED
    assert len(polls) == 1


def test_a_ready_poll_gathers_later_news_and_is_ready_once() -> None:
    polls, one, two = Polls(), served(1), served(2)
    first = park(polls, [one, two])
    polls.wake([one])
    polls.wake([two])
    assert list(polls.ready) == [first]
    assert first.ready == [1, 2]


def test_a_settled_poll_is_not_woken_by_the_lists_that_still_hold_it() -> None:
    polls, one, two = Polls(), served(1), served(2)
    first = park(polls, [one, two])
    polls.wake([one])
    polls.ready.popleft()
    first.settle()
    polls.wake([two])
    assert not polls.ready


def test_deadlines_come_in_order_and_only_for_who_is_still_parked() -> None:
    polls, one, two = Polls(), served(1), served(2)
    late = park(polls, [one], request_id=1, deadline_ms=300)
    soon = park(polls, [one], request_id=2, deadline_ms=100)
    woken = park(polls, [two], request_id=3, deadline_ms=50)
    polls.wake([two])
    assert polls.expired(40) == []
    assert polls.expired(150) == [soon]
    assert polls.wake_at_ms == 300
    assert polls.expired(float("inf")) == [late]
    assert polls.wake_at_ms is None
    assert woken.state == PollState.READY


def test_a_retry_settles_the_parked_one() -> None:
    polls, one = Polls(), served(1)
    older = park(polls, [one], session=4, request_id=9)
    polls.replace(poll([one], session=4, request_id=8).request)
    assert older.state == PollState.PARKED
    polls.replace(poll([one], session=4, request_id=9).request)
    assert older.state == PollState.SETTLED
    assert len(polls) == 0


def test_each_bound_says_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARKED_POLLS_MAX", 4)
    monkeypatch.setattr(module, "SESSION_REQUESTS_MAX", 2)
    monkeypatch.setattr(module, "PARKED_QUEUES_MAX", 5)
    polls, queues = Polls(), [served(1), served(2)]
    park(polls, queues, session=1, request_id=1)
    park(polls, queues, session=1, request_id=2)
    assert "a session parks at most 2" in str(polls.why_not(poll(queues[:1], session=1)))
    assert "at most 5 queues" in str(polls.why_not(poll(queues, session=2)))
    polls.wake(queues)
    for one in range(4):
        park(polls, queues[:1], session=10 + one)
    assert "a shard parks at most 4" in str(polls.why_not(poll(queues[:1], session=20)))


def test_bounds_are_free_again_when_polls_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSION_REQUESTS_MAX", 1)
    polls, one = Polls(), served(1)
    for request_id in range(100):
        park(polls, [one], request_id=request_id, deadline_ms=request_id)
        assert len(polls.expired(request_id)) == 1
    park(polls, [one], request_id=1_000)


def test_a_quiet_queue_does_not_collect_the_polls_of_a_busy_one() -> None:
    polls, busy, quiet = Polls(), served(1), served(2)
    for request_id in range(10_000):
        park(polls, [busy, quiet], request_id=request_id, deadline_ms=60_000)
        polls.wake([busy])
        polls.ready.popleft().settle()
    assert quiet.waiters is not None
    assert len(quiet.waiters.polls) < 10
    assert len(polls._deadlines) < 3_000  # the heap has the same trouble


def test_a_fence_makes_ready_who_reads_for_that_group_once() -> None:
    polls, one, two = Polls(), served(1), served(2)
    mine = park(polls, [one, two], request_id=1, group_id=7)
    park(polls, [one], request_id=2, group_id=8)
    park(polls, [one], request_id=3)
    polls.fence(one, 7)
    polls.wake([one])
    assert mine.ready == [1]
    assert [poll.request.route.request_id for poll in polls.ready] == [1, 2, 3]
    polls.fence(served(3), 7)  # nobody waits there


def test_a_poll_that_is_parked_again_keeps_its_lists_and_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_HEAP_SLACK", 0)
    polls, busy, quiet, other = Polls(), served(1), served(2), served(3)
    mine = park(polls, [busy, quiet], request_id=1, group_id=7, deadline_ms=300)
    for request_id in range(2, 50):
        polls.wake([busy])
        assert polls.ready.popleft() is mine
        # Others come and go meanwhile, so that the heap is cleaned.
        park(polls, [quiet, other], request_id=request_id, deadline_ms=500)
        polls.wake([other])
        polls.ready.popleft().settle()
        mine.ready = []
        polls.park(mine, [busy])
    assert len(polls) == 1
    assert quiet.waiters is not None
    assert len(quiet.waiters.polls) < 10
    assert polls.expired(300) == [mine]
