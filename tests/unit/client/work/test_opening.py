"""Opener: messages of parts, whose queues are known or not yet, sound or not."""

from __future__ import annotations

import logging

import pytest

from shardmq.actors.protocol.batch import encode_batch
from shardmq.actors.protocol.columns import Columns
from shardmq.actors.protocol.group_messages import AssignedQueue
from shardmq.actors.protocol.work_messages import ReceivedPart, ReceiveFault, ReceiveReply
from shardmq.client.work.handout import Receipt
from shardmq.client.work.opening import Opener

RECEIPT = Receipt(None, 7, 0, 99, 50_000, 0)
BATCH = encode_batch(
    Columns([b"a", b"b"]), producer_id=3, first_sequence=5, first_born_ms=1, last_born_ms=1
)


def part(queue: int, count: int = 2) -> ReceivedPart:
    return ReceivedPart(queue=queue, generation=4, offset=10, count=count, attempt=2)


def assigned(queue: int) -> AssignedQueue:
    return AssignedQueue(topic="t", queue_id=1, queue=queue, shard=0, generation=4)


def test_a_part_is_messages_with_the_receipt_of_their_answer() -> None:
    opener = Opener()
    opener.learn([assigned(8)])
    first, second = opener.open(ReceiveReply(parts=[part(8)]), [BATCH], RECEIPT)
    assert (first.body, first.topic, first.queue_id, first.offset) == (b"a", "t", 1, 10)
    assert (second.offset, second.attempt, second.message_id[-1]) == (11, 2, "6")
    assert second.invisible_until is not None
    assert second.invisible_until.timestamp() == 50


def test_parts_of_unknown_queues_are_kept_until_the_queue_is_known() -> None:
    opener = Opener()
    assert opener.open(ReceiveReply(parts=[part(8), part(9)]), [BATCH, BATCH], RECEIPT) == []
    assert opener.learn([]) == [[], []]
    [known, unknown] = opener.learn([assigned(9)])
    assert sorted(map(len, (known, unknown))) == [0, 2]
    opener.forget()
    assert opener.learn([assigned(8)]) == []


def test_at_the_end_what_has_no_name_comes_all_the_same() -> None:
    opener = Opener()
    opener.open(ReceiveReply(parts=[part(8)]), [BATCH], RECEIPT)
    assert [message.offset for message in opener.close()] == [10, 11]
    assert opener.close() == []
    assert len(opener.open(ReceiveReply(parts=[part(9)]), [BATCH], RECEIPT)) == 2


@pytest.mark.parametrize("frame", [b"no batch", BATCH[:-1] + b"x"])
def test_a_damaged_part_is_told_in_the_log_and_the_others_come(
    frame: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    opener = Opener()
    opener.learn([assigned(8)])
    answer = ReceiveReply(parts=[part(8), part(8)])
    with caplog.at_level(logging.ERROR):
        assert len(opener.open(answer, [frame, BATCH], RECEIPT)) == 2
    assert "offset 10 on of queue 1 of 't' cannot be read" in caplog.text


def test_a_part_that_holds_other_messages_than_told_is_damaged() -> None:
    opener = Opener()
    opener.learn([assigned(8)])
    assert opener.open(ReceiveReply(parts=[part(8, count=3)]), [BATCH], RECEIPT) == []


def test_what_a_shard_could_not_hand_out_is_told_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fault = ReceiveFault(queue=8, code=508, offset=3, next_offset=9, message="crc")
    with caplog.at_level(logging.ERROR):
        assert Opener().open(ReceiveReply(faults=[fault]), [], RECEIPT) == []
        assert Opener().open(ReceiveReply(parts=[part(8)]), [], RECEIPT) == []
    assert "offsets 3 to 9 of queue number 8" in caplog.text
    assert "1 parts has 0 frames" in caplog.text
