"""Members of many consumer groups, multiplexed over a few connections on the bare protocol.

Owns what such a member does: join, wait for events, give back, commit. Must not know what is
measured with it (`group_scale.py`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codec import decode_header, encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import SHARD_ANY, pack_request, unpack_route
from shardmq.actors.protocol.messages import Hello, Ping
from shardmq.actors.protocol.verbs import Verb, row_of

__all__ = ["Group", "Worker"]

MEMBERS_A_SESSION = 400
"""Of 1,024 requests that a session may have in flight."""
JOINS_IN_FLIGHT = 200
ANSWER_MS = 20_000
PING_EVERY_S = 10.0


class Session:
    """One connection, with the members on it."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], url: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.connect(url)
        self._open: dict[int, tuple[Verb, Callable[[int, Any], None]]] = {}
        self._last_id = 0
        self.refused: dict[str, int] = {}
        self.ask(Verb.HELLO, Hello(client="group_scale"), lambda code, reply: None)

    def ask(
        self,
        verb: Verb,
        header: msgspec.Struct,
        done: Callable[[int, Any], None],
        *,
        shard: int = SHARD_ANY,
        wait_ms: int = 0,
    ) -> None:
        """`done(code, reply)` hears of the answer."""
        self._last_id += 1
        route = pack_request(verb, self._last_id, wait_ms + ANSWER_MS, shard=shard)
        self._open[self._last_id] = verb, done
        self.socket.send_multipart([route, encode_header(header)])

    def read(self) -> None:
        """Hands all answers that are there to who asked."""
        while True:
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            route = unpack_route(frames[0])
            verb, done = self._open.pop(route.request_id)
            row = row_of(verb)
            assert row is not None
            reply = decode_header(frames[1], row.reply) if route.tail == Code.OK else None
            if reply is None:
                name = f"{verb.name} {Code(route.tail).name}"
                self.refused[name] = self.refused.get(name, 0) + 1
            done(route.tail, reply)


class Group:
    """One group: its members and what they hold."""

    def __init__(self, name: str, topic: str, queues: int) -> None:
        self.name = name
        self.topic = topic
        self.queues = queues
        self.held: dict[str, dict[int, g.AssignedQueue]] = {}
        self.waiting: tuple[float, int] | None = None
        """Since when a change is under way, and how many members there will be."""

    def settled_at(self, now_s: float) -> float | None:
        """Seconds of the change that has just ended, if one has."""
        if self.waiting is None:
            return None
        began_s, members = self.waiting
        held = [one for queues in self.held.values() for one in queues.values()]
        whole = len({one.queue for one in held}) == self.queues == len(held)
        fair = len(self.held) == members and all(self.held.values())
        if not (whole and fair and not any(one.revoked for one in held)):
            return None
        self.waiting = None
        return now_s - began_s


class Member:
    """One member of a group, as a real client behaves: join, wait for events, give back, commit."""

    def __init__(self, world: Worker, session: Session, group: Group, name: str) -> None:
        self.world = world
        self.session = session
        self.group = group
        self.name = name
        self.group_id = 0
        self.version = 0
        self.wait_ms = 0
        self.alive = False

    def join(self) -> None:
        self.alive = True
        header = g.GroupJoin(
            group=self.group.name,
            member=self.name,
            subscriptions=[g.Subscription(topic=self.group.topic)],
            start=g.Start(at="earliest"),
        )
        self.session.ask(Verb.GROUP_JOIN, header, self._joined)

    def leave(self) -> None:
        self.alive = False
        self.group.held.pop(self.name, None)
        header = g.GroupLeave(group_id=self.group_id, member=self.name)
        self.session.ask(Verb.GROUP_LEAVE, header, lambda code, reply: None)

    def commit(self, floor: int) -> None:
        """Acks all below `floor` in what it holds, shard by shard."""
        by_shard: dict[int, list[g.AckQueue]] = {}
        for one in self.group.held.get(self.name, {}).values():
            row = g.AckQueue(queue=one.queue, generation=one.generation, floor=floor)
            by_shard.setdefault(one.shard, []).append(row)
        for shard, rows in by_shard.items():
            began_s = time.monotonic()

            def acked(code: int, _reply: Any, began_s: float = began_s) -> None:
                if code == Code.OK:
                    self.world.commit_ms.append((time.monotonic() - began_s) * 1e3)

            header = g.Ack(group_id=self.group_id, queues=rows)
            self.session.ask(Verb.ACK, header, acked, shard=shard)

    def _joined(self, code: int, reply: g.GroupJoinReply | None) -> None:
        self.world.joining -= 1
        if reply is None:
            self.world.later(0.2, self._again)
            return
        self.group_id = reply.group_id
        self.wait_ms = reply.lease_ms // 3
        self.version = 0
        self.group.held[self.name] = {}
        self._wait([])

    def _again(self) -> None:
        self.world.joining += 1
        self.join()

    def _wait(self, released: list[g.HeldQueue]) -> None:
        header = g.Events(
            group_id=self.group_id,
            member=self.name,
            version=self.version,
            released=released,
            wait_ms=self.wait_ms,
        )
        self.session.ask(Verb.EVENTS, header, self._told, wait_ms=self.wait_ms)

    def _told(self, code: int, reply: g.EventsReply | None) -> None:
        if not self.alive:
            return
        if reply is None:
            self.world.later(0.2, self._again)
            return
        self.version = reply.version
        self.group.held[self.name] = {one.queue: one for one in reply.queues}
        self._wait(
            [
                g.HeldQueue(queue=one.queue, generation=one.generation)
                for one in reply.queues
                if one.revoked
            ]
        )


class Worker:
    """One process with many members."""

    def __init__(self, url: str, groups: list[Group], members: int) -> None:
        self._poller = zmq.Poller()
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.groups = groups
        self.commit_ms: list[float] = []
        self.change_ms: list[float] = []
        self.joining = 0
        self.floor = 0
        self._later: list[tuple[float, Callable[[], None]]] = []
        self.members: list[Member] = []
        self.sessions: list[Session] = []
        for index in range(len(groups) * members):
            if index % MEMBERS_A_SESSION == 0:
                self.sessions.append(Session(context, url))
                self._poller.register(self.sessions[-1].socket, zmq.POLLIN)
            group = groups[index % len(groups)]
            name = f"member-{index // len(groups)}"
            self.members.append(Member(self, self.sessions[-1], group, name))

    def later(self, wait_s: float, what: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + wait_s, what))

    def turn(self, wait_ms: int) -> None:
        self._poller.poll(wait_ms)
        for session in self.sessions:
            session.read()
        now_s = time.monotonic()
        due = [what for at_s, what in self._later if at_s <= now_s]
        self._later = [one for one in self._later if one[0] > now_s]
        for what in due:
            what()

    def join_all(self) -> None:
        """Until every member is in and every queue is held."""
        for member in self.members:
            while self.joining >= JOINS_IN_FLIGHT:
                self.turn(10)
            self.joining += 1
            member.join()
        for group in self.groups:
            group.waiting = time.monotonic(), len(self.members) // len(self.groups)
        while any(group.waiting for group in self.groups):
            self.turn(50)
            for group in self.groups:
                group.settled_at(time.monotonic())

    def run(self, seconds: float, commit_every_s: float, changes_per_s: float) -> dict[str, Any]:
        """Commits all the time, and changes groups; the figures of this time."""
        self.commit_ms, self.change_ms = [], []
        rng = random.Random(1)
        began_s = commit_at_s = change_at_s = ping_at_s = time.monotonic()
        cursor = 0
        while (now_s := time.monotonic()) < began_s + seconds:
            due = int((now_s - commit_at_s) / commit_every_s * len(self.members)) - cursor
            for _ in range(max(0, due)):
                if cursor % len(self.members) == 0:
                    self.floor += 1
                self.members[cursor % len(self.members)].commit(self.floor)
                cursor += 1
            if changes_per_s and now_s >= change_at_s:
                change_at_s = now_s + 1 / changes_per_s
                self._change(rng.choice(self.groups), now_s)
            if now_s >= ping_at_s:
                ping_at_s = now_s + PING_EVERY_S
                for session in self.sessions:
                    session.ask(Verb.PING, Ping(), lambda code, reply: None)
            self.turn(2)
            for group in self.groups:
                seconds_taken = group.settled_at(time.monotonic())
                if seconds_taken is not None:
                    self.change_ms.append(seconds_taken * 1e3)
        refused: dict[str, int] = {}
        for session in self.sessions:
            for name, count in session.refused.items():
                refused[name] = refused.get(name, 0) + count
        return {"commit_ms": self.commit_ms, "change_ms": self.change_ms, "refused": refused}

    def _change(self, group: Group, now_s: float) -> None:
        """A member leaves, or one that left comes back."""
        if group.waiting is not None:
            return
        mine = [one for one in self.members if one.group is group]
        away = [one for one in mine if not one.alive]
        group.waiting = now_s, len(mine) if away else len(mine) - 1
        if away:
            self.joining += 1
            away[0].join()
        else:
            mine[-1].leave()
