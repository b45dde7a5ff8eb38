"""Positions: where reading starts, as users say it, to offsets. Flows, pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.messages import OffsetsResult, QueueRoute

from ..errors import InvalidArgument, remote_error
from ..link.asking import Flow
from ..times import epoch_ms_of
from ..topics import checked_name, offsets_of, route_of
from .cursor import Cursor

__all__ = ["StartFrom", "assigned", "checked_start", "positions_of"]

StartFrom = str | datetime | int | float
"""earliest, latest, or a time: a datetime or seconds since the epoch."""


def checked_start(start_from: StartFrom, name: str = "start_from") -> StartFrom:
    """Raises InvalidArgument if it is none of the forms."""
    if isinstance(start_from, str):
        if start_from not in ("earliest", "latest"):
            raise InvalidArgument(f"{name} is 'earliest', 'latest' or a time, not {start_from!r}")
    else:
        epoch_ms_of(start_from, name)
    return start_from


def assigned(
    topic: str, queue_ids: Sequence[int] | None, start_from: StartFrom
) -> Flow[list[Cursor]]:
    """Cursors of the queues named (None: all that can be read), each at its start.

    Raises:
        TopicNotFound, InvalidArgument: no such topic or queue.
    """
    route = yield from route_of(checked_name(topic))
    readable = {queue.queue_id: queue for queue in route.queues if queue.readable}
    if queue_ids is not None and not _are_numbers(queue_ids):
        raise InvalidArgument(f"queue_ids is a list of numbers, not {queue_ids!r}")
    wanted = sorted(readable) if queue_ids is None else list(dict.fromkeys(queue_ids))
    for queue_id in wanted:
        if queue_id not in readable:
            raise InvalidArgument(f"topic {topic!r} has no queue {queue_id!r} that can be read")
    queues = [readable[queue_id] for queue_id in wanted]
    offsets = yield from positions_of(queues, start_from)
    return [Cursor(topic, queue, offset) for queue, offset in zip(queues, offsets, strict=True)]


def positions_of(queues: Sequence[QueueRoute], start_from: StartFrom) -> Flow[list[int]]:
    """The offset of `start_from` in each queue; a time behind the last message is its end."""
    time_ms = None if isinstance(start_from, str) else epoch_ms_of(start_from, "the time")
    results = yield from offsets_of(queues, time_ms)
    return [_offset(results.get(queue.number), queue, start_from) for queue in queues]


def _are_numbers(values: object) -> bool:
    return isinstance(values, Collection) and all(isinstance(one, int) for one in values)


def _offset(result: OffsetsResult | None, queue: QueueRoute, start_from: StartFrom) -> int:
    if result is None or result.code != Code.OK:
        code = Code.INTERNAL if result is None else result.code
        raise remote_error(code, f"shard {queue.shard} does not tell offsets of {queue.number}")
    if start_from == "earliest":
        return result.earliest
    if start_from == "latest" or result.at_time is None:
        return result.latest
    return result.at_time
