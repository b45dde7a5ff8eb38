"""Outflow: a router that is behind holds answers back, and no others."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.messages import Taken
from shardmq.actors.protocol.verbs import Verb
from shardmq.shards import outflow
from support.shards import Reply, ShardUnderTest, batch, topic

KIB = 1 << 10


@pytest.fixture
def shard(monkeypatch: pytest.MonkeyPatch) -> ShardUnderTest:
    monkeypatch.setattr(outflow, "ANSWERS_BYTES_MAX", 3 * KIB)
    under_test = ShardUnderTest()
    under_test.define(topic(numbers=(1,)))
    under_test.produce(1, batch([b"x" * KIB]))
    return under_test


def fetches(shard: ShardUnderTest, count: int) -> list[Reply]:
    return shard.turn([shard.fetch_letter((1, 0)) for _ in range(count)])


def taken(shard: ShardUnderTest, size: int) -> list[Reply]:
    replies = shard.turn([shard.letter(Verb.TAKEN, Taken(bytes=size))])
    return [one for one in replies if one.payload]


def test_answers_beyond_the_window_wait_until_the_router_has_taken_some(
    shard: ShardUnderTest,
) -> None:
    assert len(fetches(shard, 5)) == 3
    assert shard.core.stats()["polls_held_back"] == 2
    assert fetches(shard, 1) == []
    assert len(taken(shard, 2 * KIB)) == 2
    assert len(taken(shard, 4 * KIB)) == 1
    assert shard.core.stats()["polls_held_back"] == 0


def test_a_poll_without_messages_needs_no_room(shard: ShardUnderTest) -> None:
    shard.define(topic(numbers=(1, 2), version=2))
    fetches(shard, 3)
    (reply,) = shard.turn([shard.produce_letter((2, batch()), ack="written")])
    assert reply.code == 200


def test_a_window_in_which_nothing_moves_is_opened_anew(shard: ShardUnderTest) -> None:
    fetches(shard, 5)
    shard.clock.advance(outflow.STALL_MS - 1)
    assert shard.turn([]) == []
    assert shard.core.wake_at_ms is not None
    shard.clock.advance(1)
    assert len(shard.turn([])) == 2
    assert shard.core.stats()["routers_stalled"] == 1


def test_a_shard_that_stops_answers_all(shard: ShardUnderTest) -> None:
    fetches(shard, 5)
    replies = shard.core.stop(shard.clock.now())
    assert len(replies) == 2
    assert shard.core.drained()


def test_windows_of_routers_that_are_long_gone_are_forgotten() -> None:
    windows = outflow.Outflow()
    for number in range(3 * outflow.ROUTERS_MAX):
        windows.sent(b"%d" % number, 1)
    assert len(windows._windows) <= outflow.ROUTERS_MAX


def test_who_waits_elsewhere_wants_a_full_window_opened_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outflow, "ANSWERS_BYTES_MAX", 10)
    flow = outflow.Outflow()
    flow.sent(b"r", 10)
    assert flow.wake_at_ms is None
    flow.want(b"r", 5.0)
    flow.want(b"r", 50.0)
    assert flow.wake_at_ms == 5.0 + outflow.STALL_MS
    assert flow.stalled(4.0 + outflow.STALL_MS) == []
    assert flow.is_full(b"r")
    flow.stalled(5.0 + outflow.STALL_MS)
    assert (flow.is_full(b"r"), flow.wake_at_ms) == (False, None)
