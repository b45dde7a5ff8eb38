"""Pieces: the messages of one `send_batch` call cut into parcels, lazily. Pure.

A piece holds consecutive messages of one topic, checked by column, of about the size that a parcel
should have. How many messages that is, is learnt from the piece before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple

from shardmq.actors.protocol.columns import Columns

from ..message import MESSAGE_BYTES, check_message, size_of
from .columns import check_columns, columns_of

__all__ = ["Piece", "pieces"]

_FIRST = 1_024
_MOST = 32_768


class Piece(NamedTuple):
    """Checked messages of one topic."""

    topic: str
    columns: Columns
    size: int
    """In bytes, as the buffer counts them."""


def pieces(messages: Iterable[Any], parcel_bytes: Callable[[str], int]) -> Iterator[Piece]:
    """Cuts `messages`; `parcel_bytes(topic)` says how large a piece should become.

    Raises:
        InvalidArgument, MessageTooLarge, NotSupported: for the first bad message of a piece.
    """
    source = iter(messages)
    count = _FIRST
    while run := list(islice(source, count)):
        size = 0
        bytes_max = 1
        for topic, same in _by_topic(run):
            bytes_max = parcel_bytes(topic)
            for piece in _cut(topic, same, bytes_max):
                size += piece.size
                yield piece
        count = max(1, min(_MOST, len(run) * bytes_max // size))


def _by_topic(run: list[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    try:
        topics = [message.topic for message in run]
        first = topics[0]
        check_message(run[0])
        if topics.count(first) == len(run):
            yield first, run
            return
    except (AttributeError, TypeError):
        for message in run:
            check_message(message)
        raise
    for message in run:
        check_message(message)
    for topic, same in groupby(run, key=lambda message: message.topic):
        yield topic, list(same)


def _cut(topic: str, messages: Sequence[Any], bytes_max: int) -> Iterator[Piece]:
    try:
        columns = columns_of(messages)
        size = check_columns(messages, columns)
        if columns.keys or columns.properties or columns.ordering_keys or columns.tags:
            size = sum(map(size_of, messages))
        else:
            size += MESSAGE_BYTES * len(messages)
    except (AttributeError, TypeError):
        for message in messages:
            check_message(message)
        raise
    if 2 * size <= 3 * bytes_max or len(messages) == 1:
        yield Piece(topic, columns, size)
        return
    half = len(messages) // 2
    yield from _cut(topic, messages[:half], bytes_max)
    yield from _cut(topic, messages[half:], bytes_max)
