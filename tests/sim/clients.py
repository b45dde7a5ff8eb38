"""Client processes: the real client cores under a driver in virtual time, and producers on top.

Owns the driver (what `client.link.thread` does with threads and sockets) and what a producer's
program does: gives messages, keeps their futures, writes down what it was told. Must not know the
broker. A killed client loses everything; its open sends become unknown, and it starts anew under
another name, as another process would.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from shardmq.actors.protocol.compress import Compression
from shardmq.client.errors import InvalidArgument, SendError, SendUnknown
from shardmq.client.link.core import ClientCore
from shardmq.client.message import Message
from shardmq.client.produce.core import ProducerCore, ProducerOptions
from shardmq.client.produce.receipts import SendFuture
from shardmq.client.routes import Routes

from .history import Fate, History, Send
from .network import Link, Listener, Network, Weather
from .swarm import Plan
from .world import SimRandomness, World

TAGS = (None, "a", "b", "c", "a")
TAG_RUN = 4
"""So many messages in a row have one tag: whole batches without a wanted one are to be met."""


class Client:
    """One process with one connection."""

    def __init__(
        self,
        world: World,
        network: Network,
        weather: Weather,
        name: str,
        choose: Callable[[], Listener],
    ) -> None:
        self.world = world
        self.name = name
        self.core = ClientCore(SimRandomness(world), client="sim", version="0")
        self.routes = Routes(self.core)
        self.after_turn: list[Callable[[], None]] = []
        self.gone = False
        self.paused_until_ms = 0.0
        self._later: deque[Callable[[], None]] = deque()
        self._inbox: deque[list[bytes]] = deque()
        self._news: deque[bool] = deque()
        self._timer: Any = None
        self._turn_at_ms: float | None = None
        self.link = Link(
            network, name, weather, choose, "front", self._took, self._told,
        )  # fmt: skip

    def later(self, call: Callable[[], None]) -> None:
        """Runs the user's callback behind the turn."""
        self._later.append(call)

    def kill(self) -> None:
        self.gone = True
        self.link.close()

    def pause(self, pause_ms: float) -> None:
        self.paused_until_ms = max(self.paused_until_ms, self.world.mono_ms + pause_ms)

    def _took(self, frames: list[bytes]) -> None:
        self.world.stamp(frames)
        self._inbox.append(frames)
        self.turn_soon()

    def _told(self, up: bool) -> None:
        self._news.append(up)
        self.turn_soon()

    def turn_soon(self) -> None:
        self._turn_at(self.world.mono_ms + 0.01)

    def _turn_at(self, at_ms: float) -> None:
        at_ms = max(at_ms, self.paused_until_ms)
        if self._turn_at_ms is not None and self._turn_at_ms <= at_ms:
            return
        self._turn_at_ms = at_ms
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.world.at(at_ms, self._turn)

    def _turn(self) -> None:
        self._turn_at_ms = None
        if self.gone:
            return
        if self.world.mono_ms < self.paused_until_ms:
            self._turn_at(self.paused_until_ms)
            return
        core, now = self.core, self.world.now()
        while self._news:
            (core.connected if self._news.popleft() else core.disconnected)(now)
        core.tick(now)
        while self._inbox:
            core.receive(self._inbox.popleft(), now)
        self._flush()
        while self._later:
            self._later.popleft()()
        for call in self.after_turn:
            call()
        self._flush()
        wake_at_ms = core.wake_at_ms
        if wake_at_ms is not None:
            self._turn_at(max(wake_at_ms, self.world.mono_ms + 0.01))

    def _flush(self) -> None:
        outbox = self.core.outbox
        while outbox and self.link.send(outbox[0]):
            outbox.popleft()


class SimProducer:
    """A program that sends: bursts of messages, with keys, to queues, or just so."""

    KEYS = 5

    def __init__(self, client: Client, plan: Plan, history: History, ack: str) -> None:
        self.client = client
        self.world = client.world
        self.plan = plan
        self.history = history
        self.ack = ack
        self.refused = 0
        self._open: deque[tuple[Send, SendFuture]] = deque()
        options = ProducerOptions(
            ack=ack,  # type: ignore[arg-type]
            timeout_ms=plan.producer_timeout_ms,
            linger_ms=plan.linger_ms,
            compression=Compression.ZSTD if plan.compression else Compression.NONE,
            buffer_bytes=1 << 20,
        )
        producer_id = client.world.chance.getrandbits(64)
        self.core = ProducerCore(client.core, client.routes, options, producer_id, client.later)
        client.after_turn.append(self.settle)

    @property
    def idle(self) -> bool:
        return not self._open

    def burst(self, topics: list[str], count: int) -> None:
        """Gives `count` messages to the producer; the last one may be waited for."""
        chance = self.world.chance
        topic = chance.choice(topics)
        for _ in range(count):
            self._give(topic, alone=count == 1)
        now = self.world.now()
        if chance.random() < 0.4:
            self.core.urge(topic, now)
        self.client.turn_soon()

    def _give(self, topic: str, *, alone: bool = False) -> None:
        plan, chance = self.plan, self.world.chance
        key = queue_id = None
        if chance.random() < plan.keyed:
            key = f"key-{chance.randrange(self.KEYS)}"
        elif chance.random() < plan.explicit:
            queue_id = chance.randrange(3)
        number = len(self.history.sends)
        size = chance.randint(8, 8 + plan.body_bytes_max)
        body = f"{number}|{self.client.name}|".encode().ljust(size, b".")
        tag = TAGS[number // TAG_RUN % len(TAGS)]
        message = Message(topic, body, ordering_key=key, tag=tag)
        try:
            future = self._taken(message, queue_id, alone=alone)
        except InvalidArgument:
            self.refused += 1
            return
        if future is None:
            self.refused += 1
            return
        now_ms = self.world.mono_ms
        send = Send(
            number, self.client.name, topic, body, key, queue_id, self.ack, now_ms, tag=tag
        )  # fmt: skip
        self.history.give(send)
        self._open.append((send, future))

    def _taken(self, message: Message, queue_id: int | None, *, alone: bool) -> SendFuture | None:
        """As `Producer.send` for a message that comes alone, else as `send_async`."""
        now = self.world.now()
        if alone and queue_id is None:
            until_ms = now.mono_ms + self.core.options.timeout_ms
            parcel = self.core.send_alone(message, now, until_ms)
            if parcel is not None:
                return SendFuture(parcel, 0, self)
        return self.core.add_checked(message, queue_id, self, now)

    def settle(self) -> None:
        """Writes down what became of the sends."""
        still: deque[tuple[Send, SendFuture]] = deque()
        for send, future in self._open:
            if future.done():
                self._ended(send, future)
            else:
                still.append((send, future))
        self._open = still

    def _ended(self, send: Send, future: SendFuture) -> None:
        world = self.world
        error = future.exception(0)
        if error is None:
            receipt = future.result(0)
            part, _ = future.parcel.place(future._index)
            number, shard = part.queue.number, part.queue.shard
            self.history.shard_of[number] = shard
            self.history.topic_of[number] = send.topic
            self.history.acknowledged(
                send, number, receipt.offset, receipt.message_id, world.mono_ms
            )
            world.note(self.client.name, "receipt", (send.number, number, receipt.offset))
        else:
            assert isinstance(error, SendError)
            unknown = isinstance(error, SendUnknown)
            self.history.ended(send, unknown=unknown, fault=str(error), at_ms=world.mono_ms)
            world.note(self.client.name, "no receipt", (send.number, unknown, str(error)))

    def kill(self) -> None:
        """The process is killed: what was open stays unknown for ever."""
        self.settle()
        for send, _ in self._open:
            send.fate, send.fault = Fate.UNKNOWN, "its producer was killed"
        self._open.clear()
        self.client.kill()
