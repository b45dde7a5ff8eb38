"""ProducerCore: what a producer does, without I/O. One object under every driver.

    add ──► open parcel of the topic ──seal──► parts ──► lanes ──► PRODUCE ──► receipts

Messages of a topic gather in one open parcel; adding one is a few list operations. The parcel is
sealed (dealt to queues and encoded) when it is full, or when its linger is over and nothing of the
topic is under way: while earlier batches wait to leave or for their answer, later messages go on
gathering, so load makes batches larger instead of making more of them. An answer that is late for
more than HOLD_MS holds nobody back: perhaps it is one shard only that does not answer. What is
sealed is bytes; the messages are dropped.

What to do when queues change is the business of `routing.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.columns import Columns

from ..errors import InvalidArgument
from ..link.core import ClientCore
from ..message import MESSAGE_BYTES, check_message, is_plain, size_of
from ..routes import Routes, TopicMap
from .columns import columns_of
from .dealing import SHARE_MESSAGES, Dealer
from .lanes import Lanes
from .opened import Opened, ProducerOptions
from .receipts import Parcel, Part, SendFault, SendFuture
from .room import Room
from .routing import Routing, RoutingEvents

__all__ = ["HOLD_MS", "ProducerCore", "ProducerOptions"]

HOLD_MS = 25.0
"""Well above a sync that had to wait for its turn, well below what people call a stall."""


class ProducerCore:
    """The pure part of a producer."""

    def __init__(
        self,
        core: ClientCore,
        routes: Routes,
        options: ProducerOptions,
        producer_id: int,
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        self.options = options
        self.unreported_faults = 0
        """Parts that failed, whoever asked for their receipts."""
        self._core = core
        self._later = later
        self._dealer = Dealer(producer_id, options.compression)
        self._lanes = Lanes(core, options.ack, self._refused, self._part_settled)
        self._open: dict[str, Opened] = {}
        self._held: set[str] = set()
        """Topics with a timer that ends the wait for an answer."""
        events = RoutingEvents(self._usable, self._missing)
        self._routing = Routing(
            routes, core.timers, self._lanes, self._dealer, options.timeout_ms, events
        )
        self.fault_of = self._routing.fault_of
        self._room = room = Room(options.buffer_bytes, self._open, self._routing, self._lanes)
        self.used_bytes = room.used_bytes
        self.can_add = room.can_add
        self.can_add_sealed = room.can_add_sealed
        self.parcel_bytes = room.parcel_bytes

    # ------------------------------------------------------------------------------- adding

    def add(self, message: Any, queue_id: int | None, owner: Any) -> SendFuture | None:
        """The hot path: takes a message without tag, keys and so on, if there is an open parcel
        with room for it. None: `add_checked` must look at it."""
        opened = self._open.get(message.topic)
        body = message.body
        if (
            opened is None
            or type(body) is not bytes
            or not body
            or queue_id is not None
            or message.tag is not None
            or message.ordering_key is not None
            or message.keys
            or message.properties
            or message.delay is not None
            or message.deliver_at is not None
            or message.delay_level is not None
        ):
            return None
        room = opened.room - len(body) - MESSAGE_BYTES
        if room < 0:
            return None
        opened.room = room
        messages = opened.messages
        future = SendFuture(opened.parcel, len(messages), owner)
        messages.append(message)
        return future

    def add_checked(
        self, message: Any, queue_id: int | None, owner: Any, now: Now
    ) -> SendFuture | None:
        """Takes any message that is in order; None if the buffer has no room for it now.

        Raises:
            InvalidArgument, MessageTooLarge, NotSupported: as `check_message`.
        """
        check_message(message)
        if queue_id is not None:
            self._check_queue(message.topic, queue_id, now)
        size = size_of(message)
        opened = self._open.get(message.topic)
        if opened is not None and opened.room < size and opened.messages:
            if not self._seal(opened, now):
                return None
            self._lanes.pump(now)
            opened = None
        if opened is None:
            if not self._room.has_room(size):
                return None
            opened = self._begin(message.topic, now)
        index = len(opened.messages)
        if queue_id is not None:
            opened.explicit[index] = queue_id
        if message.tag or message.keys or message.properties or message.ordering_key:
            opened.plain = False
        opened.messages.append(message)
        opened.room -= size
        return SendFuture(opened.parcel, index, owner)

    def add_sealed(
        self, topic: str, columns: Columns, size: int, now: Now, deadline_ms: float
    ) -> Parcel | None:
        """Takes checked columns as a parcel of their own, behind what the topic has gathered;
        None if the route is not there yet or the buffer has no room now."""
        map_ = self._routing.map_of(topic, now)
        if map_ is None or not self.can_add_sealed(topic, size):
            return None
        opened = self._open.get(topic)
        if opened is not None and not self._seal(opened, now):
            return None
        parcel = Parcel(topic, self._dealer.producer_id)
        parcel.bytes = size
        self._deal(parcel, columns, {}, map_, (now.wall_ms, now.wall_ms), deadline_ms, 1)
        self._lanes.pump(now)
        self._routing.renew_if_old(topic, now)
        return parcel

    def send_alone(self, message: Any, now: Now, deadline_ms: float) -> Parcel | None:
        """The short cut of a lone keyless message: sealed and on its way at once, if nothing of its
        topic is gathering and its route is known. None: take the long way.

        Raises:
            InvalidArgument, MessageTooLarge, NotSupported: as `check_message`.
        """
        plain = is_plain(message)
        if not plain:
            check_message(message)
        topic = message.topic
        map_ = self._routing.known(topic)
        if map_ is None or topic in self._open or not self._sealable(topic):
            return None
        size = len(message.body) + MESSAGE_BYTES if plain else size_of(message)
        if not map_.writable or message.ordering_key is not None or not self._room.has_room(size):
            return None
        parcel = Parcel(topic, self._dealer.producer_id)
        parcel.bytes = size
        columns = Columns([message.body]) if plain else columns_of([message])
        part = self._dealer.deal_alone(parcel, columns, map_, now.wall_ms)
        part.deadline_ms = deadline_ms
        self._room.held_bytes += size
        if not self._lanes.send_alone(part, now):
            self._lanes.put(part)
            self._lanes.pump(now)
        self._routing.renew_if_old(topic, now)
        return parcel

    def limit(self, parcel: Parcel, deadline_ms: float) -> None:
        """Gives an open parcel another deadline; messages that share it keep the earlier one."""
        opened = self._open.get(parcel.topic)
        if opened is not None and opened.parcel is parcel:
            alone = len(opened.messages) == 1
            opened.deadline_ms = deadline_ms if alone else min(opened.deadline_ms, deadline_ms)
            self._arm(opened, opened.due_ms if self._routing.known(parcel.topic) else deadline_ms)

    def urge(self, topic: str, now: Now) -> None:
        """Somebody waits for this topic's open parcel: its linger is over."""
        opened = self._open.get(topic)
        if opened is not None:
            opened.due_ms = now.mono_ms
            opened.urgent = True
            self._seal_if_due(topic, now)
            self._lanes.pump(now)

    def flush(self, now: Now) -> None:
        """Ends the linger of everything that is gathered."""
        for topic in list(self._open):
            self.urge(topic, now)

    # -------------------------------------------------------------------------- looking at it

    @property
    def idle(self) -> bool:
        """True if the fate of everything that was added is known."""
        return not self._open and self._lanes.idle

    def _check_queue(self, topic: str, queue_id: object, now: Now) -> None:
        map_ = self._routing.known(topic)
        if not isinstance(queue_id, int) or isinstance(queue_id, bool) or queue_id < 0:
            raise InvalidArgument(f"a queue_id is a number from 0 on, not {queue_id!r}")
        if map_ is not None and not self._routing.renew_for(topic, queue_id, now):
            highest = max(map_.queues, default=-1)
            raise InvalidArgument(f"topic {topic!r} has queues 0 to {highest}, not {queue_id}")

    # ------------------------------------------------------------------------------- sealing

    def _begin(self, topic: str, now: Now) -> Opened:
        map_ = self._routing.map_of(topic, now)
        parcel = Parcel(topic, self._dealer.producer_id)
        opened = self._open[topic] = Opened(parcel, self.parcel_bytes(topic), now, self.options)
        if map_ is None or self._lanes.in_flight(topic):
            # The answer on its way will seal. No timer for each parcel: setting it would wake the
            # thread that looks after timers.
            self._arm(opened, opened.deadline_ms)
            if map_ is not None and topic not in self._held:
                self._held.add(topic)
                self._core.timers.at(opened.due_ms + HOLD_MS, partial(self._release, topic))
        else:
            self._arm(opened, opened.due_ms)
        return opened

    def _release(self, topic: str, now: Now) -> None:
        """Seals what has waited for an answer long enough."""
        self._held.discard(topic)
        opened = self._open.get(topic)
        if opened is None:
            return
        if opened.due_ms > now.mono_ms:
            self._held.add(topic)
            self._core.timers.at(opened.due_ms + HOLD_MS, partial(self._release, topic))
        elif not self._lanes.waiting(topic):
            self._seal(opened, now)
            self._lanes.pump(now)

    def _arm(self, opened: Opened, due_ms: float) -> None:
        if opened.timer is not None:
            opened.timer.cancel()
        opened.timer = self._core.timers.at(due_ms, lambda now: self._due(opened, now))

    def _due(self, opened: Opened, now: Now) -> None:
        """The linger is over. What cannot be sealed now is sealed when an answer makes way."""
        topic = opened.parcel.topic
        if now.mono_ms >= opened.deadline_ms:
            text = "no broker answered in time: the message never left"
            self._abandon(opened, SendFault(Code.TIMED_OUT, text))
            return
        self._seal_if_due(topic, now)
        if self._open.get(topic) is opened:
            self._arm(opened, opened.deadline_ms)
        self._lanes.pump(now)

    def _sealable(self, topic: str) -> bool:
        return self._routing.sealable(topic)

    def _seal_if_due(self, topic: str, now: Now) -> None:
        opened = self._open.get(topic)
        if opened is None or self._lanes.waiting(topic):
            return
        if self._lanes.in_flight(topic) and not opened.urgent:
            return
        if opened.due_ms <= now.mono_ms:
            self._seal(opened, now)
        elif opened.timer is None or opened.timer.due_ms > opened.due_ms:
            self._arm(opened, opened.due_ms)

    def _seal(self, opened: Opened, now: Now) -> bool:
        map_ = self._routing.known(opened.parcel.topic)
        if map_ is None or not self._sealable(opened.parcel.topic):
            return False
        self._close(opened)
        parcel = opened.parcel
        parcel.bytes = opened.used_max - opened.room
        messages = opened.messages
        if opened.plain:
            columns = Columns(bodies=[message.body for message in messages])
        else:
            columns = columns_of(messages)
        born_ms = (opened.born_ms, now.wall_ms)
        explicit, deadline_ms = opened.explicit, opened.deadline_ms
        self._deal(parcel, columns, explicit, map_, born_ms, deadline_ms, SHARE_MESSAGES)
        self._routing.renew_if_old(parcel.topic, now)
        return True

    def _deal(
        self,
        parcel: Parcel,
        columns: Columns,
        explicit: dict[int, int],
        map_: TopicMap,
        born_ms: tuple[int, int],
        deadline_ms: float,
        share_messages: int,
    ) -> None:
        self._room.held_bytes += parcel.bytes
        for part in self._dealer.deal(parcel, columns, explicit, map_, born_ms, share_messages):
            if not part.settled:
                part.deadline_ms = deadline_ms
                self._lanes.put(part)
        if parcel.settled:
            self._parcel_settled(parcel)

    def _close(self, opened: Opened) -> None:
        del self._open[opened.parcel.topic]
        if opened.timer is not None:
            opened.timer.cancel()

    def _abandon(self, opened: Opened, fault: SendFault) -> None:
        """Fails a parcel that was never sealed."""
        self._close(opened)
        self.unreported_faults += 1
        opened.parcel.fault = fault
        self._parcel_settled(opened.parcel)

    # --------------------------------------------------------------------------------- fates

    def _part_settled(self, part: Part, now: Now) -> None:
        parcel = part.parcel
        self.unreported_faults += part.fault is not None
        parcel.open_parts -= 1
        if parcel.open_parts == 0:
            self._parcel_settled(parcel)
        self._routing.settled(parcel.topic, now)
        self._seal_if_due(parcel.topic, now)

    def _refused(self, part: Part, now: Now) -> None:
        self._routing.refused(part, now)

    def _usable(self, topic: str, now: Now) -> None:
        self._seal_if_due(topic, now)
        opened = self._open.get(topic)
        if opened is not None:
            self._arm(opened, max(opened.due_ms, now.mono_ms))

    def _missing(self, topic: str, fault: SendFault, now: Now) -> None:
        opened = self._open.get(topic)
        if opened is not None:
            self._abandon(opened, fault)

    def _parcel_settled(self, parcel: Parcel) -> None:
        if parcel.parts is not None:
            self._room.held_bytes -= parcel.bytes
        calls, parcel.callbacks = parcel.callbacks, None
        for future, call in calls or ():
            self._call_later(future, call)

    def add_callback(self, future: SendFuture, call: Callable[[SendFuture], Any]) -> None:
        """Calls `call(future)` once the fate of the future's parcel is known."""
        parcel = future.parcel
        if parcel.settled:
            self._call_later(future, call)
        elif parcel.callbacks is None:
            parcel.callbacks = [(future, call)]
        else:
            parcel.callbacks.append((future, call))

    def _call_later(self, future: SendFuture, call: Callable[[SendFuture], Any]) -> None:
        self._later(lambda: call(future))
