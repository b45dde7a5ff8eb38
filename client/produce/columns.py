"""Messages to columns: what a batch is encoded from, and back again for a batch that must move.

Columns are made by one list comprehension each and dropped where `count` says that all rows are
the default: 12 ns a column and message, where a loop over messages would cost 300.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shardmq.actors.protocol.batch import BatchView, read_batch_header
from shardmq.actors.protocol.checks import body_fault
from shardmq.actors.protocol.columns import Columns
from shardmq.actors.protocol.limits import BODY_BYTES_MAX

from ..errors import NotSupported
from ..message import check_message, check_metadata, raise_fault

__all__ = ["check_columns", "columns_of", "every_nth", "picked", "recovered"]


def columns_of(messages: Sequence[Any]) -> Columns:
    """Columns of checked messages."""
    count = len(messages)
    tags = [message.tag for message in messages]
    keys = [message.keys for message in messages]
    ordering_keys = [message.ordering_key for message in messages]
    properties = [message.properties for message in messages]
    return Columns(
        bodies=[message.body for message in messages],
        tags=None if tags.count(None) == count else tags,
        keys=keys if any(keys) else None,
        ordering_keys=None if ordering_keys.count(None) == count else ordering_keys,
        properties=_plain(properties) if any(properties) else None,
    )


def _plain(properties: list[Any]) -> list[dict[str, str]]:
    return [one if type(one) is dict else dict(one) for one in properties]


def check_columns(messages: Sequence[Any], columns: Columns) -> int:
    """Checks unchecked messages by their columns; returns the bytes of all bodies.

    Raises:
        InvalidArgument, MessageTooLarge, NotSupported: as `check_message`, for the first bad one.
    """
    bodies = columns.bodies
    if set(map(type, bodies)) != {bytes}:
        raise_fault(next(filter(None, map(body_fault, bodies)), None))
    lengths = list(map(len, bodies))
    if min(lengths) < 1 or max(lengths) > BODY_BYTES_MAX:
        raise_fault(next(filter(None, map(body_fault, bodies)), None))
    if columns.keys or columns.properties or columns.ordering_keys:
        for message in messages:
            check_metadata(message)
    elif columns.tags:
        seen: set[Any] = set()
        for message, tag in zip(messages, columns.tags, strict=True):
            if tag not in seen:
                check_metadata(message)
                seen.add(tag)
    delays = [message.delay for message in messages]
    due_times = [message.deliver_at for message in messages]
    levels = [message.delay_level for message in messages]
    if delays.count(None) + due_times.count(None) + levels.count(None) < 3 * len(messages):
        raise NotSupported("delay, deliver_at, delay_level: they come with a later release")
    return sum(lengths)


def check_first(messages: Sequence[Any]) -> None:
    """Checks the topic of a run of messages that share it.

    Raises:
        InvalidArgument: as `check_message`.
    """
    check_message(messages[0])


def every_nth(columns: Columns, start: int, step: int) -> Columns:
    """Rows start, start + step, ...: one queue's share when messages are dealt in turn."""
    return Columns._make([None if one is None else one[start::step] for one in columns])


def picked(columns: Columns, rows: Sequence[int]) -> Columns:
    """The rows named, in that order."""
    if len(rows) == len(columns.bodies):
        return columns
    return Columns._make([None if one is None else [one[row] for row in rows] for one in columns])


def recovered(batch: bytes) -> Columns:
    """The columns of a batch that this process encoded."""
    view = BatchView(batch, read_batch_header(batch))
    return Columns(
        bodies=view.bodies(),
        tags=view.tags(),
        keys=view.keys(),
        ordering_keys=view.ordering_keys(),
        properties=view.properties(),
    )
