"""Handout: a message knows what proves that it was handed out, and no other message is heavier."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.batch import BatchError, BatchView, encode_batch, read_batch_header
from shardmq.actors.protocol.columns import Columns
from shardmq.actors.protocol.work_messages import ReceivedPart
from shardmq.client import errors
from shardmq.client.received import Delivery, messages_of
from shardmq.client.work.handout import QueueName, Receipt, handouts_of, opened

BATCH = encode_batch(
    Columns([b"a", b"b"]), producer_id=3, first_sequence=5, first_born_ms=1, last_born_ms=1
)
TOLD = ReceivedPart(queue=8, generation=4, offset=10, count=2, stored_at_ms=77)
OWNER = object()
RECEIPT = Receipt(OWNER, 7, 1, 99, 50_000, 0)
NAME = QueueName("t", 1)


def test_a_message_leads_to_its_receipt() -> None:
    messages = opened(TOLD, BATCH, RECEIPT, NAME)
    [(handout, rows)] = handouts_of([messages[1], messages[0]], OWNER).items()
    assert (handout.queue, handout.generation, handout.receipt) == (8, 4, RECEIPT)
    assert [handout.offset_of(row) for row in rows] == [11, 10]
    with pytest.raises(errors.InvalidArgument):
        handouts_of(messages, object())


def test_other_messages_have_no_time_at_which_they_become_visible() -> None:
    view = BatchView(BATCH, read_batch_header(BATCH))
    message = messages_of(Delivery("t", 1, 10, 77, view), 0)[0]
    assert message.invisible_until is None
    with pytest.raises(errors.InvalidArgument):
        handouts_of([message], OWNER)


def test_a_frame_that_is_not_what_was_told_is_refused() -> None:
    with pytest.raises(BatchError, match="checksum"):
        opened(TOLD, BATCH[:-1] + b"x", RECEIPT, NAME)
    three = ReceivedPart(queue=8, generation=4, offset=10, count=3)
    with pytest.raises(BatchError, match="3 messages were told, and 2 came"):
        opened(three, BATCH, RECEIPT, NAME)
