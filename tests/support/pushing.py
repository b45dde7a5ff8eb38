"""A push consumer's pure part joined to a fake broker; the test is its workers and its clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shardmq.actors.protocol.group_messages import Start
from shardmq.actors.protocol.tags import TagFilter
from shardmq.client.consume.fetcher import Fetcher, FetcherOptions
from shardmq.client.group.options import GroupOptions, PushOptions
from shardmq.client.group.push import PushGroup
from shardmq.client.group.work import Listener, Work, run
from shardmq.client.received import ReceivedMessage

from .fake_groups import FakeGroups
from .reading import Consumer


class Pushed(Consumer):
    """A member with one listener for topic `t`, which notes what it is called with."""

    def __init__(
        self,
        listener: Callable[[Any], Any] | None = None,
        *,
        batch: int = 0,
        model: Any = "clustering",
        expression: str = "*",
        buffer_messages: int = 1 << 20,
        **options: Any,
    ) -> None:
        super().__init__()
        self.seen: list[ReceivedMessage] = []
        self.listener = listener
        self.news = 0
        fetching = FetcherOptions(1 << 20, 8 << 20, "earliest", buffer_messages)
        self.fetcher = Fetcher(self.wired.core, self.wired.routes, fetching)
        member = GroupOptions("g", "me", Start(at="earliest"), model=model)
        chosen = PushOptions(False, 3, 1_000.0, None)._replace(**options)
        self.group = PushGroup(
            self.fetcher,
            member,
            chosen,
            {"t": TagFilter(expression)},
            {"t": Listener(self._called, batch)},
        )

    def _called(self, given: Any) -> Any:
        self.seen += given if isinstance(given, list) else [given]
        return self.listener(given) if self.listener is not None else None

    def _news(self) -> None:
        self.news += 1

    @property
    def groups(self) -> FakeGroups:
        return self.wired.broker.groups

    @property
    def bodies(self) -> list[bytes]:
        return [message.body for message in self.seen]

    def number(self, queue_id: int) -> int:
        return self.route.queues[queue_id].number

    def floor(self, queue_id: int = 0) -> int:
        return self.groups.cursors[self.number(queue_id)].floor

    def ranges(self, queue_id: int = 0) -> list[tuple[int, int]]:
        return self.groups.cursors[self.number(queue_id)].ranges

    def start(self, *queue_ids: int) -> None:
        self.wired.broker.give("me", "t", *queue_ids)
        self.group.start(self._news, self.wired.now)
        self.wired.run()

    def tell(self) -> None:
        """Lets the broker answer whoever is parked."""
        for reply in self.wired.broker._woken():
            self.wired.core.receive(reply, self.wired.now)
        self.wired.run()

    def revoke(self, queue_id: int) -> None:
        self.groups.revoke("me", self.number(queue_id))
        self.tell()

    def take(self) -> Work | None:
        work = self.group.take(self.wired.now)
        self.wired.run()
        return work

    def taken(self) -> Work:
        work = self.take()
        assert work is not None, "there is something to do"
        return work

    def finish(self, work: Work) -> bool:
        needed = self.group.finish(work, self.wired.now)
        self.wired.run()
        return needed

    def work(self) -> None:
        """One worker, until there is nothing to do."""
        while True:
            work = self.take()
            if work is None:
                return
            run(work)
            self.finish(work)

    def commit(self) -> None:
        self.group.commit(self.wired.now)
        self.wired.run()
