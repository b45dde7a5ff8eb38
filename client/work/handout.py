"""Handout: messages of one queue that were handed out together, and what proves it.

A message carries no more than others: it points to the part of the answer that it came in, which
knows the receipt. So nothing needs to be remembered of messages in the user's hands.
"""

from __future__ import annotations

from typing import NamedTuple

from shardmq.actors.protocol.batch import BatchError, BatchView, check_batch
from shardmq.actors.protocol.work_messages import ReceivedPart

from ..errors import InvalidArgument
from ..received import Delivery, ReceivedMessage, delivery_of, messages_of

__all__ = ["Handout", "QueueName", "Receipt", "handout_of", "opened"]


class Receipt(NamedTuple):
    """Of one RECEIVE."""

    owner: object
    """The consumer's core."""
    group_id: int
    shard: int
    number: int
    until_ms: int
    """By the broker's clock."""
    ahead_ms: int
    """How far, at least, the broker's clock is ahead of ours."""


class QueueName(NamedTuple):
    """What a queue's number stands for."""

    topic: str
    queue_id: int


class Handout(Delivery):
    """One part of the answer to a RECEIVE."""

    def __init__(
        self, name: QueueName, told: ReceivedPart, receipt: Receipt, view: BatchView
    ) -> None:
        super().__init__(*name, told.offset, told.stored_at_ms, view)
        self.attempt = told.attempt
        self.queue = told.queue
        self.generation = told.generation
        self.receipt = receipt
        self.moved: dict[int, int] = {}
        """Row -> until when it is invisible, where that was changed."""

    def until_ms_of(self, index: int) -> int:
        return self.moved.get(index, self.receipt.until_ms)


def opened(
    told: ReceivedPart, frame: bytes, receipt: Receipt, name: QueueName
) -> list[ReceivedMessage]:
    """The messages of one part, its checksum verified.

    Raises:
        BatchError: damaged on its way, or malformed.
    """
    head = check_batch(frame)
    if head.count != told.count:
        raise BatchError(f"{told.count} messages were told, and {head.count} came")
    return messages_of(Handout(name, told, receipt, BatchView(frame, head)), 0)


def handout_of(message: object, owner: object) -> tuple[Handout, int]:
    """What a message came with, and its row there.

    Raises:
        InvalidArgument: it was not received by `owner`.
    """
    if not isinstance(message, ReceivedMessage):
        kind = type(message).__name__
        raise InvalidArgument(f"what receive() returned can be settled, not {kind}")
    handout, index = delivery_of(message)
    if not isinstance(handout, Handout) or handout.receipt.owner is not owner:
        raise InvalidArgument(
            "this message was not received by this consumer",
            hint="settle it with the consumer whose receive() returned it",
        )
    return handout, index
