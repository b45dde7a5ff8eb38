"""Consumer groups in the coordinator, as members and shards see them."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.codes import Code
from support.group_bench import GroupBench, all_listen


@pytest.fixture
def bench() -> GroupBench:
    return GroupBench()


def test_a_stop_answers_those_who_wait_for_news(bench: GroupBench) -> None:
    bench.create("orders")
    member = bench.member("a").listen()
    bench.run(bench.core.stop(bench.clock.now()))
    assert bench.replies[member.parked or 0][0] == Code.SHUTTING_DOWN
    assert bench.core.drained()


def test_live_state_is_replayed_state(bench: GroupBench) -> None:
    bench.create("orders", queues=7)
    members = [bench.member(name, retries=True) for name in "abc"]
    all_listen(*members)
    members[1].leave()
    all_listen(members[0], members[2])
    digest = bench.groups.digest()
    bench.restart()
    assert bench.groups.digest() == digest
