"""PullConsumer under asyncio: the core of the threaded one, awaited."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

from ..consume.fetcher import Fetcher
from ..consume.options import BUFFER_BYTES, FETCH_BYTES, OnOutOfRange, checked_consumer
from ..consume.positions import StartFrom, assigned, checked_start, positions_of
from ..consume.reader import Reader
from ..errors import ClosedError, InvalidArgument
from ..link.asking import Flow
from ..link.wire import now
from ..received import ReceivedMessage
from ..times import Duration, When, ms_of
from .link import acquire, release, run_flow

__all__ = ["PullConsumer"]

T = TypeVar("T")


class PullConsumer:
    """Reads the queues that `assign` names; arguments and errors as `shardmq.client.PullConsumer`.

    One task at a time may use a consumer.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        group: str | None = None,
        start_from: StartFrom = "earliest",
        on_out_of_range: OnOutOfRange = "error",
        fetch_bytes: int = FETCH_BYTES,
        buffer_bytes: int = BUFFER_BYTES,
        timeout: Duration = 10.0,
        credentials: Any = None,
    ) -> None:
        self._closed = True
        options = checked_consumer(group, on_out_of_range, fetch_bytes, buffer_bytes, credentials)
        self._start_from = checked_start(start_from)
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
        start = self._start_from if start_from is None else checked_start(start_from)
        cursors = await self._run(assigned(topic, queue_ids, start))
        self._reader.give_back()
        self._connection.run(lambda now: self._fetcher.assign(cursors, now))

    def assignment(self) -> list[tuple[str, int]]:
        """Topic and queue_id of every assigned queue."""
        return [(cursor.topic, cursor.queue.queue_id) for cursor in self._fetcher.cursors()]

    async def seek(self, topic: str, queue_id: int, offset: int) -> None:
        """The next message of this queue will be the one at `offset`."""
        self._check_open()
        if type(offset) is not int or offset < 0:
            raise InvalidArgument(f"an offset is a number from 0 on, not {offset!r}")
        cursor = self._reader.cursor(topic, queue_id)
        self._reader.give_back()
        self._connection.run(lambda now: self._fetcher.seek(cursor, offset, now))

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
        for cursor in self._reader.cursors(topic, queue_id):
            self._fetcher.resume(cursor, now())
        self._connection.turn()

    async def poll(
        self, timeout: Duration | None = 1.0, max_messages: int = 500
    ) -> list[ReceivedMessage]:
        """Up to `max_messages` messages; an empty list if none came within `timeout`."""
        if type(max_messages) is not int or max_messages < 1:
            raise InvalidArgument(f"max_messages is a number from 1 on, not {max_messages!r}")
        timeout_ms = None if timeout is None else ms_of(timeout, "timeout")
        self._reader.give_back()
        if not await self._wait(timeout_ms):
            return []
        messages = self._reader.collect(max_messages, now())
        self._connection.turn()
        return messages

    async def __aiter__(self) -> AsyncIterator[ReceivedMessage]:
        """Messages as they come, for ever (until `close`)."""
        reader = self._reader
        while not self._closed:
            reader.give_back()
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
        """Gives the connection back. May be called again, and ends an iteration."""
        if not self._closed:
            self._closed = True
            self._reader.current = None
            self._fetcher.close()
            self._connection.turn()
            release(self._connection)

    async def __aenter__(self) -> PullConsumer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return f"<aio.PullConsumer{' closed' if self._closed else ''}>"

    async def _wait(self, timeout_ms: float | None) -> bool:
        self._check_open()
        ready = await self._connection.wait(
            lambda: self._closed or self._fetcher.has_news, timeout_ms
        )
        return ready and not self._closed

    async def _seek_all(self, topic: str, start: StartFrom, queue_id: int | None) -> None:
        self._check_open()
        cursors = self._reader.cursors(topic, queue_id)
        offsets = await self._run(positions_of([cursor.queue for cursor in cursors], start))
        self._reader.give_back()
        for cursor, offset in zip(cursors, offsets, strict=True):
            self._fetcher.seek(cursor, offset, now())
        self._connection.turn()

    async def _run(self, flow: Flow[T]) -> T:
        self._check_open()
        return await run_flow(self._connection, flow, self._timeout_ms)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("consumer")
