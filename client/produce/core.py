"""ProducerCore: what a producer does, without I/O. One object under every driver.

    add ──► open parcel of the topic ──seal──► parts ──► lanes ──► PRODUCE ──► receipts

Messages of a topic gather in one open parcel; adding one is a few list operations. The parcel is
sealed (dealt to queues and encoded) when it is full, or when its linger is over and nothing of the
topic waits any more: while earlier batches wait to leave, later messages go on gathering, so load
makes batches larger instead of making more of them. What is sealed is bytes; the messages are
dropped.

When a shard says that a route is old (the batch is not stored, for certain), the topic's lanes are
frozen until the new route is there and everything in flight is answered; then all that waits is
dealt again in order, so no key is overtaken by its own later messages.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.codes import Code, row_of
from shardmq.actors.protocol.columns import Columns
from shardmq.actors.protocol.compress import Compression
from shardmq.actors.protocol.messages import AckMode

from ..errors import InvalidArgument
from ..link.calls import back_off_ms
from ..link.core import ClientCore
from ..link.timers import Timer
from ..message import MESSAGE_BYTES, check_message, size_of
from ..routes import RouteFault, Routes, TopicMap
from .columns import columns_of
from .dealing import Dealer
from .lanes import Lanes
from .receipts import Parcel, Part, SendFault, SendFuture

__all__ = ["ProducerCore", "ProducerOptions"]

QUEUE_BYTES = 256 * 1024
"""What one queue's batch should reach under load."""
PARCEL_BYTES_MAX = 2 * 1024 * 1024
FAULTS_REMEMBERED = 1_000
assert PARCEL_BYTES_MAX // MESSAGE_BYTES <= 65_536, "a parcel may become one batch"


class ProducerOptions(NamedTuple):
    ack: AckMode
    timeout_ms: float
    linger_ms: float
    compression: Compression
    buffer_bytes: int


class _Open:
    """The parcel that a topic's messages gather in."""

    __slots__ = (
        "born_ms", "deadline_ms", "due_ms", "explicit", "messages", "parcel", "room", "timer",
        "used_max",
    )  # fmt: skip

    def __init__(self, parcel: Parcel, used_max: int, now: Now, options: ProducerOptions) -> None:
        self.parcel = parcel
        self.messages: list[Any] = []
        self.explicit: dict[int, int] = {}
        self.used_max = used_max
        self.room = used_max
        self.born_ms = now.wall_ms
        self.due_ms = now.mono_ms + options.linger_ms
        self.deadline_ms = now.mono_ms + options.timeout_ms
        self.timer: Timer | None = None


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
        self.held_bytes = 0
        """Sealed and not settled."""
        self.unreported_faults = 0
        """Parts that failed, whoever asked for their receipts."""
        self._core = core
        self._routes = routes
        self._later = later
        self._dealer = Dealer(producer_id, options.compression)
        self._lanes = Lanes(core, options.ack, self._refused, self._part_settled)
        self._open: dict[str, _Open] = {}
        self._maps: dict[str, TopicMap] = {}
        self._asking: set[str] = set()
        self._refusals: dict[str, int] = {}
        self._faults: dict[str, SendFault] = {}

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
            self._check_queue(message.topic, queue_id)
        size = size_of(message)
        opened = self._open.get(message.topic)
        if opened is not None and opened.room < size and opened.messages:
            if not self._seal(opened, now):
                return None
            self._lanes.pump(now)
            opened = None
        if opened is None:
            if self.used_bytes() + size > self.options.buffer_bytes and self.used_bytes():
                return None
            opened = self._begin(message.topic, now)
        index = len(opened.messages)
        if queue_id is not None:
            opened.explicit[index] = queue_id
        opened.messages.append(message)
        opened.room -= size
        return SendFuture(opened.parcel, index, owner)

    def add_sealed(
        self, topic: str, columns: Columns, size: int, now: Now, deadline_ms: float
    ) -> Parcel | None:
        """Takes checked columns as a parcel of their own, behind what the topic has gathered;
        None if the route is not there yet or the buffer has no room now."""
        map_ = self.map_of(topic, now)
        if map_ is None or not self.can_add_sealed(topic, size):
            return None
        opened = self._open.get(topic)
        if opened is not None and not self._seal(opened, now):
            return None
        parcel = Parcel(topic, self._dealer.producer_id)
        parcel.bytes = size
        self._deal(parcel, columns, {}, map_, (now.wall_ms, now.wall_ms), deadline_ms, now)
        self._lanes.pump(now)
        return parcel

    def limit(self, parcel: Parcel, deadline_ms: float) -> None:
        """Gives an open parcel another deadline; messages that share it keep the earlier one."""
        opened = self._open.get(parcel.topic)
        if opened is not None and opened.parcel is parcel:
            alone = len(opened.messages) == 1
            opened.deadline_ms = deadline_ms if alone else min(opened.deadline_ms, deadline_ms)
            self._arm(opened, deadline_ms if parcel.topic not in self._maps else opened.due_ms)

    def fault_of(self, topic: str) -> SendFault | None:
        """Why the route that was last asked for did not come; None if it did, or may yet."""
        return self._faults.get(topic)

    def urge(self, topic: str, now: Now) -> None:
        """Somebody waits for this topic's open parcel: its linger is over."""
        opened = self._open.get(topic)
        if opened is not None:
            opened.due_ms = now.mono_ms
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

    def used_bytes(self) -> int:
        """Of the buffer: gathered, waiting and in flight."""
        gathered = sum(opened.used_max - opened.room for opened in self._open.values())
        return self.held_bytes + gathered

    def has_room(self, size: int) -> bool:
        """True if `size` more bytes fit, or nothing is there at all."""
        used = self.used_bytes()
        return used == 0 or used + size <= self.options.buffer_bytes

    def can_add(self, topic: str, size: int) -> bool:
        """True if `add_checked` would take a message of that size."""
        opened = self._open.get(topic)
        if opened is None:
            return self.has_room(size)
        if not opened.messages or opened.room >= size:
            return True
        return self._sealable(topic) and self.has_room(size)

    def can_add_sealed(self, topic: str, size: int) -> bool:
        """True if `add_sealed` would take a parcel: one may wait while another is in flight."""
        if not self._sealable(topic):
            # Asking for the route failed: `add_sealed` is needed to ask again.
            return topic not in self._lanes.frozen and topic not in self._asking
        behind = self._lanes.waiting(topic)
        return behind <= len(self._maps[topic].writable) and self.has_room(size)

    def parcel_bytes(self, topic: str) -> int:
        """How large a parcel of this topic should become."""
        map_ = self._maps.get(topic)
        queues = len(map_.writable) if map_ is not None else 4
        share = max(self.options.buffer_bytes // 4, 1)
        return min(max(queues, 1) * QUEUE_BYTES, PARCEL_BYTES_MAX, share)

    def map_of(self, topic: str, now: Now) -> TopicMap | None:
        """The topic's route; None while it is being asked for."""
        map_ = self._maps.get(topic)
        if map_ is None:
            map_ = self._routes.known(topic)
            if map_ is not None:
                self._maps[topic] = map_
            else:
                self._ask(topic, now)
        return map_

    def _check_queue(self, topic: str, queue_id: object) -> None:
        map_ = self._maps.get(topic)
        if not isinstance(queue_id, int) or isinstance(queue_id, bool) or queue_id < 0:
            raise InvalidArgument(f"a queue_id is a number from 0 on, not {queue_id!r}")
        if map_ is not None and queue_id not in map_.queues:
            highest = max(map_.queues, default=-1)
            raise InvalidArgument(f"topic {topic!r} has queues 0 to {highest}, not {queue_id}")

    # ------------------------------------------------------------------------------- sealing

    def _begin(self, topic: str, now: Now) -> _Open:
        map_ = self.map_of(topic, now)
        parcel = Parcel(topic, self._dealer.producer_id)
        opened = self._open[topic] = _Open(parcel, self.parcel_bytes(topic), now, self.options)
        # Without a route nothing can leave before it comes; then the answer seals.
        self._arm(opened, opened.due_ms if map_ is not None else opened.deadline_ms)
        return opened

    def _arm(self, opened: _Open, due_ms: float) -> None:
        if opened.timer is not None:
            opened.timer.cancel()
        opened.timer = self._core.timers.at(due_ms, lambda now: self._due(opened, now))

    def _due(self, opened: _Open, now: Now) -> None:
        """The linger is over. What cannot be sealed now is sealed when an answer makes way."""
        topic = opened.parcel.topic
        if now.mono_ms >= opened.deadline_ms:
            text = "the message waited in the producer until its timeout"
            self._abandon(opened, SendFault(Code.TIMED_OUT, text))
            return
        self._seal_if_due(topic, now)
        if self._open.get(topic) is opened:
            self._arm(opened, opened.deadline_ms)
        self._lanes.pump(now)

    def _sealable(self, topic: str) -> bool:
        return topic in self._maps and topic not in self._lanes.frozen

    def _seal_if_due(self, topic: str, now: Now) -> None:
        opened = self._open.get(topic)
        if opened is not None and opened.due_ms <= now.mono_ms and not self._lanes.waiting(topic):
            self._seal(opened, now)

    def _seal(self, opened: _Open, now: Now) -> bool:
        topic = opened.parcel.topic
        if not self._sealable(topic):
            return False
        self._close(opened)
        parcel = opened.parcel
        parcel.bytes = opened.used_max - opened.room
        columns = columns_of(opened.messages)
        born_ms = (opened.born_ms, now.wall_ms)
        self._deal(
            parcel, columns, opened.explicit, self._maps[topic], born_ms, opened.deadline_ms, now
        )
        return True

    def _deal(
        self,
        parcel: Parcel,
        columns: Columns,
        explicit: dict[int, int],
        map_: TopicMap,
        born_ms: tuple[int, int],
        deadline_ms: float,
        now: Now,
    ) -> None:
        self.held_bytes += parcel.bytes
        for part in self._dealer.deal(parcel, columns, explicit, map_, born_ms):
            if not part.settled:
                part.deadline_ms = deadline_ms
                self._lanes.put(part)
        if parcel.settled:
            self._parcel_settled(parcel)

    def _close(self, opened: _Open) -> None:
        del self._open[opened.parcel.topic]
        if opened.timer is not None:
            opened.timer.cancel()

    def _abandon(self, opened: _Open, fault: SendFault) -> None:
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
        topic = parcel.topic
        self._refusals.pop(topic, None)
        if topic in self._lanes.frozen:
            self._thaw_if_quiet(topic, now)
        else:
            self._seal_if_due(topic, now)

    def _parcel_settled(self, parcel: Parcel) -> None:
        if parcel.parts is not None:
            self.held_bytes -= parcel.bytes
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

    # -------------------------------------------------------------------------------- routes

    def _ask(self, topic: str, now: Now) -> None:
        if topic not in self._asking:
            self._asking.add(topic)
            self._faults.pop(topic, None)
            deadline_ms = now.mono_ms + self.options.timeout_ms
            told = partial(self._told, topic)
            self._routes.ask(topic, told, deadline_ms, now)

    def _told(self, topic: str, found: TopicMap | RouteFault, now: Now) -> None:
        self._asking.discard(topic)
        if isinstance(found, TopicMap):
            self._maps[topic] = found
            if topic in self._lanes.frozen:
                self._thaw_if_quiet(topic, now)
            self._seal_if_due(topic, now)
            opened = self._open.get(topic)
            if opened is not None:
                self._arm(opened, max(opened.due_ms, now.mono_ms))
            self._lanes.pump(now)
        elif topic in self._lanes.frozen and row_of(found.code).retryable:
            self._core.timers.at(now.mono_ms + 100.0, lambda now: self._ask(topic, now))
        else:
            self._maps.pop(topic, None)
            self._lanes.frozen.discard(topic)
            fault = SendFault(found.code, found.message, found.hint)
            if len(self._faults) >= FAULTS_REMEMBERED:
                self._faults.clear()
            self._faults[topic] = fault
            for part in self._lanes.take_waiting(topic):
                self._lanes.fail(part, fault, now)
            opened = self._open.get(topic)
            if opened is not None:
                self._abandon(opened, fault)

    def _refused(self, part: Part, now: Now) -> None:
        """A shard does not take a batch for this queue any more; it is back in its lane."""
        topic = part.parcel.topic
        if topic not in self._lanes.frozen:
            self._lanes.frozen.add(topic)
            self._maps.pop(topic, None)
            self._routes.forget(topic)
            times = self._refusals[topic] = self._refusals.get(topic, 0) + 1
            # The first time ask at once; if the shard has not heard of the route yet, give it time.
            wait_ms = back_off_ms(times, 0, 1.0) if times > 1 else 0.0
            self._core.timers.at(now.mono_ms + wait_ms, lambda now: self._ask(topic, now))
        else:
            self._thaw_if_quiet(topic, now)

    def _thaw_if_quiet(self, topic: str, now: Now) -> None:
        """Deals again what waits, once the route is new and nothing is in flight."""
        map_ = self._maps.get(topic)
        if map_ is None or self._lanes.in_flight(topic):
            return
        lost = []
        for part in self._lanes.take_waiting(topic):
            dealt = self._dealer.deal_again(part, map_, now.wall_ms)
            part.parcel.open_parts += max(len(dealt) - 1, 0)
            for child in dealt:
                self._lanes.put(child)
            if not dealt:
                lost.append(part)
        self._lanes.frozen.discard(topic)
        for part in lost:
            text = f"queue {part.queue.queue_id} of {topic!r} takes no messages any more"
            self._lanes.fail(part, SendFault(Code.STALE_ROUTE, text), now)
        self._seal_if_due(topic, now)
