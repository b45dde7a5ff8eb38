"""RECEIVE of those who only look: told when there is something, about as many as there is for."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.protocol.work_messages import ReceiveReply
from shardmq.shards import receive
from support.retrying import QUEUE
from support.work_shard import INVISIBLE_MS, WorkingShard


@pytest.fixture
def shard() -> WorkingShard:
    under_test = WorkingShard()
    under_test.prepare()
    return under_test


def looks(shard: WorkingShard, count: int, **how: Any) -> None:
    """So many of them wait."""
    for _ in range(count):
        assert shard.turn([shard.receive_letter(0, wait_ms=5_000, **how)]) == []


def test_who_only_looks_is_told_and_gets_nothing(shard: WorkingShard) -> None:
    shard.fill(QUEUE, *[b"x"] * 10)
    shard.turn()
    (reply,) = shard.turn([shard.receive_letter(0)])
    assert reply.header == ReceiveReply()
    assert shard.rows() == []
    shard.receive(10)
    looks(shard, 1)
    (reply,) = shard.pass_time(INVISIBLE_MS)
    assert reply.header == ReceiveReply()


def test_about_as_many_are_told_as_there_are_messages(shard: WorkingShard) -> None:
    looks(shard, 5)
    shard.fill(QUEUE, b"a", b"b")
    assert len(shard.turn()) == 2
    shard.fill(QUEUE, b"c")
    assert len(shard.turn()) == 1
    assert shard.core.stats()["receives_parked"] == 2


def test_who_was_not_told_is_told_later_if_something_is_left(shard: WorkingShard) -> None:
    looks(shard, 10)
    shard.fill(QUEUE, b"a")
    assert len(shard.turn()) == 1
    assert shard.pass_time(receive.LOOK_AGAIN_MS - 1) == []
    assert len(shard.pass_time(1)) == 2  # nobody came for it: those told may be gone
    assert len(shard.pass_time(receive.LOOK_AGAIN_MS)) == 4
    assert len(shard.receive()) == 1
    assert shard.pass_time(receive.LOOK_AGAIN_MS) == []
    shard.fill(QUEUE, b"b")
    assert len(shard.turn()) == 1


def test_who_came_for_it_makes_room_for_the_next_ones(shard: WorkingShard) -> None:
    looks(shard, 3)
    for _ in range(3):
        shard.fill(QUEUE, b"a")
        assert len(shard.turn()) == 1
        assert len(shard.receive()) == 1


def test_in_fifo_each_queue_has_something_for_one(shard: WorkingShard) -> None:
    looks(shard, 3, fifo=True)
    shard.fill(QUEUE, b"a", b"b", b"c")
    assert len(shard.turn()) == 1


def test_who_comes_to_look_later_is_not_forgotten(shard: WorkingShard) -> None:
    looks(shard, 1)
    shard.fill(QUEUE, b"a")
    assert len(shard.turn()) == 1
    looks(shard, 1)  # the message is somebody's by now, as far as the shard knows
    assert len(shard.pass_time(receive.LOOK_AGAIN_MS)) == 1
