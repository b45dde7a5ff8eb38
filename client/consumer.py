"""PullConsumer: reads queues that the user names. A shell: what to fetch, and what an answer means,
is decided in `consume/`.

One thread at a time may use a consumer. While it works on what it got, the connection's thread
keeps the next fetch in flight.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from .consume.cursor import Cursor
from .consume.fetcher import Fetcher
from .consume.options import BUFFER_BYTES, FETCH_BYTES, OnOutOfRange, checked_consumer
from .consume.positions import StartFrom, assigned, checked_start, positions_of
from .consume.reader import Reader
from .errors import ClosedError, InvalidArgument
from .link.asking import Flow
from .link.flows import run_flow
from .link.sharing import acquire, release
from .link.wire import now
from .received import ReceivedMessage
from .times import Duration, When, ms_of

__all__ = ["PullConsumer"]

T = TypeVar("T")


class PullConsumer:
    """Reads the queues that `assign` names, from where `start_from` or a seek says.

    Args:
        url: the broker, `tcp://host:port`; None for SHARDMQ_URL or the default.
        group: must be None for now.
        start_from: "earliest", "latest", or a time (datetime, or seconds since the epoch).
        on_out_of_range: what to do when messages were deleted before they were read: "error"
            raises OffsetOutOfRange, "earliest" and "latest" go on there.
        fetch_bytes: credit of one request to a shard.
        buffer_bytes: nothing more is fetched while so much waits to be read.
        timeout: for requests other than reading, in seconds.

    Raises:
        InvalidArgument, NotSupported: an argument is not valid.
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

    # ----------------------------------------------------------------------------- assignment

    def assign(
        self,
        topic: str,
        queue_ids: Sequence[int] | None = None,
        *,
        start_from: StartFrom | None = None,
    ) -> None:
        """Adds queues of a topic, None for all that can be read now.

        Raises:
            TopicNotFound, InvalidArgument: no such topic or queue.
        """
        start = self._start_from if start_from is None else checked_start(start_from)
        cursors = self._run(assigned(topic, queue_ids, start))
        self._give_back()
        self._connection.run(lambda now: self._fetcher.assign(cursors, now))

    def assignment(self) -> list[tuple[str, int]]:
        """Topic and queue_id of every assigned queue."""
        return [(cursor.topic, cursor.queue.queue_id) for cursor in self._fetcher.cursors()]

    def seek(self, topic: str, queue_id: int, offset: int) -> None:
        """The next message of this queue will be the one at `offset`.

        Raises:
            InvalidArgument: the queue is not assigned, or the offset is negative.
        """
        if type(offset) is not int or offset < 0:
            raise InvalidArgument(f"an offset is a number from 0 on, not {offset!r}")
        (cursor,) = self._cursors(topic, queue_id)
        self._give_back()
        self._connection.run(lambda now: self._fetcher.seek(cursor, offset, now))

    def seek_to_time(self, topic: str, when: When, *, queue_id: int | None = None) -> None:
        """Goes to the first batch stored at or after `when`, in one or all queues of a topic."""
        checked_start(when, "when")
        self._seek_all(topic, when, queue_id)

    def seek_to_beginning(self, topic: str, queue_id: int | None = None) -> None:
        """Goes to the first message that is still there."""
        self._seek_all(topic, "earliest", queue_id)

    def seek_to_end(self, topic: str, queue_id: int | None = None) -> None:
        """Goes behind the last message."""
        self._seek_all(topic, "latest", queue_id)

    def position(self, topic: str, queue_id: int) -> int:
        """Offset of the next message of this queue to be delivered."""
        self._check_open()
        return self._reader.position(self._reader.cursor(topic, queue_id))

    def pause(self, topic: str, queue_id: int | None = None) -> None:
        """Delivers nothing of one or all queues of a topic until `resume`."""
        cursors = self._cursors(topic, queue_id)
        self._give_back()
        with self._connection.lock:
            for cursor in cursors:
                self._fetcher.pause(cursor)

    def resume(self, topic: str, queue_id: int | None = None) -> None:
        """Goes on with what `pause` stopped."""
        for cursor in self._cursors(topic, queue_id):
            self._connection.run(partial(self._fetcher.resume, cursor))

    # -------------------------------------------------------------------------------- reading

    def poll(
        self, timeout: Duration | None = 1.0, max_messages: int = 500
    ) -> list[ReceivedMessage]:
        """Up to `max_messages` messages; an empty list if none came within `timeout`.

        Raises:
            DamagedRecord: a record could not be read; the next call goes on behind it.
            OffsetOutOfRange: messages were deleted before they were read; seek.
            RemoteError: the topic is gone, or the broker refuses.
        """
        if type(max_messages) is not int or max_messages < 1:
            raise InvalidArgument(f"max_messages is a number from 1 on, not {max_messages!r}")
        timeout_ms = None if timeout is None else ms_of(timeout, "timeout")
        self._give_back()
        if not self._wait(timeout_ms):
            return []
        with self._connection.lock:
            messages = self._reader.collect(max_messages, now())
        self._send_fetches()
        return messages

    def __iter__(self) -> Iterator[ReceivedMessage]:
        """Messages as they come, for ever (until `close`). Raises as `poll` does."""
        reader = self._reader
        while not self._closed:
            self._give_back()
            if not self._wait(None):
                return
            with self._connection.lock:
                batch = reader.begin(now())
            if batch is None:
                continue
            for message in batch.messages:
                yield message
                if reader.current is not batch:
                    break
            else:
                with self._connection.lock:
                    reader.finish(batch, now())
                self._send_fetches()

    # --------------------------------------------------------------------------------- ending

    def close(self) -> None:
        """Gives the connection back. May be called again, and ends an iteration."""
        if not self._closed:
            self._closed = True
            with self._connection.lock:
                self._reader.current = None
                self._fetcher.close()
                self._connection.turn()
            release(self._connection)

    def __enter__(self) -> PullConsumer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return f"<PullConsumer{' closed' if self._closed else ''}>"

    # --------------------------------------------------------------------------------- inside

    def _wait(self, timeout_ms: float | None) -> bool:
        """True if there is something to deliver or to raise."""
        self._check_open()
        ready = self._connection.wait(lambda: self._closed or self._fetcher.has_news, timeout_ms)
        return ready and not self._closed

    def _send_fetches(self) -> None:
        with self._connection.lock:
            if self._connection.core.outbox:
                self._connection.turn()
                self._connection.arm()

    def _give_back(self) -> None:
        if self._reader.current is not None:
            with self._connection.lock:
                self._reader.give_back()

    def _seek_all(self, topic: str, start: StartFrom, queue_id: int | None) -> None:
        cursors = self._cursors(topic, queue_id)
        offsets = self._run(positions_of([cursor.queue for cursor in cursors], start))
        self._give_back()
        for cursor, offset in zip(cursors, offsets, strict=True):
            with self._connection.lock:
                self._fetcher.seek(cursor, offset, now())
        self._send_fetches()

    def _cursors(self, topic: str, queue_id: int | None) -> list[Cursor]:
        self._check_open()
        return self._reader.cursors(topic, queue_id)

    def _run(self, flow: Flow[T]) -> T:
        self._check_open()
        return run_flow(self._connection, flow, self._timeout_ms)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("consumer")
