"""What administration tells about consumer groups, and the flows that find it out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.names import why_invalid_group
from shardmq.actors.protocol.verbs import Verb

from .consume.positions import StartFrom
from .errors import InvalidArgument, RemoteError, remote_error
from .group.options import start_of
from .link.asking import Flow, Request
from .times import datetime_of
from .topics import checked_name, per_shard

__all__ = [
    "GroupDescription", "GroupMember", "GroupQueue", "ResetQueue", "cursors_of", "delete_group",
    "ResetTo", "checked_group_name", "describe_group", "list_groups", "reset_offsets",
]  # fmt: skip

ResetTo = StartFrom | Mapping[int, int]
"""earliest, latest, a time, or an offset for each of some queues."""


class GroupMember(msgspec.Struct, frozen=True, kw_only=True):
    """One member of a group."""

    name: str
    queues: int
    """How many it holds; in a work group all."""
    silent: float
    """Seconds since it was last heard of."""
    lease: float
    """Seconds of silence after which it loses its queues."""


class GroupQueue(msgspec.Struct, frozen=True, kw_only=True):
    """One queue that a group reads; in a broadcasting group, that a member reads."""

    topic: str
    queue_id: int
    shard: int
    owner: str | None
    """The member that holds it; `*` in a work group: all members do. Of a broadcasting group, the
    member whose row this is, here or away."""
    committed: int | None
    """First offset that is not done; None: the group has never been here."""
    latest: int
    """Offset behind the last message."""
    lag: int
    """Messages that the subscription selects and that are not done."""
    in_flight: int
    """Those of them that a receiver of a work group has in hand, and nobody else gets."""
    oldest_at: datetime | None
    """When the oldest of them was stored; None if nothing is left to do."""
    lag_seconds: float | None = 0.0
    """How long ago that was, as the broker counts; 0 if nothing is left to do. None: the group has
    never been here, and nobody has looked what it would read first."""


class GroupDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A group: its members, and where it is in its queues."""

    name: str
    model: str
    strategy: str
    subscriptions: dict[str, str]
    """Topic -> expression."""
    members: list[GroupMember]
    queues: list[GroupQueue]
    away: list[str] = []
    """Members of a broadcasting group that are not here and have cursors; they have rows, too."""

    @property
    def lag(self) -> int:
        """Messages that are not done, over all queues."""
        return sum(queue.lag for queue in self.queues)

    @property
    def in_flight(self) -> int:
        """Messages that receivers of a work group have in hand, over all queues."""
        return sum(queue.in_flight for queue in self.queues)

    @property
    def oldest_at(self) -> datetime | None:
        """When the oldest message was stored that is not done."""
        return min(
            (one.oldest_at for one in self.queues if one.oldest_at is not None), default=None
        )

    @property
    def lag_seconds(self) -> float | None:
        """Age of the oldest message that is not done; 0 if all are. None: it is not known."""
        ages = [one.lag_seconds for one in self.queues if one.lag_seconds is not None]
        return max(ages, default=None if self.queues else 0.0)


class ResetQueue(msgspec.Struct, frozen=True, kw_only=True):
    """What a reset does to one queue; in a broadcasting group, to that of one member."""

    queue_id: int
    member: str | None = None
    """Of a broadcasting group; None in all others, whose members share their cursors."""
    before: int | None
    """None: the group has never been here."""
    after: int


def list_groups() -> Flow[list[str]]:
    """Names of all groups, sorted."""
    names: list[str] = []
    more = True
    while more:
        after = names[-1] if names else ""
        (reply,) = yield [Request(Verb.GROUP_LIST, g.GroupList(after=after))]
        names += [row.group for row in reply.groups]
        more = reply.more and bool(reply.groups)
    return names


def describe_group(name: str) -> Flow[GroupDescription]:
    """Raises GroupNotFound."""
    header = g.GroupDescribe(group=checked_group_name(name))
    (told,) = yield [Request(Verb.GROUP_DESCRIBE, header)]
    members = sorted(told.members, key=lambda one: one.member)
    if told.model == "broadcasting":
        queues = []
        for one in sorted([*members, *told.away], key=lambda one: one.member):
            queues += yield from _queues_of(one.group_id, told, one.member)
    else:
        queues = yield from _queues_of(told.group_id, told)
    return GroupDescription(
        name=told.group,
        model=told.model,
        strategy=told.strategy,
        subscriptions={one.topic: one.expression for one in told.subscriptions},
        members=[
            GroupMember(
                name=one.member,
                queues=one.queues,
                silent=one.silent_ms / 1000,
                lease=one.lease_ms / 1000,
            )
            for one in members
        ],
        queues=queues,
        away=[one.member for one in told.away],
    )


def delete_group(name: str) -> Flow[None]:
    """Raises GroupNotFound, GroupInUse."""
    yield [Request(Verb.GROUP_DELETE, g.GroupDelete(group=checked_group_name(name)))]


def reset_offsets(name: str, topic: str, to: ResetTo, dry_run: bool) -> Flow[list[ResetQueue]]:
    """Raises GroupNotFound, TopicNotFound, InvalidArgument."""
    header = g.GroupReset(
        group=checked_group_name(name), topic=checked_name(topic), dry_run=bool(dry_run)
    )
    if isinstance(to, Mapping):
        header.queues = [_reset_queue(queue_id, offset) for queue_id, offset in to.items()]
        if not header.queues:
            raise InvalidArgument("no queue is named: give an offset for at least one")
    else:
        header.to = start_of(to, "to")
    (reply,) = yield [Request(Verb.GROUP_RESET, header)]
    results = sorted(reply.queues, key=lambda result: result.queue_id)
    for result in results:
        if result.code != Code.OK:
            text = result.message or f"queue {result.queue_id} of {topic!r} was not reset"
            raise remote_error(result.code, text)
    return [
        ResetQueue(
            queue_id=result.queue_id,
            member=result.message or None,  # of a queue that was reset, that says whose it is
            before=result.before,
            after=result.after,
        )
        for result in results
    ]


def cursors_of(
    group_id: int, queues: Iterable[tuple[int, int]]
) -> Flow[Mapping[int, g.CursorResult]]:
    """Where a group is in queues (number, shard), by queue number. A result of code
    GROUP_NOT_FOUND: it has never been there.

    Raises:
        RemoteError: a shard does not know one of them.
    """
    requests = per_shard((shard, number) for number, shard in queues)
    replies = yield [
        Request(Verb.CURSORS, g.Cursors(group_id=group_id, queues=numbers), shard)
        for shard, numbers in requests
    ]
    found = {result.queue: result for reply in replies for result in reply.queues}
    for shard, numbers in requests:
        for number in numbers:
            result = found.get(number)
            if result is None:
                raise RemoteError(f"shard {shard} does not tell of queue {number}")
            if result.code not in (Code.OK, Code.GROUP_NOT_FOUND):
                text = result.message or f"shard {shard} does not know queue {number}"
                raise remote_error(result.code, text)
    return found


def checked_group_name(name: Any) -> str:
    """Raises InvalidArgument, with the rule."""
    reason = why_invalid_group(name)
    if reason is not None:
        raise InvalidArgument(reason, code=Code.INVALID_NAME)
    return str(name)


def _queues_of(
    group_id: int, told: g.GroupDescription, member: str | None = None
) -> Flow[list[GroupQueue]]:
    """Where a group, or a broadcasting member of it, is."""
    rows = sorted(told.queues, key=lambda row: (row.topic, row.queue_id))
    if not rows:
        return []
    cursors = yield from cursors_of(group_id, [(row.queue, row.shard) for row in rows])
    return [_queue(row, cursors[row.queue], member or row.owner, told.told_at_ms) for row in rows]


def _queue(row: g.QueueOwner, cursor: g.CursorResult, owner: str | None, now_ms: int) -> GroupQueue:
    is_new = cursor.code != Code.OK
    lag = cursor.latest - cursor.earliest if is_new else cursor.lag
    age_ms = max(0, now_ms - cursor.oldest_at_ms) if cursor.oldest_at_ms else None
    return GroupQueue(
        topic=row.topic,
        queue_id=row.queue_id,
        shard=row.shard,
        owner=owner,
        committed=None if is_new else cursor.floor,
        latest=cursor.latest,
        lag=lag,
        in_flight=cursor.in_flight,
        oldest_at=datetime_of(cursor.oldest_at_ms) if cursor.oldest_at_ms else None,
        lag_seconds=age_ms / 1000 if age_ms is not None else None if lag else 0.0,
    )


def _reset_queue(queue_id: Any, offset: Any) -> g.ResetQueue:
    for value in (queue_id, offset):
        if type(value) is not int or value < 0:
            text = f"offsets are given as {{queue_id: offset}}, unlike {queue_id!r}: {offset!r}"
            raise InvalidArgument(text)
    return g.ResetQueue(queue_id=queue_id, offset=offset)
