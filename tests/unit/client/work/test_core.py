"""WorkCore: joining, what the group says, and the end."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol import group_messages as g
from shardmq.client import errors
from support.work_client import Working, bodies


def test_it_is_a_member_of_a_work_group_and_knows_where_the_queues_are() -> None:
    working = Working()
    assert working.core.settled
    assert working.core.fault_of_start(True) is None
    [member] = working.wired.broker.groups.members.values()
    assert (member.model, member.retries) == ("work", True)


def test_it_has_not_started_before_the_group_has_said_what_there_is() -> None:
    working = Working(started=False)
    assert not working.core.settled
    assert isinstance(working.core.fault_of_start(False), errors.TimedOut)


def test_a_refusal_is_the_fault_of_the_start_and_of_every_receive() -> None:
    working = Working(started=False)
    working.wired.broker.groups.members["other"] = g.GroupJoin(
        group="g", member="other", subscriptions=[g.Subscription(topic="u")]
    )
    working.start()
    assert isinstance(working.core.fault_of_start(True), errors.SubscriptionConflict)
    with pytest.raises(errors.SubscriptionConflict):
        working.want().outcome()


def test_what_is_in_hand_is_settled_whatever_became_of_the_membership() -> None:
    working = Working()
    working.store(b"a")
    messages = working.receive()
    working.core.failed(errors.Forbidden("no more"), working.wired.now)
    assert working.fault(messages) is None


def test_a_queue_that_is_taken_away_is_given_back_at_once() -> None:
    working = Working()
    working.wired.broker.groups.revoke("me", working.number(0))
    working.tell()
    assert working.wired.broker.groups.released == [working.number(0)]


def test_queues_that_are_added_are_received_from() -> None:
    working = Working(started=False)
    working.core.membership.start(working.wired.now)
    working.wired.run()
    wish = working.want(wait_ms=5_000.0)
    assert not wish.settled
    working.wired.broker.give("me", "t", 0, 1, 2, 3)
    working.store(b"a")
    working.tell()
    assert bodies(wish.outcome()) == [b"a"]


def test_closing_ends_everything_that_waits() -> None:
    working = Working()
    wish = working.want(wait_ms=5_000.0)
    working.core.close(errors.ClosedError("consumer"))
    with pytest.raises(errors.ClosedError):
        wish.outcome()
    assert working.core.receiver.is_idle


def test_what_a_shard_hands_out_to_a_member_that_failed_is_given_back() -> None:
    working = Working(shards=1)
    working.store(b"a")
    wish = working.want(wait_ms=5_000.0)
    working.core.failed(errors.Forbidden("no more"), working.wired.now)
    working.wired.run()
    with pytest.raises(errors.Forbidden):
        working.core.receiver.take(wish)
    assert [row.attempt for row in working.work.rows.values()] == [0]
