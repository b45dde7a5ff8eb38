"""What administration tells about topics, and the flows that find it out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import SHARD_COORDINATOR, SHARD_ROUTER
from shardmq.actors.protocol.limits import REQUEST_QUEUES_MAX
from shardmq.actors.protocol.names import why_invalid_topic
from shardmq.actors.protocol.verbs import Verb

from .errors import InvalidArgument, RemoteError, TopicNotFound, remote_error
from .link.asking import Flow, Request
from .times import Duration, datetime_of, ms_of

__all__ = [
    "QueueDescription", "TopicDescription", "create_topic", "delete_topic", "describe_topic",
    "list_topics", "offsets_of", "per_shard", "route_of", "stats_of", "update_topic",
]  # fmt: skip

T = TypeVar("T")


class QueueDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One queue of a topic."""

    queue_id: int
    shard: int
    earliest: int
    """First offset that is still there."""
    latest: int
    """Offset behind the last message that can be read."""
    readable: bool
    writable: bool


class TopicDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A topic and its queues, in order of their ids."""

    name: str
    queues: list[QueueDescription]
    retention: float | None
    """Seconds; None for the broker's default."""
    created_at: datetime
    version: int
    """Grows with every change."""

    @property
    def messages(self) -> int:
        """Offsets between earliest and latest, over all queues."""
        return sum(queue.latest - queue.earliest for queue in self.queues)


def create_topic(
    name: str, queues: int, retention: Duration | None, request_key: str
) -> Flow[TopicDescription]:
    """Raises TopicExists, InvalidName, InvalidArgument."""
    checked_name(name)
    header = m.TopicCreate(
        topic=name,
        queues=_count(queues, "queues"),
        retention_ms=_retention_ms(retention),
        request_key=request_key,
    )
    (reply,) = yield [Request(Verb.TOPIC_CREATE, header)]
    return (yield from _described(reply.route))


def update_topic(
    name: str,
    queues: int | None,
    write_queues: int | None,
    read_queues: int | None,
    retention: Duration | None,
) -> Flow[TopicDescription]:
    """Raises TopicNotFound, InvalidArgument."""
    checked_name(name)
    counts = {"queues": queues, "write_queues": write_queues, "read_queues": read_queues}
    given = {key: _count(value, key) for key, value in counts.items() if value is not None}
    if not given and retention is None:
        raise InvalidArgument("say what to change: queues, write_queues, read_queues or retention")
    header = m.TopicUpdate(
        topic=name, retention_ms=None if retention is None else _retention_ms(retention), **given
    )
    (reply,) = yield [Request(Verb.TOPIC_UPDATE, header)]
    return (yield from _described(reply.route))


def delete_topic(name: str) -> Flow[None]:
    """Raises TopicNotFound. The id is looked up first, so that a retry after a lost answer never
    deletes a topic that was created anew meanwhile."""
    route = yield from route_of(checked_name(name))
    header = m.TopicDelete(topic=name, topic_id=route.topic_id)
    yield [Request(Verb.TOPIC_DELETE, header)]


def list_topics(system: bool) -> Flow[list[str]]:
    names: list[str] = []
    more = True
    while more:
        after = names[-1] if names else ""
        (reply,) = yield [Request(Verb.TOPIC_LIST, m.TopicList(system=system, after=after))]
        names += [row.topic for row in reply.topics]
        more = reply.more and bool(reply.topics)
    return names


def describe_topic(name: str) -> Flow[TopicDescription]:
    """Raises TopicNotFound."""
    route = yield from route_of(checked_name(name))
    return (yield from _described(route))


def stats_of(actor: str) -> Flow[dict[str, Any]]:
    """Raises InvalidArgument."""
    shard: int | None = {"router": SHARD_ROUTER, "coordinator": SHARD_COORDINATOR}.get(actor)
    kind, _, number = actor.partition("-")
    if shard is None and kind == "shard" and number.isdecimal():
        shard = int(number)
    if shard is None:
        raise InvalidArgument(f"an actor is router, coordinator or shard-N, not {actor!r}")
    (reply,) = yield [Request(Verb.STATS, m.StatsRequest(), shard)]
    return {"actor": reply.actor, "pid": reply.pid, **reply.figures}


def route_of(name: str) -> Flow[m.TopicRoute]:
    """Raises TopicNotFound."""
    (reply,) = yield [Request(Verb.ROUTE, m.RouteRequest(topics=[name]))]
    for result in reply.topics:
        if result.topic == name and result.route is not None and result.code == Code.OK:
            return result.route  # type: ignore[no-any-return]
        if result.topic == name and result.code != Code.OK:
            raise remote_error(result.code, result.message or f"topic {name!r} does not exist")
    raise TopicNotFound(f"topic {name!r} does not exist")


def offsets_of(
    queues: Iterable[m.QueueRoute], time_ms: int | None = None
) -> Flow[Mapping[int, m.OffsetsResult]]:
    """Earliest, latest and (with a time) by-time offsets, by queue number."""
    rows = ((one.shard, m.OffsetsQueue(queue=one.number, time_ms=time_ms)) for one in queues)
    replies = yield [
        Request(Verb.OFFSETS, m.Offsets(queues=piece), shard) for shard, piece in per_shard(rows)
    ]
    return {result.queue: result for reply in replies for result in reply.queues}


def per_shard(rows: Iterable[tuple[int, T]]) -> list[tuple[int, list[T]]]:
    """Rows (shard, what is asked of it) as the requests that ask: one a shard, or several where
    there is more than one request may name."""
    requests: list[tuple[int, list[T]]] = []
    last: dict[int, list[T]] = {}
    for shard, row in rows:
        piece = last.get(shard)
        if piece is None or len(piece) == REQUEST_QUEUES_MAX:
            piece = last[shard] = []
            requests.append((shard, piece))
        piece.append(row)
    return requests


def checked_name(name: str) -> str:
    """Raises InvalidArgument, with the rule."""
    reason = why_invalid_topic(name)
    if reason is not None:
        raise InvalidArgument(reason, code=Code.INVALID_NAME)
    return name


def _described(route: m.TopicRoute) -> Flow[TopicDescription]:
    offsets = yield from offsets_of(route.queues)
    rows: Sequence[m.QueueRoute] = sorted(route.queues, key=lambda queue: queue.queue_id)
    for queue in rows:
        result = offsets.get(queue.number)
        if result is None or result.code != Code.OK:
            code = Code.INTERNAL if result is None else result.code
            text = f"shard {queue.shard} does not know queue {queue.queue_id} of {route.topic!r}"
            raise remote_error(code, text) if result else RemoteError(text)
    return TopicDescription(
        name=route.topic,
        queues=[
            QueueDescription(
                queue_id=queue.queue_id,
                shard=queue.shard,
                earliest=offsets[queue.number].earliest,
                latest=offsets[queue.number].latest,
                readable=queue.readable,
                writable=queue.writable,
            )
            for queue in rows
        ],
        retention=route.retention_ms / 1000 if route.retention_ms else None,
        created_at=datetime_of(route.created_at_ms),
        version=route.version,
    )


def _count(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidArgument(f"{name} is a number of 1 or more, not {value!r}")
    return value


def _retention_ms(retention: Duration | None) -> int:
    return 0 if retention is None else int(ms_of(retention, "retention"))
