"""Basket: what fits, in messages and bytes, as batches and as plain messages."""

from __future__ import annotations

import msgspec
import pytest

from shardmq.actors.kernel.ports import Span
from shardmq.actors.protocol.batch import BatchView, check_batch
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.work_messages import Receive
from shardmq.shards import basket
from shardmq.shards.basket import Basket, Unfit
from shardmq.shards.cut import OpenedBatch
from shardmq.shards.serving import ServedQueue
from shardmq.shards.state.queues import QueueOffsets
from support.shards import batch

SERVED = ServedQueue(5, QueueOffsets())
SERVED.queue_id = 3


def opened(*bodies: bytes) -> OpenedBatch:
    frame = batch(bodies)
    return OpenedBatch(bytes(64) + frame, Span(100, 0, 64 + len(frame), len(bodies), 9))


def basket_of(count_max: int = 32, bytes_max: int = 1 << 20, *, json: bool = False) -> Basket:
    header = Receive(group_id=7, receipt=1, count_max=count_max, bytes_max=bytes_max)
    return Basket(header, 1_000, json=json)


def put(one: Basket, stored: OpenedBatch, first: int = 0, behind: int | None = None) -> int:
    return one.put(SERVED, 2, 1, stored, first, stored.count if behind is None else behind)


def test_parts_and_frames_belong_together() -> None:
    one, stored = basket_of(), opened(b"a", b"b", b"c")
    assert not one.has_something
    assert (put(one, stored, 0, 1), put(one, stored, 2, 3)) == (1, 1)
    reply = one.reply()
    assert [(part.queue, part.generation, part.offset, part.count) for part in reply.parts] == [
        (5, 2, 100, 1), (5, 2, 102, 1),
    ]  # fmt: skip
    assert [BatchView(one, check_batch(one)).bodies() for one in one.frames] == [[b"a"], [b"c"]]
    assert reply.until_ms == 31_000
    assert not one.full


def test_it_is_full_by_messages() -> None:
    one = basket_of(2)
    assert put(one, opened(b"a", b"b", b"c")) == 2
    assert (one.full, one.count, one.count_left) == (True, 2, 0)


@pytest.mark.parametrize("json", [False, True])
@pytest.mark.parametrize("bytes_max", [1, 300, 1_000, 2_500])
def test_no_reply_is_larger_than_wished_unless_a_single_message_is(
    bytes_max: int, json: bool
) -> None:
    stored = opened(*[b"x" * 100] * 30)
    one = basket_of(bytes_max=bytes_max, json=json)
    while not one.full and one.count < 30:
        put(one, stored, one.count, one.count + min(7, 30 - one.count))
    if json:
        size = sum(len(msgspec.json.encode(m)) for part in one.parts for m in part.messages)
    else:
        size = sum(map(len, one.frames))
    assert one.full
    assert size == one.bytes
    assert one.count == 1 or size <= bytes_max
    assert one.count == 1 or size + 500 > bytes_max  # and not much smaller


def test_what_does_not_fit_behind_others_is_left() -> None:
    one = basket_of(bytes_max=500)
    assert put(one, opened(b"a")) == 1
    assert put(one, opened(b"x" * 600)) == 0
    assert (one.full, one.count, len(one.frames)) == (True, 1, 1)
    json = basket_of(bytes_max=500, json=True)
    assert (put(json, opened(b"a")), put(json, opened(b"x" * 600))) == (1, 0)
    assert json.full


def test_plain_messages_for_json_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    one = basket_of(json=True)
    put(one, opened(b"a", b"b", b"c"), 1, 3)
    (part,) = one.parts
    assert [(message.body, message.offset, message.queue_id) for message in part.messages] == [
        ("b", 101, 3), ("c", 102, 3),
    ]  # fmt: skip
    assert one.frames == []
    monkeypatch.setattr(basket, "MESSAGE_BYTES_MAX", 900)
    with pytest.raises(Unfit, match="too large"):
        put(basket_of(json=True), opened(b"x" * 1_000))
    assert put(basket_of(json=True), opened(b"x", b"x" * 1_000)) == 1


def test_a_look_takes_one_and_says_nothing() -> None:
    one = basket_of(0)
    assert put(one, opened(b"a", b"b")) == 1
    assert (one.full, one.has_something, one.frames) == (True, True, [])
    assert one.reply().parts == []


def test_faults_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basket, "FAULTS_MAX", 2)
    one = basket_of()
    for at in range(2):
        assert not one.full
        one.fault(5, Code.DAMAGED, at, at + 1, "gone")
    assert one.full
    assert [(fault.offset, fault.code) for fault in one.reply().faults] == [
        (0, Code.DAMAGED), (1, Code.DAMAGED),
    ]  # fmt: skip
    assert one.reply().until_ms == 0
