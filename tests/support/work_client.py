"""A work queue's consumer joined to a fake broker: the pure part, on a manual clock."""

from __future__ import annotations

from typing import Any

from shardmq.actors.protocol.group_messages import Start
from shardmq.actors.protocol.tags import TagFilter
from shardmq.client import Message
from shardmq.client.errors import ShardMQError
from shardmq.client.group.options import GroupOptions
from shardmq.client.received import ReceivedMessage
from shardmq.client.work.core import WorkCore
from shardmq.client.work.options import Asked, WorkSettings
from shardmq.client.work.settlement import ACK, Act, Settlement
from shardmq.client.work.sources import Wish

from .clients import Wired
from .fake_work import FakeWork

__all__ = ["Working", "bodies"]


class Working:
    """A member of a work group that subscribed to topic `t`, of 4 queues on 2 shards: those with an
    odd number lie on shard 1."""

    def __init__(self, *, shards: int = 2, fifo: bool = False, started: bool = True) -> None:
        self.wired = Wired()
        self.wired.broker.shards = shards
        self.route = self.wired.broker.create("t", 4)
        self.work.clock = lambda: self.wired.now.wall_ms
        model: Any = "work_fifo" if fifo else "work"
        member = GroupOptions("g", "me", Start(at="earliest"), model=model, retries=True)
        settings = WorkSettings(member, fifo, 16, 10_000.0)
        self.core = WorkCore(self.wired.core, settings, {"t": TagFilter("*")})
        self.producer = self.wired.producer()
        if started:
            self.start()

    @property
    def work(self) -> FakeWork:
        return self.wired.broker.work

    def start(self) -> None:
        self.wired.broker.give("me", "t", 0, 1, 2, 3)
        self.core.membership.start(self.wired.now)
        self.wired.run()

    def number(self, queue_id: int) -> int:
        return self.route.queues[queue_id].number

    def on_shard(self, shard: int) -> int:
        """The queue_id of a queue that lies there."""
        return next(row.queue_id for row in self.route.queues if row.shard == shard)

    def store(self, *bodies: bytes, queue_id: int = 0) -> None:
        """One batch; who waits for it hears of it."""
        for body in bodies:
            self.producer.add_checked(Message("t", body), queue_id, None, self.wired.now)
        self.wired.run()
        self.producer.flush(self.wired.now)
        self.wired.run()

    def tell(self) -> None:
        """Lets the broker answer whoever is parked."""
        for reply in self.wired.broker._woken():
            self.wired.core.receive(reply, self.wired.now)
        self.wired.run()

    def want(self, count: int = 32, *, invisible_ms: int = 30_000, wait_ms: float = 0.0) -> Wish:
        """Sends nothing yet."""
        wish = Wish(Asked(count, invisible_ms, wait_ms), self.wired.now.mono_ms)
        self.core.receiver.receive(wish, self.wired.now)
        return wish

    def receive(self, count: int = 32, **how: Any) -> list[ReceivedMessage]:
        """What a call of `receive` with no wait returns."""
        wish = self.want(count, **how)
        self.wired.run()
        if not wish.settled:
            self.core.receiver.late(wish, self.wired.now)
        assert wish.settled
        return wish.outcome()

    def tell_of(self, messages: Any, act: Act = ACK) -> Settlement:
        """Sends nothing yet."""
        settlement = self.core.settlement(messages, act, self.wired.now)
        self.core.settler.add(settlement, self.wired.now)
        return settlement

    def settle(self, messages: Any, act: Act = ACK) -> Settlement:
        """Told, and answered if nobody disturbs it."""
        settlement = self.tell_of(messages, act)
        self.wired.run()
        return settlement

    def fault(self, messages: Any, act: Act = ACK) -> ShardMQError | None:
        settlement = self.settle(messages, act)
        assert settlement.settled
        return settlement.fault()


def bodies(messages: list[ReceivedMessage]) -> list[bytes]:
    return [message.body for message in messages]
