"""Settlement: whose messages, in which pieces, and what is said of those that came too late."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shardmq.client import Message, errors
from shardmq.client.work.settlement import ACK, Act, Settlement
from support.work_client import Working


@pytest.fixture
def working() -> Working:
    working = Working(shards=1)
    working.store(b"a", b"b", b"c")
    return working


@pytest.mark.parametrize("what", ["text", 5, None, Message("t", b"x"), [Message("t", b"x")]])
def test_only_received_messages_can_be_settled(working: Working, what: object) -> None:
    with pytest.raises(errors.InvalidArgument, match="only received messages"):
        Settlement(what, ACK, working.core, 0.0)


def test_a_message_of_another_consumer_is_refused(working: Working) -> None:
    messages = working.receive()
    with pytest.raises(errors.InvalidArgument, match="this consumer"):
        Settlement(messages, ACK, Working().core, 0.0)


def test_it_is_over_when_each_piece_was_answered(working: Working) -> None:
    messages = working.receive()
    settlement = Settlement(iter([messages[0], messages[2]]), ACK, working.core, 0.0)
    one, other = settlement.pieces
    assert (one.start, one.stop, other.start, other.stop) == (0, 1, 2, 3)
    settlement.failed(errors.Busy("later"))
    assert not settlement.settled
    settlement.late(other.handout, 2, 3, "gone")
    settlement.done(other, 0)
    assert settlement.settled
    fault = settlement.fault()
    assert isinstance(fault, errors.Busy), "what is not known to be settled is told first"
    assert str(fault).startswith("later; besides, too late for offset 2")
    late = fault.__cause__
    assert isinstance(late, errors.ReceiptExpired)
    assert late.messages == [messages[2]]


def test_a_changed_time_is_shown_for_those_whose_time_was_changed(working: Working) -> None:
    messages = working.receive()
    before = messages[0].invisible_until
    assert before is not None
    assert [message.invisible_until for message in messages] == [before] * 3
    working.wired.advance(10_000)
    assert working.fault(messages[1], Act("invisible", 60_000)) is None
    assert messages[1].invisible_until == before + timedelta(seconds=40)
    assert messages[0].invisible_until == before


def test_a_changed_time_that_came_too_late_changes_nothing(working: Working) -> None:
    messages = working.receive(3, invisible_ms=1_000)
    before = messages[0].invisible_until
    working.wired.advance(1_000)
    fault = working.fault(messages, Act("invisible", 60_000))
    assert isinstance(fault, errors.ReceiptExpired)
    assert [message.invisible_until for message in messages] == [before] * 3


def test_what_its_user_gave_up_stays_so_whatever_comes(working: Working) -> None:
    messages = working.receive()
    settlement = Settlement(messages, ACK, working.core, 0.0)
    [piece] = settlement.pieces
    settlement.give_up()
    settlement.done(piece, 0)
    settlement.failed(errors.Busy("later"))
    assert settlement.settled
    assert isinstance(settlement.fault(), errors.TimedOut)


def test_those_that_came_too_late_are_named_in_the_order_in_which_they_were_given(
    working: Working,
) -> None:
    messages = working.receive(1, invisible_ms=1_000) + working.receive(2, invisible_ms=1_000)
    working.wired.advance(1_000)
    given = [messages[2], messages[0], messages[1]]
    fault = working.fault(given)
    assert isinstance(fault, errors.ReceiptExpired)
    assert fault.messages == given
