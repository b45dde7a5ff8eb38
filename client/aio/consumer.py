"""PullConsumer under asyncio: the core of the threaded one, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

from ..closing import AsyncClosable
from ..consume.fetcher import Fetcher
from ..consume.options import BUFFER_BYTES, FETCH_BYTES, OnOutOfRange, checked_consumer
from ..consume.positions import StartFrom, assigned, checked_start, positions_of
from ..consume.reader import Reader
from ..errors import InvalidArgument
from ..group.acks import Commit
from ..group.mode import Mode
from ..group.options import checked_group
from ..group.parting import Parting, warn_of
from ..group.pull import PullGroup
from ..groups import cursors_of
from ..link.asking import Flow
from ..link.wire import now
from ..naming import unique_name
from ..received import ReceivedMessage
from ..times import Duration, When, ms_of
from .link import acquire, release, run_flow

__all__ = ["PullConsumer"]

T = TypeVar("T")


class PullConsumer(AsyncClosable):
    """Reads the queues that `assign` names, or those that a group gives it; arguments and errors as
    `shardmq.client.PullConsumer`.

    One task at a time may use a consumer.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        group: str | None = None,
        start_from: StartFrom = "earliest",
        name: str | None = None,
        auto_commit: bool = True,
        commit_interval: Duration = 1.0,
        lease: Duration | None = None,
        strategy: str | None = None,
        on_out_of_range: OnOutOfRange = "error",
        fetch_bytes: int = FETCH_BYTES,
        buffer_bytes: int = BUFFER_BYTES,
        timeout: Duration = 10.0,
        credentials: Any = None,
    ) -> None:
        options = checked_consumer(on_out_of_range, fetch_bytes, buffer_bytes, credentials)
        self._start_from = checked_start(start_from)
        member = None
        if group is not None:
            member = checked_group(
                group, unique_name() if name is None else name, start_from,
                auto_commit=auto_commit, commit_interval=commit_interval, lease=lease,
                strategy=strategy,
            )  # fmt: skip
        self._mode = Mode(member)
        self._group: PullGroup | None = None
        self._timeout_ms = ms_of(timeout, "timeout")
        self._connection = connection = acquire(url)
        self._fetcher = Fetcher(connection.core, connection.routes, options)
        self._reader = Reader(self._fetcher)
        self._closed = False

    async def assign(
        self,
        topic: str,
        queue_ids: Sequence[int] | None = None,
        *,
        start_from: StartFrom | None = None,
    ) -> None:
        """Adds queues of a topic, None for all that can be read now."""
        self._mode.assigns()
        start = self._start_from if start_from is None else checked_start(start_from)
        cursors = await self._run(assigned(topic, queue_ids, start))
        self._reader.give_back()
        self._connection.run(lambda now: self._fetcher.assign(cursors, now))

    def subscribe(self, topic: str, expression: str = "*") -> None:
        """Wants the messages of a topic, all or those with one of the tags: "paid || shipped"."""
        self._check_open()
        self._mode.subscribes(topic, expression, started=self._group is not None)

    async def start(self) -> None:
        """Joins the group: returns once it has accepted this member, which then knows its queues
        and where they start. The first `poll` does the same; may be called again."""
        self._check_open()
        if self._group is not None:
            return
        member = self._mode.starts()
        self._group = group = PullGroup(self._reader, member, self._mode.subscriptions)
        self._connection.run(group.core.start)
        in_time = await self._connection.wait(lambda: group.core.settled, self._timeout_ms)
        error = group.core.fault_of_start(in_time)
        if error is not None:
            self._group = None
            self._connection.run(group.core.leave)
            group.core.close()
            raise error

    def assignment(self) -> list[tuple[str, int]]:
        """Topic and queue_id of every queue that is assigned by now."""
        self._check_open()
        return [(cursor.topic, cursor.queue.queue_id) for cursor in self._fetcher.cursors()]

    async def seek(self, topic: str, queue_id: int, offset: int) -> None:
        """The next message of this queue will be the one at `offset`."""
        await self._started()
        if type(offset) is not int or offset < 0:
            raise InvalidArgument(f"an offset is a number from 0 on, not {offset!r}")
        cursor = self._reader.cursor(topic, queue_id)
        self._reader.give_back()
        self._connection.run(lambda now: self._reader.seek(cursor, offset, now))

    async def seek_to_time(self, topic: str, when: When, *, queue_id: int | None = None) -> None:
        """Goes to the first batch stored at or after `when`, in one or all queues of a topic."""
        checked_start(when, "when")
        await self._seek_all(topic, when, queue_id)

    async def seek_to_beginning(self, topic: str, queue_id: int | None = None) -> None:
        """Goes to the first message that is still there."""
        await self._seek_all(topic, "earliest", queue_id)

    async def seek_to_end(self, topic: str, queue_id: int | None = None) -> None:
        """Goes behind the last message."""
        await self._seek_all(topic, "latest", queue_id)

    def position(self, topic: str, queue_id: int) -> int:
        """Offset of the next message of this queue to be delivered."""
        self._check_open()
        return self._reader.position(self._reader.cursor(topic, queue_id))

    def pause(self, topic: str, queue_id: int | None = None) -> None:
        """Delivers nothing of one or all queues of a topic until `resume`."""
        self._check_open()
        cursors = self._reader.cursors(topic, queue_id)
        self._reader.give_back()
        for cursor in cursors:
            self._fetcher.pause(cursor)

    def resume(self, topic: str, queue_id: int | None = None) -> None:
        """Goes on with what `pause` stopped."""
        self._check_open()
        self._fetcher.resume_all(self._reader.cursors(topic, queue_id), now())
        self._connection.turn()

    async def commit(self) -> None:
        """All that was handed out so far is done; durable when this returns."""
        await self._started()
        group = self._group
        if group is None:
            self._mode.starts()
            return
        commits: list[Commit] = []
        self._connection.run(lambda now: commits.append(group.commit(now)))
        await self._settle(commits[0])

    async def committed(self, topic: str, queue_id: int) -> int:
        """Offset from which the group would go on in a queue that this member holds."""
        await self._started()
        group = self._group
        if group is None:
            self._mode.starts()
            return 0
        queue = self._reader.cursor(topic, queue_id).queue
        flow = cursors_of(group.core.membership.group_id, [(queue.number, queue.shard)])
        return (await self._run(flow))[queue.number].floor

    async def poll(
        self, timeout: Duration | None = 1.0, max_messages: int = 500
    ) -> list[ReceivedMessage]:
        """Up to `max_messages` messages; an empty list if none came within `timeout`."""
        if type(max_messages) is not int or max_messages < 1:
            raise InvalidArgument(f"max_messages is a number from 1 on, not {max_messages!r}")
        timeout_ms = None if timeout is None else ms_of(timeout, "timeout")
        until_ms = None if timeout_ms is None else now().mono_ms + timeout_ms
        await self._started()
        self._come_back()
        while await self._wait(timeout_ms):
            messages = self._reader.collect(max_messages, now())
            self._connection.turn()
            if messages:
                return messages
            if until_ms is not None:
                timeout_ms = max(0.0, until_ms - now().mono_ms)
        return []

    async def __aiter__(self) -> AsyncIterator[ReceivedMessage]:
        """Messages as they come, for ever (until `close`)."""
        reader = self._reader
        await self._started()
        while not self._closed:
            self._come_back()
            if not await self._wait(None):
                return
            batch = reader.begin(now())
            if batch is None:
                continue
            for message in batch.messages:
                yield message
                if reader.current is not batch:
                    break
            else:
                reader.finish(batch, now())
                self._connection.turn()

    async def close(self) -> None:
        """Gives the connection back, after a last commit. May be called again, and ends an
        iteration."""
        await self._close(done=True)

    async def _close(self, *, done: bool) -> None:
        if not self._closed:
            self._closed = True
            try:
                await self._leave(done)
            finally:
                self._reader.current = None
                self._fetcher.close()
                self._connection.turn()
                release(self._connection)

    async def __aexit__(self, kind: object = None, *_: object) -> None:
        await self._close(done=kind is None)

    async def _started(self) -> None:
        self._check_open()
        if self._mode.options is not None and self._group is None:
            await self.start()

    async def _wait(self, timeout_ms: float | None) -> bool:
        self._check_open()
        group = self._group
        core = None if group is None else group.core
        fetcher = self._fetcher
        ready = await self._connection.wait(
            lambda: self._closed or fetcher.has_news or (core is not None and core.has_failed),
            timeout_ms,
        )
        if core is not None and core.error is not None and not self._closed:
            raise core.error
        return ready and not self._closed

    def _come_back(self) -> None:
        self._reader.give_back()
        if self._group is not None:
            self._group.came_back(now())
            self._connection.turn()

    async def _settle(self, commit: Commit) -> None:
        fault = commit.fault_of(
            await self._connection.wait(lambda: commit.settled, self._timeout_ms)
        )
        if fault is not None:
            raise fault

    async def _leave(self, done: bool) -> None:
        group, self._group = self._group, None
        if group is None:
            return
        connection, core = self._connection, group.core
        parting = Parting(connection.core, now())
        try:
            commit = group.closing(now(), done=done)
            connection.turn()
            await connection.wait(parting.unless_alone(lambda: commit.settled), self._timeout_ms)
            commit.warn()
            connection.run(core.leave)
            gone = parting.unless_alone(lambda: core.membership.has_left)
            await connection.wait(gone, self._timeout_ms)
            warn_of(core.options.group, left=core.membership.has_left)
        finally:
            parting.end()
            core.leave(now())  # perhaps somebody cancelled the wait
            core.close()

    async def _seek_all(self, topic: str, start: StartFrom, queue_id: int | None) -> None:
        await self._started()
        cursors = self._reader.cursors(topic, queue_id)
        offsets = await self._run(positions_of([cursor.queue for cursor in cursors], start))
        self._reader.give_back()
        self._reader.seek_all(list(zip(cursors, offsets, strict=True)), now())
        self._connection.turn()

    async def _run(self, flow: Flow[T]) -> T:
        self._check_open()
        return await run_flow(self._connection, flow, self._timeout_ms)
