"""CURSORS: where a group is, and how far behind."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import Ack, AckQueue, Cursors
from shardmq.actors.protocol.verbs import Verb
from support.grouped import GROUP, GroupedShard
from support.shards import topic


@pytest.fixture
def shard() -> GroupedShard:
    under_test = GroupedShard()
    under_test.define(topic(numbers=(1, 2)))
    under_test.fill(1, *[b"x"] * 10)
    under_test.grant(1)
    return under_test


def test_a_cursor_tells_all_that_a_member_needs_to_go_on(shard: GroupedShard) -> None:
    shard.ack(1, 2, [(4, 6)])
    one = shard.cursor(1)
    assert (one.floor, one.ranges, one.generation, one.member) == (2, [(4, 6)], 1, "ann")
    assert (one.earliest, one.latest, one.lag) == (0, 10, 6)


def test_a_group_without_a_cursor_is_told_so(shard: GroupedShard) -> None:
    reply = shard.ask(Verb.CURSORS, Cursors(group_id=GROUP, queues=[2, 99, 1]))
    codes = [one.code for one in reply.header.queues]
    assert codes == [Code.GROUP_NOT_FOUND, Code.STALE_ROUTE, Code.OK]
    assert reply.header.queues[0].latest == 0


def test_nothing_is_told_that_a_power_cut_could_take_back(shard: GroupedShard) -> None:
    ack = Ack(group_id=GROUP, queues=[AckQueue(queue=1, generation=1, floor=3)])
    ask = Cursors(group_id=GROUP, queues=[1])
    assert shard.turn([shard.letter(Verb.ACK, ack), shard.letter(Verb.CURSORS, ask)]) == []
    _, told = shard.sync()
    assert told.header.queues[0].floor == 3


def test_it_names_at_least_one_queue(shard: GroupedShard) -> None:
    assert shard.ask(Verb.CURSORS, Cursors(group_id=GROUP, queues=[])).code == Code.BAD_REQUEST
