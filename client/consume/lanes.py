"""Lanes: which queues are asked for together. Pure.

A lane is one FETCH in flight at most, parked at a shard. It names all its queues that want more,
so it holds no more of them than a request may name; a shard with more queues has more lanes, all
parked side by side, and no queue waits for its turn.

The theory. A consumer may have 10,000 queues and take their messages one by one, so nothing that is
done for each message walks over all queues: a lane is looked at only while it is `open`, that is
after an answer came or something of it was touched, and then once for each FETCH that leaves.
"""

from __future__ import annotations

from collections.abc import Iterator

from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.limits import REQUEST_QUEUES_MAX
from shardmq.actors.protocol.messages import Fetch, FetchQueue

from ..link.calls import Call
from .cursor import Cursor

__all__ = ["Asked", "Lane", "Lanes", "fetch_header"]

Asked = dict[int, tuple[int, int]]
"""Queue number -> the offset asked for, and the generation of the grant that allows it."""


class Lane:
    """Queues of one shard that are asked for in one FETCH."""

    __slots__ = ("asked", "call", "cursors", "replaced", "shard")

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.cursors: dict[int, Cursor] = {}
        """By queue number."""
        self.call: Call | None = None
        """In flight."""
        self.asked: Asked = {}
        """What `call` asks for."""
        self.replaced = False
        """It asked for something else before: an answer may be to that."""

    def wanted(self) -> Asked:
        """What a FETCH would ask for now."""
        return {number: one.place for number, one in self.cursors.items() if one.wants_more}

    def has_all(self, wanted: Asked) -> bool:
        """True if what is in flight asks for all this."""
        asked = self.asked
        return all(asked.get(number) == place for number, place in wanted.items())


class Lanes:
    """All lanes of a consumer; every assigned queue is in one."""

    def __init__(self) -> None:
        self.open: dict[Lane, None] = {}
        """Those of which something may have to be asked."""
        self._of_shard: dict[int, list[Lane]] = {}
        self._of_queue: dict[int, Lane] = {}

    def __iter__(self) -> Iterator[Lane]:
        return (lane for lanes in self._of_shard.values() for lane in lanes)

    def cursor(self, number: int) -> Cursor | None:
        """Of an assigned queue."""
        lane = self._of_queue.get(number)
        return None if lane is None else lane.cursors[number]

    def add(self, cursor: Cursor) -> None:
        """Puts a queue on a lane of its shard that has room."""
        number, shard = cursor.queue.number, cursor.queue.shard
        self.remove(number)
        lanes = self._of_shard.setdefault(shard, [])
        for lane in lanes:
            if len(lane.cursors) < REQUEST_QUEUES_MAX:
                break
        else:
            lane = Lane(shard)
            lanes.append(lane)
        lane.cursors[number] = cursor
        self._of_queue[number] = lane
        self.open[lane] = None

    def remove(self, number: int) -> None:
        """Takes a queue off its lane, if it is on one."""
        lane = self._of_queue.pop(number, None)
        if lane is not None:
            del lane.cursors[number]

    def touch(self, cursor: Cursor) -> None:
        """The queue may want something else than it did."""
        lane = self._of_queue.get(cursor.queue.number)
        if lane is not None:
            self.open[lane] = None

    def clear(self) -> None:
        """Forgets all queues."""
        for lane in self:
            lane.cursors.clear()
        self.open.clear()
        self._of_shard.clear()
        self._of_queue.clear()


def fetch_header(asked: Asked, group_id: int, bytes_max: int, wait_ms: int) -> bytes:
    """The header of a FETCH; a `group_id` of 0 reads for nobody's group."""
    queues = [
        FetchQueue(queue=number, offset=offset, generation=generation)
        for number, (offset, generation) in asked.items()
    ]
    header = Fetch(group_id=group_id, queues=queues, bytes_max=bytes_max, wait_ms=wait_ms)
    return encode_header(header)
