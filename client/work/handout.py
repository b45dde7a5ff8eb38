"""Handout: messages of one queue that were handed out together, and what proves it.

A message carries no more than others: it points to the part of the answer that it came in, which
knows the receipt. So nothing needs to be remembered of messages in the user's hands.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from shardmq.actors.protocol.batch import BatchError, BatchView, check_batch
from shardmq.actors.protocol.work_messages import ReceivedPart

from ..errors import InvalidArgument
from ..received import Delivery, ReceivedMessage, messages_of, rows_of

__all__ = ["Handout", "QueueName", "Receipt", "handouts_of", "opened"]


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

    def offset_of(self, index: int) -> int:
        """Of one of its messages."""
        deltas = self.offset_deltas
        return self.base_offset + (deltas[index] if deltas else index)

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


def handouts_of(messages: Iterable[object], owner: object) -> dict[Handout, list[int]]:
    """What messages came with, and their rows there.

    Raises:
        InvalidArgument: one was not received by `owner`.
    """
    found: dict[Handout, list[int]] = {}
    for handout, rows in rows_of(messages).items():
        if not isinstance(handout, Handout) or handout.receipt.owner is not owner:
            raise InvalidArgument(
                "a message was not received by this consumer",
                hint="settle it with the consumer whose receive() returned it",
            )
        found[handout] = rows
    return found
