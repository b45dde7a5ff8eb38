"""Parking: who waits for news gets all of them, once, or nothing at the end of its time."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.verbs import Verb
from support.group_bench import LEASE_MS, GroupBench


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
