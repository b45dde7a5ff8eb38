"""Membership: how a process of a group comes, hears what it holds, and goes.

Owns a member's talk with the coordinator: JOIN, the parked EVENTS, what was released, LEAVE. What
it does with the queues that it holds is `members.py`'s. Written against the protocol alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codec import decode_header, encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import SHARD_COORDINATOR
from shardmq.actors.protocol.verbs import Verb, row_of
from shardmq.actors.protocol.work_messages import EVERYBODY
from shardmq.client.link.calls import Call, Reply

from .clients import Client
from .group_history import Accepted, Group, GroupHistory, Shown

AGAIN_MS = 100.0
CALL_MS = 2_500.0
DRAIN_MS = 300.0
"""How long a revoked queue's open messages are waited for; the rest comes to the next holder."""
RELEASE_MS = 1_500.0
"""After so long a revoked queue is released though the last ack is not answered."""


class Holding:
    """A queue that a member was shown."""

    def __init__(self, shown: g.AssignedQueue, since_ms: float) -> None:
        self.topic = shown.topic
        self.queue = shown.queue
        self.shard = shown.shard
        self.generation = shown.generation
        self.since_ms = since_ms
        self.state = "fresh"
        self.again_ms = 0.0
        self.position = 0
        self.done = self.acked = 0
        self.open: set[int] = set()
        self.failed: dict[int, Any] = {}
        """Offset -> failure that is not said yet (`failing.py`)."""
        self.revoked_ms: float | None = None

    @property
    def is_settled(self) -> bool:
        return not self.open and not self.failed and self.done == self.acked


class Membership:
    """One member of a group, in one process."""

    def __init__(self, client: Client, group: Group, name: str, groups: GroupHistory) -> None:
        self.client = client
        self.world = client.world
        self.core = client.core
        self.group = group
        self.name = name
        """In its group; the process may be another one than before. The first one under a name is
        called like it, and has it for itself while it lives."""
        self.groups = groups
        self.holdings: dict[int, Holding] = {}
        self.joined = self.leaving = False
        self.errors: dict[int, int] = {}
        self._version = 0
        self._released: dict[int, int] = {}
        self._events: Call | None = None
        self._join()

    @property
    def process(self) -> str:
        return self.client.name

    def ask(
        self, verb: int, header: Any, shard: int, done: Callable[[Any, Reply, float], None]
    ) -> Call:
        """`done(header, reply, asked_ms)`; the header is None where the answer is not OK."""
        asked_ms = self.world.mono_ms
        row = row_of(verb)
        assert row is not None

        def answered(reply: Reply, now: Any) -> None:
            if reply.code != Code.OK:
                self.errors[reply.code] = self.errors.get(reply.code, 0) + 1
                self.world.note(self.process, "refused", (Verb(verb).name, int(reply.code)))
            done(decode_header(reply.header, row.reply) if reply.code == Code.OK else None,
                 reply, asked_ms)  # fmt: skip

        wait_ms = getattr(header, "wait_ms", 0)
        call = Call(
            verb,
            encode_header(header),
            answered,
            deadline_ms=asked_ms + wait_ms + CALL_MS,
            shard=shard,
            attempt_ms=wait_ms + 700.0,
        )
        self.core.submit(call, self.world.now())
        self.client.turn_soon()
        return call

    def later(self, wait_ms: float, act: Callable[[], None]) -> None:
        """In a turn of this process: not while it is stopped."""
        self.core.timers.at(self.world.mono_ms + wait_ms, lambda now: act())
        self.client.turn_soon()

    # --- membership --------------------------------------------------------------------------

    def _join(self) -> None:
        group = self.group
        wanted = [
            g.Subscription(topic=topic, expression=text)
            for topic, text in group.subscriptions.items()
        ]
        header = g.GroupJoin(
            group=group.wire_name,
            member=self.name,
            subscriptions=wanted,
            strategy=group.strategy,  # type: ignore[arg-type]
            start=g.Start(at=group.start),  # type: ignore[arg-type]
            lease_ms=group.lease_ms,
            retries=group.retries or group.is_work,
            model=group.model,  # type: ignore[arg-type]
        )
        self.ask(Verb.GROUP_JOIN, header, SHARD_COORDINATOR, self._joined)

    def _joined(self, header: g.GroupJoinReply | None, reply: Reply, asked_ms: float) -> None:
        if self.leaving:
            return
        if header is None:
            self.later(AGAIN_MS, self._join)
            return
        self.group.group_id = header.group_id
        self.joined, self._version = True, 0
        self.world.note(self.process, "joined", (self.group.name, self.name))
        self._ask_events()

    def _ask_events(self) -> None:
        if self._events is not None:
            self.core.forget(self._events)
        self._events = self.ask(
            Verb.EVENTS, self._events_header(), SHARD_COORDINATOR, self._news
        )  # fmt: skip

    def _events_header(self) -> g.Events:
        return g.Events(
            group_id=self.group.group_id,
            member=self.name,
            version=self._version,
            released=[
                g.HeldQueue(queue=queue, generation=generation)
                for queue, generation in self._released.items()
            ],
            wait_ms=self.group.lease_ms // 3,
        )

    def _news(self, header: g.EventsReply | None, reply: Reply, asked_ms: float) -> None:
        self._events = None
        if self.leaving:
            return
        if header is not None:
            self._shown(header, asked_ms)
            self._ask_events()
        elif reply.code in (Code.UNKNOWN_MEMBER, Code.GROUP_NOT_FOUND):
            self.joined = False
            self.holdings.clear()
            self._released.clear()
            self._join()
        else:
            if reply.code == Code.FENCED and self.name == self.process:
                self.groups.displaced.append((self.group.name, self.name, self.world.mono_ms))
            self.later(AGAIN_MS, self._ask_events)

    def _shown(self, header: g.EventsReply, asked_ms: float) -> None:
        now_ms, name = self.world.mono_ms, self.group.name
        holder = EVERYBODY if self.group.is_work else self.name
        if header.version == self._version:
            return  # nothing is new
        shown = [(one.queue, one.generation, one.revoked) for one in header.queues]
        self.world.note(self.process, "shown", (header.version, shown))
        self._version = header.version
        listed = {one.queue: one for one in header.queues}
        for queue in [one for one in self.holdings if one not in listed]:
            del self.holdings[queue]
        for queue in [one for one in self._released if one not in listed]:
            del self._released[queue]
        for queue, one in listed.items():
            self.groups.shown.append(Shown(name, queue, one.generation, holder, asked_ms, now_ms))
            held = self.holdings.get(queue)
            if self._released.get(queue) == one.generation:
                continue  # the answer crossed our release
            if held is None or held.generation != one.generation:
                held = self.holdings[queue] = Holding(one, now_ms)
                self._released.pop(queue, None)
            if one.revoked and held.revoked_ms is None:
                held.revoked_ms = now_ms
                self.later(DRAIN_MS, self.client.turn_soon)
                self.later(RELEASE_MS, self.client.turn_soon)

    def give_back(self, held: Holding) -> None:
        """Names a queue in EVENTS: nothing of it is read any more."""
        del self.holdings[held.queue]
        self._released[held.queue] = held.generation
        self.world.note(self.process, "releases", (held.queue, held.generation))
        if self._events is not None and self.world.chance.random() < 0.5:
            header = encode_header(self._events_header())
            self.core.replace(self._events, header, self.world.now())
            self.client.turn_soon()
        else:
            self._ask_events()

    def is_held(self, held: Holding) -> bool:
        return self.holdings.get(held.queue) is held

    def fence(self, held: Holding) -> None:
        """A shard said that the queue is another's."""
        held.state = "fenced"
        held.open.clear()
        held.failed.clear()
        self.world.note(self.process, "fenced", (held.queue, held.generation))

    def accept(self, held: Holding, asked_ms: float) -> None:
        """A shard said OK to the generation of a queue."""
        name, now_ms = self.group.name, self.world.mono_ms
        self.groups.accepted.append(
            Accepted(name, held.queue, held.generation, self.name, asked_ms, now_ms)
        )

    def leave(self) -> None:
        """Says good-bye; what is open is left to others."""
        self.leaving = True
        self.holdings.clear()
        if self._events is not None:
            self.core.forget(self._events)
        if not self.joined:
            self.kill()
            return
        header = g.GroupLeave(group_id=self.group.group_id, member=self.name)
        self.ask(
            Verb.GROUP_LEAVE, header, SHARD_COORDINATOR, lambda header, reply, asked: self.kill()
        )  # fmt: skip

    def kill(self) -> None:
        self.leaving = True
        self.holdings.clear()
        if not self.client.gone:
            self.client.kill()
