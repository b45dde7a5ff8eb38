"""Plain FETCH: stored batches as JSON, a page at a time."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.batch import batch_crc
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_JSON
from shardmq.actors.protocol.limits import BODY_BYTES_MAX
from shardmq.actors.protocol.messages import FetchResult, PlainMessage
from support.shards import ShardUnderTest, batch, topic

KIB = 1024


@pytest.fixture
def shard() -> ShardUnderTest:
    under_test = ShardUnderTest(segment_bytes=64 << 20)
    under_test.define(topic(numbers=(10, 11)))
    return under_test


def page(shard: ShardUnderTest, offset: int, bytes_max: int = 1 << 20) -> FetchResult:
    reply = shard.fetch((10, offset), bytes_max=bytes_max, flags=FLAG_JSON)
    assert reply.payload == []
    (result,) = reply.header.queues
    assert isinstance(result, FetchResult)
    return result


def everything(shard: ShardUnderTest, bytes_max: int) -> list[PlainMessage]:
    found: list[PlainMessage] = []
    offset = 0
    while True:
        result = page(shard, offset, bytes_max)
        assert result.code == Code.OK
        assert result.next_offset > offset
        found += result.messages
        offset = result.next_offset
        if offset == result.latest:
            return found


def test_text_comes_as_text_and_other_bytes_as_base64(shard: ShardUnderTest) -> None:
    shard.fill(10, "grün".encode(), b"\xff\x00")
    first, second = page(shard, 0).messages
    assert (first.body, first.body_base64) == ("grün", None)
    assert (second.body, second.body_base64) == (None, "/wA=")
    assert (first.queue_id, first.offset, second.offset) == (0, 0, 1)


def test_messages_in_front_of_the_offset_are_left_out(shard: ShardUnderTest) -> None:
    shard.fill(10, b"a", b"b", b"c")
    result = page(shard, 2)
    assert [one.body for one in result.messages] == ["c"]
    assert result.next_offset == 3


def test_pages_end_between_any_two_messages_and_lose_none(shard: ShardUnderTest) -> None:
    bodies = [str(one) * 50 for one in range(60)]
    for first in range(0, 60, 20):
        shard.fill(10, *(body.encode() for body in bodies[first : first + 20]))
    for bytes_max in (1, 300, 1_000, 100_000):
        found = everything(shard, bytes_max)
        assert [one.body for one in found] == bodies
        assert [one.offset for one in found] == list(range(60))


def test_the_credit_counts_json_so_an_opened_batch_cannot_swell_a_reply(
    shard: ShardUnderTest,
) -> None:
    bodies = [b"\x00" * 40 * KIB] * 20  # six times as long in JSON
    shard.fill(10, *bodies)
    result = page(shard, 0, bytes_max=500 * KIB)
    assert len(result.messages) == 2
    assert result.next_offset == 2


def test_the_largest_message_fits_in_every_form(shard: ShardUnderTest) -> None:
    shard.fill(10, b"\x00" * BODY_BYTES_MAX)
    shard.fill(10, b"\xff" * BODY_BYTES_MAX)
    found = everything(shard, 1 << 20)
    assert [len(one.body_base64 or "") for one in found] == [4 * -(-BODY_BYTES_MAX // 3)] * 2


def test_queues_behind_a_full_page_wait_for_the_next_fetch(shard: ShardUnderTest) -> None:
    shard.fill(10, *[b"x" * 300] * 10)
    shard.fill(11, *[b"x" * 300] * 10)
    reply = shard.fetch((10, 0), (11, 0), bytes_max=2_000, flags=FLAG_JSON)
    assert 1 <= len(reply.header.queues) <= 2
    messages = [message for one in reply.header.queues for message in one.messages]
    assert 0 < len(messages) < 10


def test_a_batch_that_does_not_open_is_named_and_can_be_passed(shard: ShardUnderTest) -> None:
    shard.fill(10, b"before")
    frame = bytearray(batch([b"abc", b"de"], producer_id=7))
    at = frame.index(b"\x91\x92") + 1  # its lengths [3, 2]
    frame[at : at + 3] = b"\x92\x03\x09"
    frame[8:12] = batch_crc(bytes(frame)).to_bytes(4, "little")
    assert shard.produce(10, bytes(frame)).code == Code.OK
    shard.fill(10, b"behind")
    assert page(shard, 0).next_offset == 1
    malformed = page(shard, 1)
    assert (malformed.code, malformed.next_offset) == (Code.DAMAGED, 3)
    assert "malformed" in malformed.message
    assert [one.body for one in page(shard, 3).messages] == ["behind"]


def test_a_message_that_ignores_the_limits_is_too_large_for_json(shard: ShardUnderTest) -> None:
    shard.fill(10, b"before")
    shard.produce(10, batch([b"\xff" * (6 << 20), b"ok"], producer_id=7))
    assert page(shard, 0).next_offset == 1
    refused = page(shard, 1)
    assert (refused.code, refused.next_offset) == (Code.TOO_LARGE, 2)
    assert [one.body for one in page(shard, 2).messages] == ["ok"]


def test_errors_are_results_in_json_too(shard: ShardUnderTest) -> None:
    assert page(shard, 5).code == Code.OFFSET_OUT_OF_RANGE
