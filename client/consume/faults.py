"""What a consumer is told when messages cannot be read. Pure."""

from __future__ import annotations

from shardmq.actors.protocol.messages import FetchResult

from ..errors import DamagedRecord, OffsetOutOfRange
from .cursor import Cursor

__all__ = ["damaged", "out_of_range"]


def out_of_range(cursor: Cursor, result: FetchResult) -> OffsetOutOfRange:
    """The queue does not have the offset that a cursor wants."""
    text = (
        f"offset {cursor.fetch_offset} of {cursor.topic!r} queue {cursor.queue.queue_id} is"
        f" not there: it has {result.earliest} to {result.latest}"
    )
    error = OffsetOutOfRange(text)
    error.topic, error.queue_id = cursor.topic, cursor.queue.queue_id
    error.offset = cursor.fetch_offset
    error.earliest, error.latest = result.earliest, result.latest
    return error


def damaged(cursor: Cursor, offset: int, next_offset: int, text: str) -> DamagedRecord:
    """What lies from `offset` up to `next_offset` cannot be read."""
    where = f"{cursor.topic!r} queue {cursor.queue.queue_id}"
    hint = f"reading goes on at offset {next_offset}"
    error = DamagedRecord(f"{where}, offset {offset}: {text}", hint=hint)
    error.topic, error.queue_id = cursor.topic, cursor.queue.queue_id
    error.offset, error.next_offset = offset, next_offset
    return error
