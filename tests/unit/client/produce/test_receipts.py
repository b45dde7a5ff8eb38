"""Receipts and futures: looked up when asked, one answer for many messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.messages import QueueRoute
from shardmq.client import errors
from shardmq.client.produce.receipts import Parcel, Part, Receipts, SendFault, SendFuture


class Owner:
    """Waits by doing what the test says."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act = act

    def wait_for(self, done: Callable[[], bool], parcel: Parcel, timeout_ms: float | None) -> bool:
        self._act()
        return done()

    def add_callback(self, future: SendFuture, call: Callable[[SendFuture], Any]) -> None:
        call(future)


def sealed(queues: int = 2, count: int = 5) -> Parcel:
    parcel = Parcel("t", producer_id=0xAB)
    parcel.parts = []
    for queue_id in range(queues):
        queue = QueueRoute(queue_id=queue_id, number=queue_id, shard=0)
        part = Part(parcel, queue, len(range(queue_id, count, queues)))
        part.first_sequence = 10 * queue_id + 1
        part.base_offset = 100 * (queue_id + 1)
        part.stored_at_ms = 1_000
        parcel.parts.append(part)
    parcel.open_parts = queues
    return parcel


def settle(parcel: Parcel, number: int, fault: SendFault | None = None) -> None:
    assert parcel.parts is not None
    parcel.parts[number].settled = True
    parcel.parts[number].fault = fault
    parcel.open_parts -= 1


def test_dealt_messages_find_queue_offset_and_id() -> None:
    parcel = sealed()
    settle(parcel, 0)
    settle(parcel, 1)
    receipts = list(Receipts([(parcel, 0, 5)]))
    assert [(r.queue_id, r.offset) for r in receipts] == [
        (0, 100), (1, 200), (0, 101), (1, 201), (0, 102),
    ]  # fmt: skip
    assert receipts[3].message_id == f"{0xAB:016x}{12:016x}"
    assert receipts[0].stored_at.timestamp() == 1.0


def test_a_future_is_done_with_its_own_part() -> None:
    parcel = sealed()
    futures = [SendFuture(parcel, index, None) for index in range(2)]
    settle(parcel, 1)
    assert [future.done() for future in futures] == [False, True]
    assert futures[1].result().offset == 200
    assert "pending" in repr(futures[0])


def test_a_result_waits_and_raises_what_came_of_it() -> None:
    parcel = sealed(queues=1, count=1)
    fault = SendFault(Code.BUSY, "later")
    future = SendFuture(parcel, 0, Owner(lambda: settle(parcel, 0, fault)))
    with pytest.raises(errors.SendFailed) as first:
        future.result()
    with pytest.raises(errors.Busy) as second:
        future.result()
    assert first.value is not second.value, "each raise has its own traceback"
    assert isinstance(future.exception(), errors.Busy)


def test_a_result_that_does_not_come_is_timed_out_and_still_pending() -> None:
    future = SendFuture(sealed(), 0, Owner(lambda: None))
    with pytest.raises(errors.TimedOut, match=r"0\.5"):
        future.result(timeout=0.5)
    assert not future.done()


def test_a_moved_part_is_followed() -> None:
    parcel = sealed(queues=1, count=2)
    assert parcel.parts is not None
    child = Part(parcel, QueueRoute(queue_id=7, number=7, shard=0), 2)
    child.base_offset = 50
    parcel.parts[0].moved = [(child, 1), (child, 0)]
    child.settled, parcel.open_parts = True, 0
    assert [receipt.offset for receipt in Receipts([(parcel, 0, 2)])] == [51, 50]


def test_a_parcel_that_was_never_sealed_fails_all_its_messages() -> None:
    parcel = Parcel("t", 1)
    parcel.fault = SendFault(Code.TIMED_OUT, "waited too long")
    assert parcel.settled
    assert parcel.done(3)
    assert isinstance(parcel.outcome(3), errors.SendFailed)


def test_faults_of_a_batch_are_raised_with_all_outcomes_the_doubtful_first() -> None:
    parcel, other = sealed(), sealed()
    settle(parcel, 0)
    settle(parcel, 1, SendFault(Code.FORBIDDEN, "no"))
    settle(other, 0)
    settle(other, 1, SendFault(Code.TIMED_OUT, "silence", unknown=True))
    receipts = Receipts([(parcel, 0, 5), (other, 0, 5)])
    assert receipts.settled()
    with pytest.raises(errors.SendUnknown) as caught:
        receipts.raise_faults()
    outcomes = caught.value.outcomes
    assert len(outcomes) == 10
    assert isinstance(outcomes[1], errors.Forbidden)
    assert outcomes[-1].offset == 102
    assert [type(one).__name__ for one in outcomes[0:2]] == ["SendReceipt", "Forbidden"]
    with pytest.raises(IndexError):
        outcomes[10]


def test_a_run_in_the_middle_of_a_parcel_sees_only_its_own_faults() -> None:
    parcel = sealed()
    settle(parcel, 0)
    settle(parcel, 1, SendFault(Code.FORBIDDEN, "no"))
    Receipts([(parcel, 2, 1)]).raise_faults()
    with pytest.raises(errors.Forbidden):
        Receipts([(parcel, 2, 2)]).raise_faults()
