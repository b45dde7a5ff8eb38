"""Parking: who waits for news gets all of them, once, or nothing at the end of its time."""

from __future__ import annotations

import pytest

from shardmq.actors.coordinator.membership import GONE_GRACE_MS
from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import pack_envelope
from shardmq.actors.protocol.verbs import Verb
from support.group_bench import LEASE_MS, GroupBench, Member

FORMER, LATER = 8, 9
"""Numbers of a client's other sessions."""


def session_name(number: int) -> str:
    return pack_envelope(77, number, 0)[:16].hex()


@pytest.fixture
def bench() -> GroupBench:
    return GroupBench()


def test_events_wait_their_time_and_end_without_news(bench: GroupBench) -> None:
    bench.create("orders")
    member = bench.member("a").listen()
    version = member.version
    bench.wait(LEASE_MS / 3 - 100)
    assert member.parked not in bench.replies
    bench.wait(100)
    reply = bench.replies[member.parked or 0]
    assert (reply.version, len(reply.queues)) == (version, 4)


def test_a_later_request_replaces_the_parked_one(bench: GroupBench) -> None:
    bench.create("orders")
    member = bench.member("a").listen()
    later = member.events()
    assert bench.replies[member.parked or 0].version == member.version
    assert later not in bench.replies
    assert bench.core.stats()["events_parked"] == 1


def test_two_who_call_themselves_alike_do_not_replace_each_other_for_ever(
    bench: GroupBench,
) -> None:
    bench.create("orders")
    first = bench.member("a").listen()
    second = bench.member("a").listen()
    code, error = bench.replies[first.parked or 0]
    assert (code, "unique" in error.message) == (Code.FENCED, True)
    assert second.parked not in bench.replies


def test_who_is_gone_learns_it_from_the_parked_request(bench: GroupBench) -> None:
    bench.create("orders")
    member = bench.member("a").listen()
    member.leave()
    assert bench.replies[member.parked or 0][0] == Code.UNKNOWN_MEMBER
    assert bench.core.stats()["events_parked"] == 0


def test_a_member_never_waits_longer_than_a_third_of_its_lease(bench: GroupBench) -> None:
    bench.create("orders")
    member = bench.member("a").listen(wait_ms=60_000)
    bench.wait(LEASE_MS / 3)
    assert member.parked in bench.replies


def test_a_request_is_answered_before_its_deadline(bench: GroupBench) -> None:
    bench.create("orders")
    member = bench.member("a").listen()
    wish = g.Events(group_id=1, member="a", version=member.version, wait_ms=3_000)
    request_id = bench.send(Verb.EVENTS, wish, session=member.session, deadline=1_000)
    bench.wait(1_000)
    assert request_id in bench.replies


def again(bench: GroupBench, member: Member, session: int, request_id: int | None = None) -> int:
    """The member's EVENTS over another connection."""
    wish = g.Events(group_id=1, member="a", version=member.version, wait_ms=3_000)
    return bench.send(Verb.EVENTS, wish, session=session, request_id=request_id)


def test_an_overtaken_request_of_a_former_connection_displaces_nobody(bench: GroupBench) -> None:
    bench.create("orders")
    member = bench.member("a").listen()
    assert member.parked is not None
    long_ago = (member.parked - 50_000) % 2**64
    code, error = bench.replies[again(bench, member, FORMER, long_ago)]
    assert (code, error.retryable) == (Code.BUSY, True)
    assert member.parked not in bench.replies
    bench.send(Verb.SESSIONS_GONE, g.SessionsGone(sessions=[session_name(FORMER)]))
    bench.wait(GONE_GRACE_MS + 100)
    assert member.parked not in bench.replies
    bench.wait(LEASE_MS / 3)
    assert len(bench.replies[member.parked].queues) == 4


def test_one_request_over_two_connections_is_answered_over_both(bench: GroupBench) -> None:
    """It cannot be told which of them is the living one."""
    bench.create("orders")
    member = bench.member("a").listen()
    parked = member.parked
    again(bench, member, FORMER, parked)
    assert len(bench.replies.pop(parked).queues) == 4
    assert again(bench, member, member.session) not in bench.replies


def test_who_joined_over_its_connection_may_count_from_the_start(bench: GroupBench) -> None:
    bench.create("orders")
    first = bench.member("a").listen()
    second = bench.member("a")
    low = ((first.parked or 0) - 50_000) % 2**64
    assert isinstance(bench.replies[again(bench, second, second.session, low)], g.EventsReply)
    assert bench.replies[first.parked or 0][0] == Code.FENCED


def test_who_counts_from_the_start_is_heard_once_its_former_connection_is_gone(
    bench: GroupBench,
) -> None:
    bench.create("orders")
    member = bench.member("a").listen()
    member.connection_ends()
    low = ((member.parked or 0) - 50_000) % 2**64
    assert again(bench, member, LATER, low) not in bench.replies
    bench.wait(GONE_GRACE_MS + 100)
    assert bench.owners() == dict.fromkeys(bench.owners(), "a")


def test_an_overtaken_join_of_a_former_connection_does_not_bind_its_member_to_it(
    bench: GroupBench,
) -> None:
    bench.create("orders")
    member = bench.member("a").listen()
    wish = g.GroupJoin(
        group="billing",
        member="a",
        subscriptions=[g.Subscription(topic="orders", expression="*")],
        lease_ms=LEASE_MS,
    )
    long_ago = ((member.parked or 0) - 50_000) % 2**64
    bench.send(Verb.GROUP_JOIN, wish, session=FORMER, request_id=long_ago)
    assert isinstance(bench.replies[long_ago], g.GroupJoinReply)
    bench.send(Verb.SESSIONS_GONE, g.SessionsGone(sessions=[session_name(FORMER)]))
    bench.wait(GONE_GRACE_MS + 100)
    assert member.parked not in bench.replies
    assert bench.owners() == dict.fromkeys(bench.owners(), "a")
