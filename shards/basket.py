"""Basket: what one RECEIVE gets, while it is filled.

Owns how much fits, and the form in which messages leave: batches cut to measure, or plain messages
for JSON clients. Knows no queue's state; who puts something in has decided that it may be given.
"""

from __future__ import annotations

from typing import Final

import msgspec

from shardmq.actors.protocol.batch import BatchView, read_batch_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.limits import RECEIVE_MESSAGES_MAX, REPLY_BYTES_MAX
from shardmq.actors.protocol.messages import PlainMessage
from shardmq.actors.protocol.plain import plain_messages
from shardmq.actors.protocol.work_messages import (
    Receive,
    ReceivedPart,
    ReceiveFault,
    ReceiveReply,
)

from .cut import OpenedBatch
from .plain_fetch import MESSAGE_BYTES_MAX
from .serving import ServedQueue

__all__ = ["Basket", "Unfit"]

FAULTS_MAX: Final = 64
"""Of one RECEIVE: who meets a long damaged stretch hears of it piece by piece."""

_encode = msgspec.json.Encoder().encode


class Unfit(Exception):
    """A single message that cannot be given to this receiver at all."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = Code.TOO_LARGE


class Basket:
    """See the module. Made for a look (`count_max` 0), it takes one message, and `peek` is true."""

    __slots__ = (
        "_bytes_left",
        "_json",
        "bytes",
        "count",
        "count_left",
        "faults",
        "fifo",
        "frames",
        "full",
        "max_attempts",
        "parts",
        "peek",
        "receipt",
        "until_ms",
    )

    def __init__(self, header: Receive, wall_ms: int, *, json: bool = False) -> None:
        self.receipt = header.receipt
        self.fifo = header.fifo
        self.max_attempts = header.max_attempts
        self.until_ms = wall_ms + header.invisible_ms
        self.peek = not header.count_max
        self.count_left = min(header.count_max, RECEIVE_MESSAGES_MAX) or 1
        self._bytes_left = max(1, min(header.bytes_max, REPLY_BYTES_MAX))
        self._json = json
        self.count = 0
        self.bytes = 0
        self.full = False
        """Nothing more is to be put in."""
        self.parts: list[ReceivedPart] = []
        self.frames: list[bytes] = []
        self.faults: list[ReceiveFault] = []

    @property
    def has_something(self) -> bool:
        return bool(self.parts or self.faults)

    def reply(self) -> ReceiveReply:
        """The answer; `frames` belong to it."""
        if self.peek:
            return ReceiveReply()
        return ReceiveReply(
            until_ms=self.until_ms if self.parts else 0, parts=self.parts, faults=self.faults
        )

    def put(
        self, served: ServedQueue, generation: int, attempt: int, batch: OpenedBatch,
        first: int, behind: int,
    ) -> int:  # fmt: skip
        """Put in messages that lie side by side in `batch`, at the places `first` up to, but
        without, `behind`, as many as fit; returns how many that are.

        Raises:
            Unfit: the first one is larger than any reply.
            BatchError: it is larger than any batch.
        """
        assert first < behind, "there is something to put"
        behind = min(behind, first + self.count_left)
        part = ReceivedPart(
            queue=served.number,
            generation=generation,
            offset=batch.offset(first),
            count=0,
            attempt=attempt,
            stored_at_ms=batch.stored_at_ms,
        )
        if self.peek:
            part.count, size = 1, 0
        elif self._json:
            size = self._put_plain(part, served.queue_id, batch, first, behind)
        else:
            size = self._put_frame(part, batch, first, behind)
        if not part.count:
            self.full = True
            return 0
        self.parts.append(part)
        self.count += part.count
        self.count_left -= part.count
        self.bytes += size
        self._bytes_left -= size
        if not self.count_left or self._bytes_left <= 0 or part.count < behind - first:
            self.full = True
        return part.count

    def _put_frame(self, part: ReceivedPart, batch: OpenedBatch, first: int, behind: int) -> int:
        bytes_left = self._bytes_left
        if behind - first < batch.count or batch.bytes > bytes_left:
            behind = batch.fitting(first, behind, bytes_left)
        frame = batch.cut(first, behind)
        while len(frame) > bytes_left:
            count = behind - first
            if count == 1:
                if self.parts:
                    return 0
                break
            behind = first + max(1, min(count - 1, count * bytes_left // len(frame)))
            frame = batch.cut(first, behind)
        part.count = behind - first
        self.frames.append(frame)
        return len(frame)

    def _put_plain(
        self, part: ReceivedPart, queue_id: int, batch: OpenedBatch, first: int, behind: int
    ) -> int:
        behind = batch.fitting(first, behind, self._bytes_left)
        frame = batch.cut(first, behind)
        view = BatchView(frame, read_batch_header(frame))
        size = 0
        messages: list[PlainMessage] = []
        for message in plain_messages(view, part.offset, part.stored_at_ms):
            message.queue_id = queue_id
            json_bytes = len(_encode(message))
            if json_bytes > MESSAGE_BYTES_MAX:
                if messages:
                    break
                text = f"the message at offset {part.offset} is too large for JSON"
                raise Unfit(text)
            if (messages or self.parts) and size + json_bytes > self._bytes_left:
                break
            messages.append(message)
            size += json_bytes
        part.messages = messages
        part.count = len(messages)
        return size

    def fault(self, queue: int, code: Code, offset: int, next_offset: int, message: str) -> None:
        """Messages that nobody can have."""
        self.faults.append(
            ReceiveFault(
                queue=queue, code=code, offset=offset, next_offset=next_offset, message=message
            )
        )
        if self.peek or len(self.faults) >= FAULTS_MAX:
            self.full = True
