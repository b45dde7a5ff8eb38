"""The groups of a fake broker: membership, grants and cursors, as far as a client can see them.

A test decides who holds what with `give` and `revoke`; a member that waits on EVENTS hears of it at
once. Shards fence by generation, as real ones do.
"""

from __future__ import annotations

from typing import Any

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import Route


class FakeCursor:
    """Where the group is in one queue."""

    def __init__(self) -> None:
        self.floor = 0
        self.ranges: list[g.Range] = []
        self.generation = 0
        self.member = ""


class FakeGroups:
    """One group, of the members that come."""

    def __init__(self) -> None:
        self.group_id = 7
        self.lease_ms = 9_000
        self.members: dict[str, g.GroupJoin] = {}
        self.version = 1
        self.held: dict[str, dict[int, g.AssignedQueue]] = {}
        self.cursors: dict[int, FakeCursor] = {}
        self.parked: dict[str, tuple[Route, g.Events]] = {}
        self.released: list[int] = []
        self.left: list[str] = []
        self.acked: list[g.AckQueue] = []
        self.nacked: list[tuple[int, g.NackMessage]] = []

    # ---------------------------------------------------------------------- what tests decide

    def give(self, member: str, topic: str, queue_id: int, number: int, shard: int) -> None:
        """A grant with the next generation; shown with the next answer."""
        cursor = self.cursors.setdefault(number, FakeCursor())
        cursor.generation += 1
        cursor.member = member
        for held in self.held.values():
            held.pop(number, None)
        self.held.setdefault(member, {})[number] = g.AssignedQueue(
            topic=topic, queue_id=queue_id, queue=number, shard=shard,
            generation=cursor.generation,
        )  # fmt: skip
        self.version += 1

    def revoke(self, member: str, number: int) -> None:
        self.held[member][number].revoked = True
        self.version += 1

    def forget(self, member: str) -> None:
        """The lease ran out."""
        self.members.pop(member, None)
        self.held.pop(member, None)
        self.version += 1

    def allows(self, number: int, generation: int) -> bool:
        cursor = self.cursors.get(number)
        return cursor is not None and cursor.generation == generation

    # -------------------------------------------------------------------------------- answers

    def join(self, asked: g.GroupJoin) -> g.GroupJoinReply | tuple[Code, str]:
        for name, other in self.members.items():
            if name != asked.member and other.subscriptions != asked.subscriptions:
                return Code.SUBSCRIPTION_CONFLICT, f"member {name!r} subscribed to something else"
        self.members[asked.member] = asked
        return g.GroupJoinReply(group_id=self.group_id, lease_ms=self.lease_ms)

    def events(self, route: Route, asked: g.Events) -> g.EventsReply | Code | None:
        """None: parked."""
        if asked.member not in self.members:
            return Code.UNKNOWN_MEMBER
        held = self.held.setdefault(asked.member, {})
        for row in asked.released:
            queue = held.get(row.queue)
            if queue is not None and queue.generation == row.generation and queue.revoked:
                del held[row.queue]
                self.released.append(row.queue)
                self.version += 1
        if asked.version != self.version:
            return g.EventsReply(version=self.version, queues=list(held.values()))
        self.parked[asked.member] = route, asked
        return None

    def woken(self) -> list[tuple[Route, Any]]:
        """Parked requests that have an answer now."""
        found: list[tuple[Route, Any]] = []
        for member, (route, asked) in list(self.parked.items()):
            if asked.version != self.version or member not in self.members:
                del self.parked[member]
                found.append((route, self.events(route, asked)))
        return found

    def leave(self, asked: g.GroupLeave) -> g.GroupLeaveReply:
        self.forget(asked.member)
        self.left.append(asked.member)
        return g.GroupLeaveReply()

    def ack(self, asked: g.Ack) -> g.AckReply:
        results = []
        for row in asked.queues:
            if not self.allows(row.queue, row.generation):
                results.append(g.AckResult(queue=row.queue, code=Code.FENCED))
                continue
            self.acked.append(row)
            cursor = self.cursors[row.queue]
            cursor.floor = max(cursor.floor, row.floor)
            cursor.ranges = [one for one in row.ranges if one[1] > cursor.floor]
            results.append(g.AckResult(queue=row.queue, floor=cursor.floor))
        return g.AckReply(queues=results)

    def where(self, asked: g.Cursors) -> g.CursorsReply:
        results = []
        for number in asked.queues:
            cursor = self.cursors.get(number)
            if cursor is None:
                results.append(g.CursorResult(queue=number, code=Code.STALE_ROUTE))
                continue
            results.append(
                g.CursorResult(
                    queue=number, floor=cursor.floor, ranges=cursor.ranges,
                    generation=cursor.generation, member=cursor.member,
                )
            )  # fmt: skip
        return g.CursorsReply(queues=results)

    def nack(self, asked: g.Nack) -> g.NackReply:
        results = []
        for row in asked.queues:
            if not self.allows(row.queue, row.generation):
                results.append(g.NackResult(queue=row.queue, code=Code.FENCED))
                continue
            self.nacked += [(row.queue, message) for message in row.messages]
            results.append(g.NackResult(queue=row.queue))
        return g.NackReply(queues=results)
