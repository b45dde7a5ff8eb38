"""What administration tells about consumer groups, and the flows that find it out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.verbs import Verb

from .errors import RemoteError, remote_error
from .link.asking import Flow, Request

__all__ = ["cursors_of"]


def cursors_of(
    group_id: int, queues: Iterable[tuple[int, int]]
) -> Flow[Mapping[int, g.CursorResult]]:
    """Where a group is in queues (number, shard), by queue number; one request a shard.

    Raises:
        RemoteError: a shard does not know one of them.
    """
    by_shard: dict[int, list[int]] = {}
    for number, shard in queues:
        by_shard.setdefault(shard, []).append(number)
    replies = yield [
        Request(Verb.CURSORS, g.Cursors(group_id=group_id, queues=numbers), shard)
        for shard, numbers in by_shard.items()
    ]
    found = {result.queue: result for reply in replies for result in reply.queues}
    for shard, numbers in by_shard.items():
        for number in numbers:
            result = found.get(number)
            if result is None:
                raise RemoteError(f"shard {shard} does not tell of queue {number}")
            if result.code not in (Code.OK, Code.GROUP_NOT_FOUND):
                text = result.message or f"shard {shard} does not know queue {number}"
                raise remote_error(result.code, text)
    return found
