"""Opener: makes messages of what RECEIVE brought. Pure.

Owns the names of queues. A shard may hand out messages of a new queue before the coordinator has
told this member of it: they are kept until it has.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

from shardmq.actors.protocol.batch import BatchError
from shardmq.actors.protocol.group_messages import AssignedQueue
from shardmq.actors.protocol.work_messages import ReceivedPart, ReceiveReply

from ..received import ReceivedMessage
from .handout import QueueName, Receipt, opened

__all__ = ["Opener"]

_log = logging.getLogger("shardmq.client")


class _Kept(NamedTuple):
    told: ReceivedPart
    frame: bytes
    receipt: Receipt


class Opener:
    """Of one consumer."""

    def __init__(self) -> None:
        self._names: dict[int, QueueName] = {}
        self._kept: list[_Kept] = []
        self._is_closed = False

    def learn(self, queues: Iterable[AssignedQueue]) -> list[list[ReceivedMessage]]:
        """Takes the names of queues; returns what was kept of them, part by part."""
        for queue in queues:
            self._names[queue.queue] = QueueName(queue.topic, queue.queue_id)
        kept, self._kept = self._kept, []
        return [self._open(*one) for one in kept]

    def open(
        self, answer: ReceiveReply, frames: list[bytes], receipt: Receipt
    ) -> list[ReceivedMessage]:
        """The messages of an answer, as far as their queues are known."""
        for fault in answer.faults:
            _log.error(
                "messages at offsets %d to %d of %s cannot be handed out, and are passed over: %s",
                fault.offset, fault.next_offset, self._shown(fault.queue), fault.message,
            )  # fmt: skip
        messages: list[ReceivedMessage] = []
        if len(frames) != len(answer.parts):
            _log.error("an answer of %d parts has %d frames", len(answer.parts), len(frames))
        for told, frame in zip(answer.parts, frames, strict=False):
            messages += self._open(told, frame, receipt)
        return messages

    def close(self) -> list[ReceivedMessage]:
        """Nobody wants messages any more: those of queues without a name come at once, to be
        given back, those that were kept now."""
        self._is_closed = True
        return [message for messages in self.learn(()) for message in messages]

    def forget(self) -> None:
        """The group is another one."""
        self._names.clear()
        self._kept.clear()

    def _open(self, told: ReceivedPart, frame: bytes, receipt: Receipt) -> list[ReceivedMessage]:
        name = self._names.get(told.queue)
        if name is None and self._is_closed:
            name = QueueName("", told.queue)
        if name is None:
            self._kept.append(_Kept(told, frame, receipt))
            return []
        try:
            return opened(told, frame, receipt, name)
        except BatchError as error:
            _log.error(
                "%d messages from offset %d on of %s cannot be read, and come again: %s",
                told.count, told.offset, self._shown(told.queue), error,
            )  # fmt: skip
            return []

    def _shown(self, queue: int) -> str:
        name = self._names.get(queue)
        return f"queue number {queue}" if name is None else f"queue {name[1]} of {name[0]!r}"
