"""Settler: what is told together, what counts as settled, and what a refusal does."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import Route
from shardmq.actors.protocol.messages import ErrorReply
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.work_messages import SettleReply, SettleResult
from shardmq.client import errors
from shardmq.client.work.settlement import ACK, GIVE_BACK, Act
from support.work_client import Working, bodies


@pytest.fixture
def working() -> Working:
    """With ten messages in one queue of the only shard."""
    working = Working(shards=1)
    working.store(*[b"%d" % n for n in range(10)])
    return working


def told(working: Working) -> list[list[tuple[str, int, int]]]:
    return [[(one.act, one.start, one.stop) for one in items] for items in working.work.settled]


def test_messages_side_by_side_are_one_item(working: Working) -> None:
    messages = working.receive()
    assert working.fault([messages[n] for n in (4, 0, 1, 2, 7, 1)]) is None
    assert told(working) == [[("ack", 0, 3), ("ack", 4, 5), ("ack", 7, 8)]]
    assert len(working.work.done) == 5


def test_one_message_and_no_message_can_be_settled(working: Working) -> None:
    [message] = working.receive(1)
    assert working.fault(message) is None
    assert working.fault([]) is None
    assert told(working) == [[("ack", 0, 1)]]


def test_what_comes_while_a_request_is_on_its_way_goes_with_the_next_as_one(
    working: Working,
) -> None:
    messages = working.receive()
    first = working.tell_of(messages[0], ACK)
    order = [5, 3, 4, 8]
    more = [working.tell_of(messages[n], ACK) for n in order]
    assert not working.core.settler.is_idle
    assert working.core.settler.untold == 5
    working.wired.run()
    assert working.core.settler.untold == 0
    assert all(one.settled and one.fault() is None for one in (first, *more))
    assert told(working) == [[("ack", 0, 1)], [("ack", 3, 6), ("ack", 8, 9)]]
    assert working.core.settler.is_idle


def test_unlike_acts_are_told_apart(working: Working) -> None:
    messages = working.receive()
    working.tell_of(messages[9], ACK)
    working.tell_of(messages[0], ACK)
    working.tell_of(messages[1], Act("nack", 5_000))
    working.wired.run()
    assert told(working)[1] == [("ack", 0, 1), ("nack", 1, 2)]


def test_those_that_came_too_late_are_named_and_the_others_are_settled(working: Working) -> None:
    messages = working.receive(4, invisible_ms=1_000) + working.receive(4)
    working.wired.advance(1_000)
    fault = working.fault(messages)
    assert isinstance(fault, errors.ReceiptExpired)
    assert bodies(fault.messages) == [b"0", b"1", b"2", b"3"]
    assert "and 1 more" in str(fault)
    assert len(working.work.done) == 4


def test_each_of_those_that_share_an_item_hears_of_its_own(working: Working) -> None:
    messages = working.receive(4)
    number = messages[0]._delivery.queue  # type: ignore[attr-defined]
    working.work.rows[number, 2].receipt = 1
    working.tell_of(messages[3], ACK)
    one = working.tell_of(messages[1], ACK)
    other = working.tell_of(messages[2], ACK)
    working.wired.run()
    assert told(working)[1] == [("ack", 1, 3)]
    assert one.fault() is None
    fault = other.fault()
    assert isinstance(fault, errors.ReceiptExpired)
    assert fault.messages == [messages[2]]


@pytest.mark.parametrize("code", [Code.FENCED, Code.STALE_ROUTE, Code.GROUP_NOT_FOUND])
def test_a_grant_that_is_not_in_force_any_more_expires_all(working: Working, code: Code) -> None:
    messages = working.receive(2)
    answer = SettleReply(results=[SettleResult(code=code, message="reset")])
    working.wired.broker.answer = lambda route, *_: (
        (Code.OK, answer) if route.verb == Verb.SETTLE else None
    )
    fault = working.fault(messages)
    assert isinstance(fault, errors.ReceiptExpired)
    assert len(fault.messages) == 2
    assert "reset" in str(fault)


def test_a_shard_that_does_not_know_the_group_has_forgotten_its_receipts(working: Working) -> None:
    [message] = working.receive(1)
    header = ErrorReply(name="GROUP_NOT_FOUND", message="no such group", retryable=False)
    working.wired.broker.answer = lambda route, *_: (
        (Code.GROUP_NOT_FOUND, header) if route.verb == Verb.SETTLE else None
    )
    assert isinstance(working.fault(message), errors.ReceiptExpired)


def test_receipts_of_a_deleted_group_have_expired_without_a_request(working: Working) -> None:
    [message] = working.receive(1)
    working.core.joined(8, working.wired.now)
    assert isinstance(working.fault(message), errors.ReceiptExpired)
    assert told(working) == []


def test_a_shard_that_has_no_room_is_told_again_until_the_time_is_over(working: Working) -> None:
    messages = working.receive(2)
    busy = SettleReply(results=[SettleResult(code=Code.BUSY, message="too many ranges")])

    def answer(route: Route, *_: Any) -> Any:
        return (Code.OK, busy) if route.verb == Verb.SETTLE else None

    working.wired.broker.answer = answer
    one = working.settle(messages[0])
    assert not one.settled
    assert not working.core.settler.is_idle
    working.wired.broker.answer = lambda *_: None
    working.wired.advance(100)
    assert one.settled
    assert one.fault() is None
    working.wired.broker.answer = answer
    other = working.settle(messages[1])
    working.wired.advance(10_000)
    assert other.settled
    assert isinstance(other.fault(), errors.Busy)


def test_a_shard_that_never_answers_fails_it_at_its_deadline(working: Working) -> None:
    [message] = working.receive(1)
    working.wired.broker.answer = lambda route, *_: "lost" if route.verb == Verb.SETTLE else None
    one = working.settle(message)
    working.wired.advance(9_999)
    assert not one.settled
    working.wired.advance(1)
    assert isinstance(one.fault(), errors.TimedOut)


def test_an_answer_that_was_lost_is_asked_for_again(working: Working) -> None:
    [message] = working.receive(1)
    working.wired.broker.lose = lambda route: route.verb == Verb.SETTLE
    one = working.settle(message)
    assert not one.settled
    working.wired.broker.lose = lambda route: False
    working.wired.advance(2_000)
    assert one.settled
    assert one.fault() is None


def test_what_nobody_waits_for_any_more_is_not_told(working: Working) -> None:
    messages = working.receive(2)
    working.tell_of(messages[0], ACK)
    other = working.tell_of(messages[1], ACK)
    other.give_up()
    working.wired.run()
    assert told(working) == [[("ack", 0, 1)]]
    assert isinstance(other.fault(), errors.TimedOut)


def test_an_unreadable_answer_fails_all_that_it_is_for(working: Working) -> None:
    messages = working.receive(2)
    for answer in (ErrorReply(name="x", message="y"), SettleReply(results=[])):
        working.wired.broker.answer = lambda route, *_, answer=answer: (  # type: ignore[misc]
            (Code.OK, answer) if route.verb == Verb.SETTLE else None
        )
        fault = working.fault(messages)
        assert fault is not None
        assert fault.code == Code.INTERNAL


def test_closing_fails_what_is_on_its_way_and_what_comes_later(working: Working) -> None:
    messages = working.receive(3)
    one = working.tell_of(messages[0], ACK)
    other = working.tell_of(messages[1], ACK)
    working.core.settler.close(errors.ClosedError("consumer"))
    third = working.tell_of(messages[2], ACK)
    for settlement in (one, other, third):
        assert settlement.settled
        assert isinstance(settlement.fault(), errors.ClosedError)
    assert working.core.settler.is_idle


def test_long_causes_are_dealt_to_several_requests() -> None:
    working = Working(shards=1)
    working.store(*[b"%d" % n for n in range(40)])
    messages = working.receive(40)
    working.tell_of(messages[0], ACK)
    for message in messages[1:]:
        act = Act("nack", None, False, str(message.offset), "x" * 8_000)
        working.tell_of(message, act)
    working.wired.run()
    assert [len(items) for items in working.work.settled] == [1, 17, 17, 5]


def test_what_is_given_back_is_free_at_once_and_was_no_attempt(working: Working) -> None:
    messages = working.receive(2)
    assert working.fault(messages, GIVE_BACK) is None
    assert working.fault(messages, GIVE_BACK) is None, "again changes nothing"
    late = working.fault(messages[0])
    assert isinstance(late, errors.ReceiptExpired)
    assert "not this consumer's any more" in late.hint
    again = working.receive(2)
    assert [(one.body, one.attempt) for one in again] == [(one.body, 1) for one in messages]
