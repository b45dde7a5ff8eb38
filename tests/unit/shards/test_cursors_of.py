"""CURSORS: where a group is, and how far behind."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import unpack_route
from shardmq.actors.protocol.group_messages import Ack, AckQueue, Cursors
from shardmq.actors.protocol.verbs import Verb
from shardmq.shards import cursors_of as module
from shardmq.shards import lag
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


# ------------------------------------------------------------------------------- lag


def test_the_lag_is_that_of_the_subscription(shard: GroupedShard) -> None:
    shard.grant(2, expression="paid || late")
    shard.pass_time(5)
    shard.fill(2, b"a", b"b", tags=["open", None])
    shard.pass_time(5)
    stored = shard.fill(2, b"a", b"b", b"c", tags=["open", "paid", "late"])
    one = shard.cursor(2)
    assert (one.lag, one.oldest_at_ms) == (2, stored.stored_at_ms)
    shard.ack(2, 0, [(3, 4)])
    assert shard.cursor(2).lag == 1
    shard.ack(2, 5)
    assert (shard.cursor(2).lag, shard.cursor(2).oldest_at_ms) == (0, 0)


@pytest.fixture
def slow(shard: GroupedShard, monkeypatch: pytest.MonkeyPatch) -> GroupedShard:
    """Queue 2 needs many turns to be counted."""
    shard.grant(2, expression="paid")
    for _ in range(20):
        shard.fill(2, b"x", tags=["paid"])
    monkeypatch.setattr(module, "TURN_COST_MAX", 1)
    monkeypatch.setattr(lag, "PIECE_BYTES", 1)
    # What is left of the turn in which the mark was moved.
    shard.turn()
    return shard


def test_who_asks_without_the_lag_waits_for_no_counting(slow: GroupedShard) -> None:
    slow.ack(2, 3)
    ask = Cursors(group_id=GROUP, queues=[2], lag=False)
    (reply,) = slow.turn([slow.letter(Verb.CURSORS, ask)]) or slow.sync()
    one = reply.header.queues[0]
    assert (one.floor, one.generation, one.latest) == (3, 1, 20)
    assert (one.lag, one.oldest_at_ms) == (0, 0)


def ask(shard: GroupedShard, **how: Any) -> Letter:
    return shard.letter(Verb.CURSORS, Cursors(group_id=GROUP, queues=[1, 2]), **how)


def test_a_long_count_is_carried_on_over_turns(slow: GroupedShard) -> None:
    now = slow.clock.now()
    assert slow.core.handle([ask(slow)], now) == []
    turns = 0
    while not (answer := slow.core.handle([], now)):
        assert slow.core.wake_at_ms == 0.0
        assert slow.core.stats()["cursor_questions_open"] == 1
        turns += 1
    assert turns > 15
    assert len(answer) == 1
    assert slow.core.wake_at_ms != 0.0


def test_many_long_counts_take_turns_and_are_all_answered(slow: GroupedShard) -> None:
    replies = slow.turn([ask(slow, session=3 + one) for one in range(5)])
    assert sorted(one.session for one in replies) == [3, 4, 5, 6, 7]
    assert {one.header.queues[1].lag for one in replies} == {20}


def test_what_was_counted_before_a_deadline_is_kept(slow: GroupedShard) -> None:
    slow.core.handle([ask(slow, deadline_ms=100)], slow.clock.now())
    for _ in range(10):
        slow.core.handle([], slow.clock.now())
    slow.clock.advance(100)
    (late,) = slow.turn()
    assert late.code == Code.TIMED_OUT
    slow.core.handle([ask(slow)], slow.clock.now())
    turns = 0
    while not slow.core.handle([], slow.clock.now()):
        turns += 1
    assert turns < 15


def test_long_counts_are_bounded(slow: GroupedShard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUESTIONS_MAX", 1)
    now = slow.clock.now()
    assert slow.core.handle([ask(slow)], now) == []
    refused = slow.core.handle([ask(slow)], now)
    assert len(refused) == 1
    assert unpack_route(refused[0][2][1]).tail == Code.BUSY


def test_who_stops_answers_open_questions(slow: GroupedShard) -> None:
    now = slow.clock.now()
    slow.core.handle([ask(slow)], now)
    (refused,) = slow.core.stop(now)
    assert unpack_route(refused[2][1]).tail == Code.SHUTTING_DOWN
    assert slow.core.drained()
    assert slow.core.wake_at_ms != 0.0


def test_a_bug_ends_one_question_alone(slow: GroupedShard, monkeypatch: pytest.MonkeyPatch) -> None:
    now = slow.clock.now()
    slow.core.handle([ask(slow)], now)

    def broken(*_: object) -> None:
        raise KeyError(7)

    with monkeypatch.context() as patch:
        patch.setattr(lag, "read_sound", broken)
        (refused,) = slow.core.handle([], now)
    assert unpack_route(refused[2][1]).tail == Code.INTERNAL
    assert slow.core.stats()["internal_errors"] == 1
