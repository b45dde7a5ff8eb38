"""Route cache: what the coordinator said about topics. Pure; one for each connection.

Owns which route is current, and that a topic is asked for by one request at a time however many
parts wait for it. Must not know what the routes are used for: who waits gives a callback.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.checksum import crc32c
from shardmq.actors.protocol.codec import HeaderError, decode_header, encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.limits import SLOTS
from shardmq.actors.protocol.messages import QueueRoute, RouteReply, RouteRequest, TopicRoute
from shardmq.actors.protocol.verbs import Verb

from .link.calls import Call, Reply
from .link.core import ClientCore

__all__ = ["RouteFault", "Routes", "TopicMap"]


class RouteFault(NamedTuple):
    """Why there is no route."""

    code: int
    message: str
    hint: str = ""


class TopicMap:
    """A topic's route, prepared for look-ups."""

    def __init__(self, route: TopicRoute) -> None:
        self.topic = route.topic
        self.topic_id = route.topic_id
        self.version = route.version
        self.slots_version = route.slots_version
        self.queues = {queue.queue_id: queue for queue in route.queues}
        self.writable: list[QueueRoute] = [queue for queue in route.queues if queue.writable]
        self.readable: list[QueueRoute] = [queue for queue in route.queues if queue.readable]
        self.route = route
        self._slots = route.slots or [queue.queue_id for queue in self.writable]
        self._queue_of: dict[str, QueueRoute] = {}

    def queue_for(self, ordering_key: str) -> QueueRoute | None:
        """The queue of a key; None if the table names one that is not there."""
        queue = self._queue_of.get(ordering_key)
        if queue is None and self._slots:
            slot = crc32c(ordering_key.encode()) % SLOTS
            queue = self.queues.get(self._slots[slot % len(self._slots)])
            if queue is not None:
                if len(self._queue_of) >= _KEYS_REMEMBERED:
                    self._queue_of.clear()
                self._queue_of[ordering_key] = queue
        return queue


_KEYS_REMEMBERED = 16_384
Waiting = Callable[[TopicMap | RouteFault, Now], None]


class Routes:
    """The routes of one connection."""

    def __init__(self, core: ClientCore) -> None:
        self._core = core
        self._known: dict[str, TopicMap] = {}
        self._told_ms: dict[str, float] = {}
        self._waiting: dict[str, list[Waiting]] = {}

    def known(self, topic: str) -> TopicMap | None:
        """The route as last heard, without asking."""
        return self._known.get(topic)

    def learn(self, route: TopicRoute) -> TopicMap:
        """Takes a route that came with another answer."""
        known = self._known.get(route.topic)
        if known is None or known.topic_id != route.topic_id or known.version <= route.version:
            known = self._known[route.topic] = TopicMap(route)
        return known

    def age_ms(self, topic: str, now: Now) -> float:
        """How long ago the coordinator was last asked for a topic; infinite if it never was."""
        told_ms = self._told_ms.get(topic)
        return inf if told_ms is None else now.mono_ms - told_ms

    def forget(self, topic: str) -> None:
        self._known.pop(topic, None)
        self._told_ms.pop(topic, None)

    def ask(self, topic: str, done: Waiting, deadline_ms: float, now: Now) -> None:
        """Asks the coordinator; everybody who asks meanwhile gets the same answer."""
        waiting = self._waiting.get(topic)
        if waiting is not None:
            waiting.append(done)
            return
        self._waiting[topic] = [done]
        header = encode_header(RouteRequest(topics=[topic], create=True))

        def answered(reply: Reply, now: Now) -> None:
            found = self._read(topic, reply)
            if isinstance(found, TopicMap):
                self._told_ms[topic] = now.mono_ms
            for waiter in self._waiting.pop(topic):
                waiter(found, now)

        self._core.submit(Call(Verb.ROUTE, header, answered, deadline_ms=deadline_ms), now)

    def _read(self, topic: str, reply: Reply) -> TopicMap | RouteFault:
        if reply.code != Code.OK:
            error = reply.error()
            return RouteFault(reply.code, error.message, error.hint)
        try:
            answer: Any = decode_header(reply.header, RouteReply)
        except HeaderError as error:
            return RouteFault(Code.INTERNAL, f"the broker's route cannot be read: {error}")
        for result in answer.topics:
            if result.topic == topic and result.route is not None and result.code == Code.OK:
                return self.learn(result.route)
            if result.topic == topic:
                self.forget(topic)
                text = result.message or f"topic {topic!r} does not exist"
                return RouteFault(result.code, text)
        return RouteFault(Code.INTERNAL, f"the broker answered without topic {topic!r}")
