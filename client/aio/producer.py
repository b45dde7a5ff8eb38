"""Producer under asyncio: the core of the threaded one, awaited."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from typing import Any

from shardmq.actors.kernel.randomness import SystemRandomness
from shardmq.actors.protocol.messages import AckMode

from ..closing import AsyncClosable
from ..errors import BufferFull, SendError, SendUnknown, TimedOut
from ..link.wire import now
from ..message import size_of
from ..produce.core import ProducerCore
from ..produce.options import BUFFER_BYTES, checked_options
from ..produce.pieces import Piece, pieces
from ..produce.receipts import Parcel, Receipts, SendFuture, SendReceipt
from ..times import Duration, ms_of
from .link import acquire, release

__all__ = ["PendingSend", "Producer"]

_SLACK_MS = 2_000.0


class PendingSend:
    """The fate of one message, from `send_async`: await it for the receipt."""

    __slots__ = ("_future", "_producer")

    def __init__(self, future: SendFuture, producer: Producer) -> None:
        self._future = future
        self._producer = producer

    def done(self) -> bool:
        """True once the message is acknowledged, refused or given up."""
        return self._future.done()

    def add_done_callback(self, call: Callable[[PendingSend], Any]) -> None:
        """Calls `call(self)` from the loop, once the fate of its whole batch is known."""
        self._producer.add_callback(self._future, lambda _: call(self))

    async def result(self, timeout: Duration | None = None) -> SendReceipt:
        """The receipt. Raises SendFailed, SendUnknown; TimedOut if not known within `timeout`."""
        outcome = await self._outcome(timeout)
        if isinstance(outcome, SendReceipt):
            return outcome
        raise outcome

    async def exception(self, timeout: Duration | None = None) -> SendError | None:
        """What `result` would raise, None if the message is stored."""
        outcome = await self._outcome(timeout)
        return None if isinstance(outcome, SendReceipt) else outcome

    def __await__(self) -> Generator[Any, None, SendReceipt]:
        return self.result().__await__()

    def __repr__(self) -> str:
        return f"<PendingSend {'done' if self.done() else 'pending'}>"

    async def _outcome(self, timeout: Duration | None) -> SendReceipt | SendError:
        if not self.done():
            timeout_ms = None if timeout is None else ms_of(timeout, "timeout")
            if not await self._producer.wait_for(self._future, timeout_ms):
                raise TimedOut(f"not acknowledged within {timeout} s, and still on its way")
        return self._future.outcome()


class Producer(AsyncClosable):
    """Sends messages to a broker; arguments and errors as `shardmq.client.Producer`."""

    _noun = "producer"

    def __init__(
        self,
        url: str | None = None,
        *,
        group: str = "default",
        ack: AckMode = "synced",
        timeout: Duration = 3.0,
        linger: Duration = 0.005,
        credentials: Any = None,
        compression: str | None = None,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        options = checked_options(
            group=group, ack=ack, timeout=timeout, linger=linger, credentials=credentials,
            compression=compression, buffer_bytes=buffer_bytes,
        )  # fmt: skip
        self.group = group
        self._connection = connection = acquire(url)
        self._core = ProducerCore(
            connection.core,
            connection.routes,
            options,
            SystemRandomness().u64(),
            connection.later,
        )
        self._closed = False

    async def send(
        self, message: Any, *, timeout: Duration | None = None, queue_id: int | None = None
    ) -> SendReceipt:
        """Sends a message and waits for its receipt. Raises as the threaded `send`."""
        timeout_ms = self._timeout_ms(timeout)
        future = await self._take(message, queue_id, timeout_ms, urgent=True)
        if not await self.wait_for(future, timeout_ms + _SLACK_MS):
            raise SendUnknown("the message was not settled by its deadline")
        outcome = future.outcome()
        if isinstance(outcome, SendReceipt):
            return outcome
        raise outcome

    async def send_async(self, message: Any, *, queue_id: int | None = None) -> PendingSend:
        """Hands a message over (waiting for room if the buffer is full); await the result for the
        receipt. Raises BufferFull if there was no room within the timeout."""
        timeout_ms = self._core.options.timeout_ms
        return PendingSend(await self._take(message, queue_id, timeout_ms), self)

    async def send_oneway(self, message: Any, *, queue_id: int | None = None) -> None:
        """Hands a message over and forgets it: whether it is stored is not told."""
        await self._take(message, queue_id, self._core.options.timeout_ms)

    async def send_batch(
        self, messages: Iterable[Any], *, timeout: Duration | None = None
    ) -> Sequence[SendReceipt]:
        """Sends any number of messages; receipts are built when looked at. Raises as the threaded
        `send_batch`."""
        timeout_ms = self._timeout_ms(timeout)
        runs: list[tuple[Parcel, int, int]] = []
        for piece in pieces(messages, self._core.parcel_bytes):
            parcel = await self._take_piece(piece, timeout_ms)
            runs.append((parcel, 0, len(piece.columns.bodies)))
        receipts = Receipts(runs)
        if not await self._connection.wait(receipts.settled, timeout_ms + _SLACK_MS):
            raise SendUnknown("the messages were not settled by their deadline")
        receipts.raise_faults()
        return receipts

    async def flush(self, timeout: Duration | None = None) -> None:
        """Sends what is gathered and waits until the fate of every message is known. Raises
        TimedOut."""
        self._check_open()
        self._connection.run(self._core.flush)
        timeout_ms = None if timeout is None else ms_of(timeout, "timeout")
        if not await self._connection.wait(lambda: self._core.idle, timeout_ms):
            raise TimedOut(f"messages were still on their way after {timeout} s")

    async def close(self) -> None:
        """Flushes, then gives the connection back. May be called again."""
        if self._closed:
            return
        self._closed = True
        try:
            self._connection.run(self._core.flush)
            timeout_ms = self._core.options.timeout_ms + _SLACK_MS
            await self._connection.wait(lambda: self._core.idle, timeout_ms)
        finally:
            release(self._connection)

    def _detail(self) -> str:
        return f" group={self.group!r}"

    async def wait_for(self, future: SendFuture, timeout_ms: float | None) -> bool:
        """Waits until the future is done, after ending the linger of its topic."""
        parcel = future.parcel
        if parcel.parts is None:
            self._connection.run(lambda now: self._core.urge(parcel.topic, now))
        return await self._connection.wait(future.done, timeout_ms)

    def add_callback(self, future: SendFuture, call: Callable[[SendFuture], Any]) -> None:
        self._core.add_callback(future, call)

    async def _take(
        self, message: Any, queue_id: int | None, timeout_ms: float, *, urgent: bool = False
    ) -> SendFuture:
        core = self._core
        until_ms = now().mono_ms + timeout_ms
        while True:
            self._check_open()
            at = now()
            future = core.add_checked(message, queue_id, self, at)
            if future is not None:
                if urgent:
                    core.limit(future.parcel, until_ms)
                    core.urge(message.topic, at)
                self._connection.turn()
                return future
            room = partial(core.can_add, message.topic, size_of(message))
            await self._wait_for_room(room, until_ms)

    async def _take_piece(self, piece: Piece, timeout_ms: float) -> Parcel:
        core = self._core
        until_ms = now().mono_ms + timeout_ms
        waited = False
        while True:
            self._check_open()
            fault = core.fault_of(piece.topic)
            if waited and fault is not None:
                raise fault.error()
            parcel = core.add_sealed(piece.topic, piece.columns, piece.size, now(), until_ms)
            self._connection.turn()
            if parcel is not None:
                return parcel
            waited = True
            room = partial(core.can_add_sealed, piece.topic, piece.size)
            await self._wait_for_room(room, until_ms)

    async def _wait_for_room(self, has_room: Callable[[], bool], until_ms: float) -> None:
        left_ms = max(0.0, until_ms - now().mono_ms)
        if not await self._connection.wait(has_room, left_ms):
            bound = self._core.options.buffer_bytes
            raise BufferFull(f"the producer's buffer of {bound} bytes had no room in time")

    def _timeout_ms(self, timeout: Duration | None) -> float:
        return self._core.options.timeout_ms if timeout is None else ms_of(timeout, "timeout")
