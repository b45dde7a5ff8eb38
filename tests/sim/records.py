"""Records: a fetched record opened into its messages, as a reader on the wire would.

Owns that reading, for the oracle's look into the logs and for members of groups. Must not know who
asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from shardmq.actors.protocol.batch import BatchView, message_id
from shardmq.actors.protocol.retries import ATTEMPT
from shardmq.client.records import FetchedRecord

from .history import Stored

T = TypeVar("T")


def messages_of(record: FetchedRecord) -> list[Stored]:
    """All messages of a record."""
    view, head = BatchView(record.batch, record.head), record.head
    count = head.count
    keys = _column(view.ordering_keys(), count)
    tags = _column(view.tags(), count)
    properties = _column(view.properties(), count)
    ids = view.message_ids()
    deltas = view.offset_deltas()
    first = head.first_sequence
    if ids is None:
        ids = [message_id(head.producer_id, first + row) for row in range(count)]
    return [
        Stored(
            record.base_offset + (row if deltas is None else deltas[row]),
            body,
            ids[row],
            head.producer_id,
            first + row,
            keys[row],
            tags[row],
            record.stored_at_ms,
            properties[row],
        )
        for row, body in enumerate(view.bodies())
    ]


def _column(values: Sequence[T] | None, count: int) -> Sequence[T | None]:
    return values if values is not None else [None] * count


def attempt_of(message: Stored) -> int:
    """Which delivery of a message this is, from 1; copies for a retry say it."""
    return int((message.properties or {}).get(ATTEMPT, "1"))
