"""A fetcher and a reader joined to a fake broker, as a consumer has them; on a manual clock."""

from __future__ import annotations

from typing import Any

from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.group_messages import Start
from shardmq.actors.protocol.messages import Fetch
from shardmq.actors.protocol.tags import TagFilter
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import Message
from shardmq.client.consume.cursor import Cursor
from shardmq.client.consume.fetcher import Fetcher, FetcherOptions
from shardmq.client.consume.reader import Reader
from shardmq.client.group.acks import Commit
from shardmq.client.group.options import GroupOptions
from shardmq.client.group.pull import PullGroup

from .clients import Wired
from .fake_groups import FakeGroups


class Consumer:
    """A fetcher joined to a fake broker that holds a topic."""

    def __init__(self, *, queues: int = 4, shards: int = 2, **options: Any) -> None:
        self.wired = Wired()
        self.wired.broker.shards = shards
        self.route = self.wired.broker.create("t", queues)
        chosen = FetcherOptions(1 << 20, 8 << 20, "error")._replace(**options)
        self.fetcher = Fetcher(self.wired.core, self.wired.routes, chosen)
        self.reader = Reader(self.fetcher)
        self.producer = self.wired.producer()

    def store(self, *bodies: bytes, queue_id: int = 0, tag: str | None = None) -> None:
        """One batch."""
        for body in bodies:
            self.producer.add_checked(Message("t", body, tag=tag), queue_id, None, self.wired.now)
        self.wired.run()
        self.producer.flush(self.wired.now)
        self.wired.run()

    def assign(self, *queue_ids: int, offset: int = 0) -> None:
        rows = [self.route.queues[queue_id] for queue_id in queue_ids]
        self.fetcher.assign([Cursor("t", row, offset) for row in rows], self.wired.now)
        self.wired.run()

    def read(self, messages_max: int = 100) -> list[bytes]:
        messages = self.reader.collect(messages_max, self.wired.now)
        self.wired.run()
        return [message.body for message in messages]

    def fetches(self) -> list[Fetch]:
        return [
            decode_header(header, Fetch)
            for route, header, _ in self.wired.broker.seen
            if route.verb == Verb.FETCH
        ]

    def cursor(self, queue_id: int) -> Cursor:
        return self.reader.cursor("t", queue_id)


class Member(Consumer):
    """The same as a member of a group that subscribed to topic `t`."""

    def __init__(self, expression: str = "*", **options: Any) -> None:
        super().__init__()
        chosen = GroupOptions("g", "me", Start(at="earliest"))._replace(**options)
        self.group = PullGroup(self.reader, chosen, {"t": TagFilter(expression)})

    @property
    def groups(self) -> FakeGroups:
        return self.wired.broker.groups

    def number(self, queue_id: int) -> int:
        return self.route.queues[queue_id].number

    def give(self, *queue_ids: int) -> None:
        self.wired.broker.give("me", "t", *queue_ids)
        self.tell()

    def revoke(self, queue_id: int) -> None:
        self.groups.revoke("me", self.number(queue_id))
        self.tell()

    def tell(self) -> None:
        """Lets the broker answer whoever is parked."""
        for reply in self.wired.broker._woken():
            self.wired.core.receive(reply, self.wired.now)
        self.wired.run()

    def start(self, *queue_ids: int) -> None:
        self.wired.broker.give("me", "t", *queue_ids)
        self.group.core.start(self.wired.now)
        self.wired.run()

    def poll(self, messages_max: int = 100) -> list[bytes]:
        self.group.came_back(self.wired.now)
        return self.read(messages_max)

    def commit(self) -> Commit:
        commit = self.group.commit(self.wired.now)
        self.wired.run()
        return commit

    def floor(self, queue_id: int) -> int:
        """As the shard knows it."""
        return self.groups.cursors[self.number(queue_id)].floor
