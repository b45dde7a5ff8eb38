"""Producer: sends messages, from any number of threads. A shell: all decisions are taken in
`produce/`, this file waits and wakes.

A lone `send` leaves at once, and its thread polls the socket itself until the receipt is there.
`send_async` only appends to a list; whoever fills the batch encodes and sends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from shardmq.actors.kernel.randomness import SystemRandomness
from shardmq.actors.protocol.messages import AckMode

from .closing import Closable
from .errors import BufferFull, ClosedError, SendUnknown, TimedOut
from .link.sharing import acquire, release
from .link.thread import run_callback
from .link.wire import now
from .message import size_of
from .produce.core import ProducerCore
from .produce.options import BUFFER_BYTES, checked_options
from .produce.pieces import Piece, pieces
from .produce.receipts import Parcel, Receipts, SendFuture, SendReceipt
from .times import Duration, ms_of

__all__ = ["Producer"]

_SLACK_MS = 2_000.0
"""Deadlines settle every message; who waits still longer has met a defect, and does not hang."""


class Producer(Closable):
    """Sends messages to a broker.

    Args:
        url: the broker, `tcp://host:port`; None for SHARDMQ_URL or the default.
        group: names this kind of producer.
        ack: when a send counts as done: "synced" (on disk), "written" (page cache), "none".
        timeout: for one message with all retries, in seconds; also how long a full buffer waits.
        linger: how long messages gather before they leave, in seconds.
        compression: None, "zstd" or "lz4", for each batch.
        buffer_bytes: bound on what is gathered and not acknowledged yet.

    Raises:
        InvalidArgument, NotSupported: an argument is not valid.
    """

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
        self._add = self._core.add
        with connection.lock:
            connection.members.add(self._core)
        self._closed = False

    # ------------------------------------------------------------------------------- sending

    def send(
        self, message: Any, *, timeout: Duration | None = None, queue_id: int | None = None
    ) -> SendReceipt:
        """Sends a message and waits for its receipt.

        Raises:
            InvalidArgument, MessageTooLarge, NotSupported: nothing was sent.
            SendFailed: certainly not stored (also as the class of the code: TopicNotFound, ...).
            SendUnknown: nobody answered in time; it may be stored.
        """
        timeout_ms = self._timeout_ms(timeout)
        self._check_open()
        if queue_id is None:
            with self._connection.lock:
                at = now()
                until_ms = at.mono_ms + timeout_ms
                parcel = self._core.send_alone(message, at, until_ms)
                if parcel is not None:
                    settled = self._connection.drive(
                        lambda: not parcel.open_parts, until_ms + _SLACK_MS, at
                    )
                    return _receipt(parcel, settled)
        future = self._take(message, queue_id, timeout_ms, urgent=True)
        if not self.wait_for(future.done, future.parcel, timeout_ms + _SLACK_MS):
            raise SendUnknown("the message was not settled by its deadline")
        return future.result()

    def send_async(self, message: Any, *, queue_id: int | None = None) -> SendFuture:
        """Hands a message over; a full buffer makes it wait for room up to the timeout.

        Raises:
            InvalidArgument, MessageTooLarge, NotSupported: nothing was sent.
            BufferFull: no room within the timeout.
        """
        try:
            with self._connection.lock:
                future = self._add(message, queue_id, self)
        except (AttributeError, TypeError):
            future = None
        if future is not None:
            return future
        return self._take(message, queue_id, self._core.options.timeout_ms)

    def send_oneway(self, message: Any, *, queue_id: int | None = None) -> None:
        """Hands a message over and forgets it: whether it is stored is not told.

        Raises:
            InvalidArgument, MessageTooLarge, NotSupported, BufferFull: as `send_async`.
        """
        self.send_async(message, queue_id=queue_id)

    def send_batch(
        self, messages: Iterable[Any], *, timeout: Duration | None = None
    ) -> Sequence[SendReceipt]:
        """Sends any number of messages and waits for their receipts (built when looked at).

        Messages are checked in pieces of a few thousand: a bad one is refused with its piece, and
        pieces before it may have been sent.

        Raises:
            InvalidArgument, MessageTooLarge, NotSupported: as `send`.
            SendFailed, SendUnknown: of some messages; `outcomes` of the error has, for each
                message, its receipt or its error.
        """
        timeout_ms = self._timeout_ms(timeout)
        runs: list[tuple[Parcel, int, int]] = []
        for piece in pieces(messages, self._core.parcel_bytes):
            parcel = self._take_piece(piece, timeout_ms)
            runs.append((parcel, 0, len(piece.columns.bodies)))
        receipts = Receipts(runs)
        if not self._connection.wait(receipts.settled, timeout_ms + _SLACK_MS):
            raise SendUnknown("the messages were not settled by their deadline")
        receipts.raise_faults()
        return receipts

    # ------------------------------------------------------------------------------- waiting

    def flush(self, timeout: Duration | None = None) -> None:
        """Sends what is gathered and waits until the fate of every message is known.

        Raises:
            TimedOut: not within `timeout`.
        """
        self._check_open()
        self._connection.run(self._core.flush)
        timeout_ms = None if timeout is None else ms_of(timeout, "timeout")
        if not self._connection.wait(lambda: self._core.idle, timeout_ms):
            raise TimedOut(f"messages were still on their way after {timeout} s")

    def close(self) -> None:
        """Flushes, then gives the connection back. May be called again."""
        if self._closed:
            return
        try:
            self._connection.run(self._core.flush)
            self._connection.wait(
                lambda: self._core.idle, self._core.options.timeout_ms + _SLACK_MS
            )
        finally:
            self._closed = True
            self._add = _closed_add
            with self._connection.lock:
                self._connection.members.discard(self._core)
            release(self._connection)

    def _detail(self) -> str:
        return f" group={self.group!r}"

    # ---------------------------------------------------------------- what futures call back

    def wait_for(self, done: Callable[[], bool], parcel: Parcel, timeout_ms: float | None) -> bool:
        """Waits until `done()`, after ending the linger of the parcel's topic."""
        if parcel.parts is None:
            self._connection.run(lambda now: self._core.urge(parcel.topic, now))
        return self._connection.wait(done, timeout_ms)

    def add_callback(self, future: SendFuture, call: Callable[[SendFuture], Any]) -> None:
        if self._closed and future.done():
            run_callback(partial(call, future))  # the connection's thread may be gone
            return
        with self._connection.lock:
            self._core.add_callback(future, call)

    # -------------------------------------------------------------------------------- inside

    def _take(
        self, message: Any, queue_id: int | None, timeout_ms: float, *, urgent: bool = False
    ) -> SendFuture:
        connection, core = self._connection, self._core
        until_ms = now().mono_ms + timeout_ms
        while True:
            self._check_open()
            with connection.lock:
                at = now()
                future = core.add_checked(message, queue_id, self, at)
                if future is not None:
                    if urgent:
                        # Who waits drives: the timers are its own business until it leaves.
                        core.limit(future.parcel, until_ms)
                        core.urge(message.topic, at)
                        return future
                    if connection.core.outbox:
                        connection.turn()
                    connection.arm()
                    return future
            room = partial(core.can_add, message.topic, size_of(message))
            self._wait_for_room(room, until_ms)

    def _take_piece(self, piece: Piece, timeout_ms: float) -> Parcel:
        connection, core = self._connection, self._core
        until_ms = now().mono_ms + timeout_ms
        waited = False
        while True:
            self._check_open()
            with connection.lock:
                at = now()
                fault = core.fault_of(piece.topic)
                if waited and fault is not None:
                    raise fault.error()
                parcel = core.add_sealed(piece.topic, piece.columns, piece.size, at, until_ms)
                connection.turn()
                if parcel is not None:
                    return parcel
            waited = True
            room = partial(core.can_add_sealed, piece.topic, piece.size)
            self._wait_for_room(room, until_ms)

    def _wait_for_room(self, has_room: Callable[[], bool], until_ms: float) -> None:
        if not self._connection.wait(has_room, max(0.0, until_ms - now().mono_ms)):
            bound = self._core.options.buffer_bytes
            raise BufferFull(f"the producer's buffer of {bound} bytes had no room in time")

    def _timeout_ms(self, timeout: Duration | None) -> float:
        return self._core.options.timeout_ms if timeout is None else ms_of(timeout, "timeout")


def _receipt(parcel: Parcel, settled: bool) -> SendReceipt:
    """Of the one message of a parcel."""
    if not settled:
        raise SendUnknown("the message was not settled by its deadline")
    outcome = parcel.outcome(0)
    if isinstance(outcome, SendReceipt):
        return outcome
    raise outcome


def _closed_add(message: Any, queue_id: int | None, owner: Any) -> None:
    raise ClosedError("producer")
