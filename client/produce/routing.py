"""Routing: which queues a producer's topics have, and what happens when that changes. Pure.

When a shard says that a route is old (the batch is not stored, for certain), the topic's lanes are
frozen until the new route is there and everything in flight is answered; then all that waits is
dealt again in order, so no key is overtaken by its own later messages. While a topic is frozen
nothing of it is sealed.

Queues that are added provoke no refusal, so the route of a topic in use is asked for again every
RENEW_MS, and at once when a message names a queue that the route does not have.

A batch that some attempt may have stored is not dealt again: in another queue, or as other bytes,
it could be stored twice. It stays where it is, and its queue says what became of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.codes import Code, row_of

from ..link.calls import back_off_ms
from ..link.timers import Timers
from ..routes import RouteFault, Routes, TopicMap
from .dealing import Dealer
from .lanes import Lanes
from .receipts import Part, SendFault

__all__ = ["Routing", "RoutingEvents"]

FAULTS_REMEMBERED = 1_000
AGAIN_MS = 100.0
RENEW_MS = 10_000.0
"""How old the route of a topic in use may be; also how long added queues may stay unused."""
FRESH_MS = 1_000.0
"""A route that young is believed when it says that a queue does not exist."""


class RoutingEvents(NamedTuple):
    """What the producer wants to hear; both are called with the topic."""

    usable: Callable[[str, Now], None]
    """Its messages can be sealed, now or again."""
    missing: Callable[[str, SendFault, Now], None]
    """There is no route, and why."""


class Routing:
    """The routes of one producer's topics."""

    def __init__(
        self,
        routes: Routes,
        timers: Timers,
        lanes: Lanes,
        dealer: Dealer,
        timeout_ms: float,
        events: RoutingEvents,
    ) -> None:
        self._routes = routes
        self._timers = timers
        self._lanes = lanes
        self._dealer = dealer
        self._timeout_ms = timeout_ms
        self._events = events
        self._maps: dict[str, TopicMap] = {}
        self._asking: set[str] = set()
        self._faults: dict[str, SendFault] = {}
        self._refusals: dict[str, int] = {}

    # -------------------------------------------------------------------------------- looking

    def known(self, topic: str) -> TopicMap | None:
        """The route, without asking for it."""
        return self._maps.get(topic)

    def map_of(self, topic: str, now: Now) -> TopicMap | None:
        """The route; None while it is being asked for."""
        map_ = self._maps.get(topic)
        if map_ is None and topic not in self._lanes.frozen:
            map_ = self._routes.known(topic)
            if map_ is None:
                self._ask(topic, now)
            else:
                self._maps[topic] = map_
        return map_

    def renew_if_old(self, topic: str, now: Now) -> None:
        """The topic is in use: takes over what others have learned, and asks for its route again
        if that is due, beside the sending."""
        shared = self._routes.known(topic)
        if shared is not None and shared is not self._maps.get(topic):
            self._renewed(topic, shared, now)
        if self._routes.age_ms(topic, now) >= RENEW_MS:
            told = partial(self._renewed, topic)
            self._routes.ask(topic, told, now.mono_ms + self._timeout_ms, now)

    def renew_for(self, topic: str, queue_id: int, now: Now) -> bool:
        """Whether a queue may exist: it does, or the route is too old to know. Then it is asked
        for, and nothing of the topic is sealed before the answer."""
        map_ = self._maps.get(topic)
        if map_ is None or queue_id in map_.queues or topic in self._lanes.frozen:
            return True
        if self._routes.age_ms(topic, now) < FRESH_MS:
            return False
        self._lanes.frozen.add(topic)
        del self._maps[topic]
        self._ask(topic, now)
        return True

    def sealable(self, topic: str) -> bool:
        """True if messages of the topic can be dealt now."""
        return topic in self._maps and topic not in self._lanes.frozen

    def asking(self, topic: str) -> bool:
        """True while a route is on its way."""
        return topic in self._asking or topic in self._lanes.frozen

    def fault_of(self, topic: str) -> SendFault | None:
        """Why the route that was last asked for did not come; None if it did, or may yet."""
        return self._faults.get(topic)

    # -------------------------------------------------------------------------------- changes

    def refused(self, part: Part, now: Now) -> None:
        """A shard does not take a batch for this queue any more; it is back in its lane."""
        topic = part.parcel.topic
        if topic in self._lanes.frozen:
            self._thaw_if_quiet(topic, now)
            return
        self._lanes.frozen.add(topic)
        self._maps.pop(topic, None)
        self._routes.forget(topic)
        times = self._refusals[topic] = self._refusals.get(topic, 0) + 1
        # The first time ask at once; if the shard has not heard of the route yet, give it time.
        wait_ms = back_off_ms(times, 0, 1.0) if times > 1 else 0.0
        self._timers.at(now.mono_ms + wait_ms, partial(self._ask, topic))

    def settled(self, topic: str, now: Now) -> None:
        """The fate of a part of this topic is known."""
        if topic in self._lanes.frozen:
            self._thaw_if_quiet(topic, now)
        else:
            self._refusals.pop(topic, None)

    def _ask(self, topic: str, now: Now) -> None:
        if topic not in self._asking:
            self._asking.add(topic)
            self._faults.pop(topic, None)
            told = partial(self._told, topic)
            self._routes.ask(topic, told, now.mono_ms + self._timeout_ms, now)

    def _told(self, topic: str, found: TopicMap | RouteFault, now: Now) -> None:
        self._asking.discard(topic)
        if isinstance(found, TopicMap):
            self._maps[topic] = found
            if topic in self._lanes.frozen:
                self._thaw_if_quiet(topic, now)
            else:
                self._events.usable(topic, now)
        elif topic in self._lanes.frozen and row_of(found.code).retryable:
            self._timers.at(now.mono_ms + AGAIN_MS, partial(self._ask, topic))
        else:
            self._give_up(topic, SendFault(found.code, found.message, found.hint), now)
        self._lanes.pump(now)

    def _renewed(self, topic: str, found: TopicMap | RouteFault, now: Now) -> None:
        """A route that nobody waits for. What it lacks, shards and later questions will tell."""
        known = self._maps.get(topic)
        if known is None or isinstance(found, RouteFault) or topic in self._lanes.frozen:
            return
        self._maps[topic] = found
        if (found.topic_id, found.slots_version) != (known.topic_id, known.slots_version):
            # Keys have moved: first let everything that is under way arrive.
            self._lanes.frozen.add(topic)
            self._thaw_if_quiet(topic, now)

    def _give_up(self, topic: str, fault: SendFault, now: Now) -> None:
        if len(self._faults) >= FAULTS_REMEMBERED:
            self._faults.clear()
        self._faults[topic] = fault
        self._maps.pop(topic, None)
        self._lanes.frozen.discard(topic)
        for part in self._lanes.take_waiting(topic):
            self._lanes.fail(part, fault, now)
        self._events.missing(topic, fault, now)

    def _thaw_if_quiet(self, topic: str, now: Now) -> None:
        """Deals again what waits, once the route is new and nothing is in flight."""
        map_ = self._maps.get(topic)
        if map_ is None or self._lanes.in_flight(topic):
            return
        lost = []
        waiting = self._lanes.take_waiting(topic)
        # First what may be stored already: at the head of its lane, as it was.
        for part in waiting:
            if part.unknown:
                self._lanes.put(part)
        for part in waiting:
            if part.unknown:
                continue
            dealt = self._dealer.deal_again(part, map_)
            part.parcel.open_parts += max(len(dealt) - 1, 0)
            for child in dealt:
                self._lanes.put(child)
            if not dealt:
                lost.append(part)
        self._lanes.frozen.discard(topic)
        for part in lost:
            text = f"queue {part.queue.queue_id} of {topic!r} takes no messages any more"
            self._lanes.fail(part, SendFault(Code.STALE_ROUTE, text), now)
        self._events.usable(topic, now)
