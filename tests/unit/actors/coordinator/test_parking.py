"""Parking: who waits for news gets all of them, once, or nothing at the end of its time."""

from __future__ import annotations

import pytest

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
