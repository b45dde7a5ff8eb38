"""Plain FETCH: stored batches as JSON messages, for clients without a batch codec.

Owns how much of them fits into one reply. Unlike a reply with batches, a page ends between any two
messages: what counts is the JSON that leaves, because a small batch may open to megabytes, and text
may grow sixfold by escapes.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from shardmq.actors.kernel.ports import Span
from shardmq.actors.protocol.batch import BatchError
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.limits import FRAME_BYTES_MAX, HEADER_BYTES_MAX
from shardmq.actors.protocol.messages import FetchResult, PlainMessage
from shardmq.actors.protocol.plain import plain_messages

from .filters import view_of

__all__ = ["PlainPage"]

MESSAGE_BYTES_MAX = FRAME_BYTES_MAX - HEADER_BYTES_MAX
"""JSON of one message. Every message within the limits fits; with it, a reply fits a frame."""

_encode = msgspec.json.Encoder().encode


class PlainPage:
    """The messages of one reply, bounded by the bytes of their JSON."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes = 0
        self._bytes_max = bytes_max

    def take(
        self,
        result: FetchResult,
        queue_id: int,
        offset: int,
        spans: Sequence[Span],
        records: dict[int, bytes],
        tags: frozenset[str] | None = None,
    ) -> bool:
        """Fill `result` with what fits of the batches at `spans`, from `offset` on; its
        `next_offset` is that behind them all. False if nothing fits any more. With `tags`, messages
        with another tag are left out."""
        for span in spans:
            try:
                messages = _messages(span, records[span.lsn], offset)
            except BatchError as error:
                text = f"the batch at offset {span.base_offset} is malformed: {error}"
                behind = span.base_offset + span.count
                return _refuse(result, Code.DAMAGED, text, span.base_offset, behind)
            for message in messages:
                if tags is not None and message.tag not in tags:
                    continue
                at = message.offset
                assert at is not None
                size = len(_encode(message))
                if self.bytes and self.bytes + size > self._bytes_max:
                    result.next_offset = at
                    return bool(result.messages)
                if size > MESSAGE_BYTES_MAX:
                    # Only a client that ignores the limits can have stored such a message.
                    text = f"the message at offset {at} is too large for JSON; fetch its batch"
                    return _refuse(result, Code.TOO_LARGE, text, at, at + 1)
                message.queue_id = queue_id
                result.messages.append(message)
                self.bytes += size
        return True


def _refuse(result: FetchResult, code: Code, message: str, offset: int, behind: int) -> bool:
    """Say what is wrong at `offset`, if it comes first, else end the page in front of it."""
    if result.messages:
        result.next_offset = offset
    else:
        result.code, result.message, result.next_offset = code, message, behind
    return True


def _messages(span: Span, record: bytes, from_offset: int) -> list[PlainMessage]:
    return plain_messages(
        view_of(record), span.base_offset, span.stored_at_ms, from_offset=from_offset
    )
