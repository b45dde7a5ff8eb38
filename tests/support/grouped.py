"""A shard under test that groups read from: plays coordinator and members, too.

Owns the requests about grants and cursors. What a shard is under test stands in `shards.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import (
    Ack,
    AckQueue,
    AckResult,
    CursorResult,
    Cursors,
    Grant,
    GrantQueue,
    GrantResult,
    Start,
)
from shardmq.actors.protocol.messages import Fetch, FetchQueue, FetchResult
from shardmq.actors.protocol.verbs import Verb

from .shards import ShardUnderTest

GROUP = 7
EARLIEST = Start(at="earliest")


class GroupedShard(ShardUnderTest):
    """See the module. Unless told otherwise, the group is GROUP, the generation 1."""

    def grant(
        self,
        queue: int,
        generation: int = 1,
        *,
        group_id: int = GROUP,
        member: str = "ann",
        start: Start = EARLIEST,
        dry_run: bool = False,
        **how: Any,
    ) -> GrantResult:
        """The result of granting one queue."""
        one = GrantQueue(queue=queue, generation=generation, member=member, start=start, **how)
        header = Grant(group_id=group_id, group="billing", queues=[one], dry_run=dry_run)
        reply = self.ask(Verb.GRANT, header)
        assert reply.code == Code.OK, reply
        result = reply.header.queues[0]
        assert isinstance(result, GrantResult)
        return result

    def ack(
        self,
        queue: int,
        floor: int = 0,
        ranges: Sequence[tuple[int, int]] = (),
        *,
        generation: int = 1,
        group_id: int = GROUP,
    ) -> AckResult:
        """The result of acking in one queue."""
        one = AckQueue(queue=queue, generation=generation, floor=floor, ranges=list(ranges))
        reply = self.ask(Verb.ACK, Ack(group_id=group_id, queues=[one]))
        assert reply.code == Code.OK, reply
        result = reply.header.queues[0]
        assert isinstance(result, AckResult)
        return result

    def cursor(self, queue: int, *, group_id: int = GROUP) -> CursorResult:
        """Where the group is in one queue."""
        reply = self.ask(Verb.CURSORS, Cursors(group_id=group_id, queues=[queue]))
        assert reply.code == Code.OK, reply
        result = reply.header.queues[0]
        assert isinstance(result, CursorResult)
        return result

    def group_fetch_letter(
        self,
        *queues: tuple[int, int],
        generation: int = 1,
        group_id: int = GROUP,
        wait_ms: int = 0,
        bytes_max: int = 1 << 20,
        **how: Any,
    ) -> Letter:
        """A FETCH of (queue, offset) for a group."""
        wanted = [
            FetchQueue(queue=queue, offset=offset, generation=generation)
            for queue, offset in queues
        ]
        header = Fetch(queues=wanted, group_id=group_id, bytes_max=bytes_max, wait_ms=wait_ms)
        return self.letter(Verb.FETCH, header, **how)

    def group_fetch(self, queue: int, offset: int, **how: Any) -> tuple[FetchResult, list[bytes]]:
        """Result and payload for one queue, without waiting."""
        (reply,) = self.turn([self.group_fetch_letter((queue, offset), **how)])
        (result,) = reply.header.queues
        assert isinstance(result, FetchResult)
        return result, reply.payload
