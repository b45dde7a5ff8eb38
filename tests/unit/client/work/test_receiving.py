"""Receiver: whom it asks, for whom, and what it does when nobody answers."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import Route
from shardmq.actors.protocol.messages import ErrorReply
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.work_messages import Receive
from shardmq.client import errors
from shardmq.client.work.receiving import LATE_MS
from shardmq.client.work.sources import PATIENCE_MS
from support.work_client import Working, bodies


@pytest.fixture
def working() -> Working:
    return Working()


def asked(working: Working, shard: int | None = None) -> list[Receive]:
    """The RECEIVEs that want messages."""
    return [
        one for at, one in working.work.asked if one.count_max and (shard is None or at == shard)
    ]


def watches(working: Working) -> list[Receive]:
    return [one for _, one in working.work.asked if not one.count_max]


def silence(working: Working, *shards: int) -> None:
    """Requests to these shards are lost."""

    def answer(route: Route, header: bytes, payload: list[bytes]) -> Any:
        del header, payload
        return "lost" if route.verb == Verb.RECEIVE and route.shard in shards else None

    working.wired.broker.answer = answer


def test_what_is_there_comes_at_once_and_to_one_only(working: Working) -> None:
    working.store(b"a", b"b", b"c")
    assert bodies(working.receive(2)) == [b"a", b"b"]
    assert bodies(working.receive(2)) == [b"c"]
    assert working.receive(2) == []
    assert not watches(working)


def test_every_shard_is_asked_before_an_empty_list_is_returned(working: Working) -> None:
    working.store(b"a", queue_id=working.on_shard(0))
    assert bodies(working.receive()) == [b"a"]
    working.store(b"b", queue_id=working.on_shard(1))
    assert bodies(working.receive()) == [b"b"]
    assert working.receive() == []
    working.store(b"c", queue_id=working.on_shard(0))
    assert bodies(working.receive()) == [b"c"], "though it was empty a moment ago"


def test_shards_that_have_something_are_asked_in_turn(working: Working) -> None:
    for shard in (0, 1):
        working.store(*[b"%d" % shard] * 10, queue_id=working.on_shard(shard))
    assert sorted(b"".join(bodies(working.receive(2))) for _ in range(4)) == [
        b"00", b"00", b"11", b"11",
    ]  # fmt: skip


def test_who_waits_parks_one_watch_at_each_shard_and_hands_nothing_to_the_dead(
    working: Working,
) -> None:
    wish = working.want(wait_ms=5_000.0)
    working.wired.run()
    assert not wish.settled
    assert [one.wait_ms for one in watches(working)] == [5_000, 5_000]
    other = working.want(wait_ms=3_000.0)
    working.wired.run()
    assert len(watches(working)) == 2, "they are shared"
    working.store(b"a", queue_id=working.on_shard(1))
    assert bodies(wish.outcome()) == [b"a"]
    assert not other.settled


def test_at_the_end_of_its_time_a_wish_is_over(working: Working) -> None:
    wish = working.want(wait_ms=1_000.0)
    working.wired.run()
    working.wired.advance(999)
    assert not wish.settled
    working.wired.advance(1)
    working.core.receiver.late(wish, working.wired.now)
    assert wish.settled
    assert wish.outcome() == []
    assert not working.core.receiver._idle


def test_a_watch_whose_time_is_over_is_followed_by_another_look(working: Working) -> None:
    wish = working.want(wait_ms=60_000.0)
    working.wired.run()
    asks = len(asked(working))
    for reply in working.wired.broker.end_waits():
        working.wired.core.receive(reply, working.wired.now)
    working.wired.run()
    assert len(asked(working)) == asks + 2
    assert len(watches(working)) == 4
    assert not wish.settled


def test_those_who_come_while_a_request_is_on_its_way_share_the_next(working: Working) -> None:
    working = Working(shards=1)
    working.store(*[b"%d" % n for n in range(10)])
    wishes = [working.want(3) for _ in range(4)]
    working.wired.run()
    assert [one.count_max for one in asked(working)] == [3, 9]
    assert [bodies(wish.outcome()) for wish in wishes] == [
        [b"0", b"1", b"2"], [b"3", b"4", b"5"], [b"6", b"7", b"8"], [b"9"],
    ]  # fmt: skip


def test_only_wishes_that_are_invisible_alike_share_a_request() -> None:
    working = Working(shards=1)
    working.store(*[b"%d" % n for n in range(10)])
    first = working.want(1)
    alike, other = working.want(1, invisible_ms=5_000), working.want(1, invisible_ms=9_000)
    working.wired.run()
    assert [one.invisible_ms for one in asked(working)] == [30_000, 5_000, 9_000]
    assert all(len(wish.outcome()) == 1 for wish in (first, alike, other))


def test_of_a_fifo_group_each_request_is_for_one_caller() -> None:
    working = Working(shards=1, fifo=True)
    working.store(*[b"%d" % n for n in range(10)])
    wishes = [working.want(2) for _ in range(3)]
    working.wired.run()
    assert [(one.count_max, one.fifo) for one in asked(working)] == [(2, True)] * 3
    assert [len(wish.outcome()) for wish in wishes] == [2, 2, 2]


def test_a_shard_that_is_silent_keeps_nobody_from_the_others(working: Working) -> None:
    silence(working, 0)
    working.store(b"a", queue_id=working.on_shard(1))
    wish = working.want(wait_ms=0.0)
    working.wired.run()
    if not wish.settled:
        working.wired.advance(LATE_MS)
    assert bodies(wish.outcome()) == [b"a"]
    working.store(b"b", queue_id=working.on_shard(1))
    assert bodies(working.receive()) == [b"b"], "nobody asks it until it answers"


def test_a_late_answer_still_reaches_who_waits() -> None:
    working = Working(shards=1)
    working.store(b"a")
    silence(working, 0)
    wish = working.want(wait_ms=8_000.0)
    working.wired.run()
    working.wired.advance(LATE_MS)
    assert not wish.settled
    silence(working)
    working.wired.advance(3_000)
    assert bodies(wish.outcome()) == [b"a"]
    assert len({one.receipt for one in asked(working)}) == 1, "the same RECEIVE was sent again"


def test_what_comes_too_late_is_given_back(working: Working) -> None:
    working = Working(shards=1)
    working.store(b"a", b"b")
    wish = working.want()
    frames = working.wired.core.outbox.popleft()
    working.core.receiver.give_up(wish, working.wired.now)
    for reply in working.wired.broker.handle(frames):
        working.wired.core.receive(reply, working.wired.now)
    working.wired.run()
    assert [item.act for item in working.work.settled[0]] == ["return"]
    again = working.receive()
    assert [(message.body, message.attempt) for message in again] == [(b"a", 1), (b"b", 1)]


def test_what_was_received_and_not_taken_is_given_back(working: Working) -> None:
    working.store(b"a", b"b")
    wish = working.want()
    working.wired.run()
    assert wish.settled
    working.core.receiver.give_up(wish, working.wired.now)
    working.wired.run()
    assert {row.attempt for row in working.work.rows.values()} == {0}
    assert bodies(working.receive()) == [b"a", b"b"]


def test_what_was_taken_stays_taken(working: Working) -> None:
    working.store(b"a")
    wish = working.want()
    working.wired.run()
    assert bodies(working.core.receiver.take(wish)) == [b"a"]
    working.core.receiver.stop(errors.ClosedError("consumer"), working.wired.now)
    working.wired.run()
    assert not working.work.settled


def test_at_the_end_what_is_being_handed_out_is_waited_for_and_given_back() -> None:
    working = Working(shards=1)
    working.store(b"a", b"b")
    wish = working.want(wait_ms=60_000.0)
    frames = working.wired.core.outbox.popleft()
    working.core.receiver.stop(errors.ClosedError("consumer"), working.wired.now)
    with pytest.raises(errors.ClosedError):
        working.core.receiver.take(wish)
    assert not working.core.receiver.is_idle
    for reply in working.wired.broker.handle(frames):
        working.wired.core.receive(reply, working.wired.now)
    assert working.core.receiver.is_idle
    assert not working.core.settler.is_idle
    working.wired.run()
    assert working.core.settler.is_idle
    assert {row.attempt for row in working.work.rows.values()} == {0}


def test_at_the_end_what_nobody_has_taken_yet_is_given_back(working: Working) -> None:
    working.store(b"a")
    wish = working.want()
    working.wired.run()
    working.core.receiver.stop(errors.ClosedError("consumer"), working.wired.now)
    working.wired.run()
    with pytest.raises(errors.ClosedError):
        working.core.receiver.take(wish)
    assert {row.attempt for row in working.work.rows.values()} == {0}


def test_at_the_end_nothing_is_waited_for_that_no_shard_can_have_heard_of() -> None:
    working = Working(shards=1)
    working.wired.core.disconnected(working.wired.now)
    wish = working.want(wait_ms=3_000.0)
    working.core.receiver.stop(errors.ClosedError("consumer"), working.wired.now)
    assert wish.settled
    assert working.core.receiver.is_idle


def test_a_broker_that_never_answers_is_an_error_after_some_patience(working: Working) -> None:
    silence(working, 0, 1)
    wish = working.want(wait_ms=0.0)
    working.wired.run()
    spent_ms = 0.0
    while not wish.settled:
        step_ms = wish.until_ms - working.wired.now.mono_ms
        working.wired.advance(step_ms)
        spent_ms += step_ms
        working.core.receiver.late(wish, working.wired.now)
    assert spent_ms == PATIENCE_MS
    with pytest.raises(errors.TimedOut, match="no shard"):
        wish.outcome()


def test_a_broker_that_restarts_meanwhile_is_none(working: Working) -> None:
    silence(working, 0, 1)
    working.store(b"a", queue_id=0)
    wish = working.want(wait_ms=10_000.0)
    working.wired.run()
    working.wired.advance(2_000)
    working.wired.core.disconnected(working.wired.now)
    working.wired.advance(2_000)
    silence(working)
    working.wired.core.connected(working.wired.now)
    working.wired.run()
    assert bodies(wish.outcome()) == [b"a"]


def test_a_shard_that_fails_is_asked_again_after_a_while(working: Working) -> None:
    def answer(route: Route, *_: Any) -> Any:
        header = ErrorReply(name="STALE_ROUTE", message="not yet", retryable=True)
        return (Code.STALE_ROUTE, header) if route.verb == Verb.RECEIVE else None

    working.wired.broker.answer = answer
    working.store(b"a")
    wish = working.want(wait_ms=5_000.0)
    working.wired.run()
    working.wired.broker.answer = lambda *_: None
    working.wired.advance(300)
    assert bodies(wish.outcome()) == [b"a"]


def test_a_refusal_for_good_is_told_to_who_asked(working: Working) -> None:
    header = ErrorReply(name="FORBIDDEN", message="not for you", retryable=False)
    working.wired.broker.answer = lambda route, *_: (
        (Code.FORBIDDEN, header) if route.verb == Verb.RECEIVE else None
    )
    wish = working.want(wait_ms=5_000.0)
    working.wired.run()
    with pytest.raises(errors.Forbidden, match="not for you"):
        wish.outcome()


def test_messages_of_a_queue_that_is_not_known_yet_are_kept_until_it_is() -> None:
    working = Working(started=False)
    working.wired.broker.give("me", "t", 0)
    working.core.membership.start(working.wired.now)
    working.wired.run()
    other = next(
        row.queue_id
        for row in working.route.queues[1:]
        if row.shard == working.route.queues[0].shard
    )
    working.store(b"a", queue_id=other)
    wish = working.want(wait_ms=5_000.0)
    working.wired.run()
    assert not wish.settled
    working.wired.broker.give("me", "t", other)
    working.tell()
    [message] = wish.outcome()
    assert (message.topic, message.queue_id, message.attempt) == ("t", other, 1)


def test_messages_of_a_queue_that_never_became_known_are_given_back_at_the_end() -> None:
    working = Working(shards=1, started=False)
    working.wired.broker.give("me", "t", 0)
    working.core.membership.start(working.wired.now)
    working.wired.run()
    working.store(b"a", queue_id=1)
    working.want(wait_ms=5_000.0)
    working.wired.run()
    assert [row.is_held for row in working.work.rows.values()] == [True]
    working.core.receiver.stop(errors.ClosedError("consumer"), working.wired.now)
    working.wired.run()
    assert [row.attempt for row in working.work.rows.values()] == [0]


def test_a_failed_member_tells_all_who_wait_and_all_who_come(working: Working) -> None:
    wish = working.want(wait_ms=5_000.0)
    working.wired.run()
    working.core.receiver.fail(errors.ClosedError("consumer"), working.wired.now)
    with pytest.raises(errors.ClosedError):
        wish.outcome()
    late = working.want()
    assert late.settled
    assert isinstance(late.error, errors.ClosedError)
    assert not working.wired.core.calls or all(
        call.verb != Verb.RECEIVE for call in working.wired.core.calls.values()
    )


def test_another_group_of_that_name_starts_anew(working: Working) -> None:
    wish = working.want(wait_ms=9_000.0)
    working.wired.run()
    working.wired.broker.groups.forget("me")
    working.wired.broker.groups.group_id = 8
    working.tell()
    working.wired.broker.give("me", "t", 0, 1, 2, 3)
    working.tell()
    working.store(b"a")
    assert bodies(wish.outcome()) == [b"a"]
    assert asked(working)[-1].group_id == 8


def test_what_nobody_waits_for_any_more_and_no_shard_has_heard_of_is_not_asked_for() -> None:
    working = Working(shards=1)
    working.store(b"a")
    working.wired.core.disconnected(working.wired.now)
    wish = working.want(wait_ms=3_000.0)
    working.wired.advance(3_000)
    working.core.receiver.late(wish, working.wired.now)
    assert wish.settled
    working.wired.core.connected(working.wired.now)
    working.wired.run()
    working.wired.advance(1_000)
    assert not working.work.asked
    assert [message.attempt for message in working.receive()] == [1]
