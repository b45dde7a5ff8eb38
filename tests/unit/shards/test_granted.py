"""Granted queues: only who has the grant in force may speak of a queue, and others are counted."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.shards.granted import GrantedQueues, Refused, fault_of_grant
from shardmq.shards.state.cursors import Cursor
from support.grouped import GROUP, GroupedShard
from support.shards import topic


@pytest.fixture
def granted() -> GrantedQueues:
    shard = GroupedShard()
    shard.define(topic(numbers=(1, 2)))
    shard.grant(1, 5)
    return GrantedQueues(shard.core._serving, shard.state.cursors)


def test_who_has_the_grant_gets_the_queue_and_its_cursor(granted: GrantedQueues) -> None:
    served, cursor = granted.of(GROUP, 1, 5)
    assert (served.number, cursor.generation) == (1, 5)
    assert granted.fenced == 0


@pytest.mark.parametrize(
    ("group_id", "queue", "generation", "code", "fenced"),
    [
        (GROUP, 9, 5, Code.STALE_ROUTE, 0),
        (GROUP, 1, 4, Code.FENCED, 1),
        (GROUP, 1, 6, Code.FENCED, 1),
        (GROUP, 2, 5, Code.FENCED, 1),
        (GROUP + 1, 1, 5, Code.FENCED, 1),
    ],
)
def test_anybody_else_is_refused(
    granted: GrantedQueues, group_id: int, queue: int, generation: int, code: Code, fenced: int
) -> None:
    with pytest.raises(Refused) as refused:
        granted.of(group_id, queue, generation)
    assert refused.value.code is code
    assert granted.fenced == fenced


def test_a_generation_that_was_taken_back_is_nobodys() -> None:
    assert fault_of_grant(Cursor(3, "a", "g", "*", 0), 3) is None
    assert fault_of_grant(Cursor(3, "", "g", "*", 0), 3) == "generation 3 is nobody's"
