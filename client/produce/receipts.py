"""What a sender gets back: receipts, futures, and the parcels whose fate they look up.

    Parcel   messages of one topic that were sealed together, in the order they were given
    Part     the share of one queue: one batch, one answer
    SendFuture(parcel, index)   looks the answer up when asked; holds no lock and no event

One answer settles a part; nothing is done for each of its messages until somebody asks. A parcel's
`places` tell in which part a message is: dealt in turn (part i % n, row i // n), or by a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from shardmq.actors.protocol.batch import message_id

from ..errors import SendError, TimedOut, send_error
from ..times import Duration, datetime_of, ms_of

__all__ = [
    "EXPLICIT",
    "KEYED",
    "KEYLESS",
    "Parcel",
    "Part",
    "Receipts",
    "SendFault",
    "SendFuture",
    "SendReceipt",
]


class SendReceipt(msgspec.Struct, frozen=True, gc=False):
    """Proof that a message is stored, in the sense of the producer's ack mode."""

    message_id: str
    topic: str
    queue_id: int
    offset: int
    stored_at_ms: int
    duplicate: bool
    """An earlier attempt had stored it already: it is stored once all the same."""

    @property
    def stored_at(self) -> datetime:
        """The broker's clock when it stored the message."""
        return datetime_of(self.stored_at_ms)


class SendFault(NamedTuple):
    """Why a part, or a whole parcel, was not acknowledged."""

    code: int
    message: str
    hint: str = ""
    unknown: bool = False

    def error(self) -> SendError:
        """A new exception; each raise needs its own traceback."""
        return send_error(self.code, self.message, self.hint, unknown=self.unknown)


KEYLESS, KEYED, EXPLICIT = range(3)


class Part:
    """One queue's batch: what the wire carries, and what came of it."""

    __slots__ = (
        "attempts", "batch", "base_offset", "count", "deadline_ms", "duplicate", "fault",
        "first_sequence", "kind", "moved", "parcel", "queue", "settled", "stored_at_ms",
        "unknown", "version",
    )  # fmt: skip

    def __init__(self, parcel: Parcel, queue: Any, count: int) -> None:
        self.parcel = parcel
        self.queue = queue
        self.count = count
        self.batch = b""
        self.first_sequence = 0
        self.version = 0
        """Of the route that chose the queue by a key; 0: any queue would do."""
        self.kind = KEYLESS
        """What chose the queue."""
        self.deadline_ms = 0.0
        self.attempts = 0
        self.unknown = False
        """Some attempt went unanswered."""
        self.settled = False
        self.fault: SendFault | None = None
        self.base_offset = 0
        self.stored_at_ms = 0
        self.duplicate = False
        self.moved: list[tuple[Part, int]] | None = None
        """Where each row went, after the queue was closed and the part was dealt anew."""


class Parcel:
    """Messages of one topic that were sealed together."""

    __slots__ = (
        "bytes", "callbacks", "count", "fault", "open_parts", "parts", "places", "producer_id",
        "topic",
    )  # fmt: skip

    def __init__(self, topic: str, producer_id: int) -> None:
        self.topic = topic
        self.producer_id = producer_id
        self.count = 0
        self.bytes = 0
        self.parts: list[Part] | None = None
        """None until sealed."""
        self.places: list[tuple[int, int]] | None = None
        """Part and row of each message; None: dealt in turn."""
        self.open_parts = 0
        self.fault: SendFault | None = None
        """Of the whole parcel: it was never sealed."""
        self.callbacks: list[tuple[SendFuture, Callable[[SendFuture], Any]]] | None = None

    @property
    def settled(self) -> bool:
        """True once the fate of every message is known."""
        return self.fault is not None or (self.parts is not None and self.open_parts == 0)

    def place(self, index: int) -> tuple[Part, int]:
        """The part and the row of a message, followed to where it was moved."""
        assert self.parts is not None, "only a sealed parcel has places"
        if self.places is not None:
            number, row = self.places[index]
        else:
            row, number = divmod(index, len(self.parts))
        part = self.parts[number]
        while part.moved is not None:
            part, row = part.moved[row]
        return part, row

    def done(self, index: int) -> bool:
        if self.parts is None:
            return self.fault is not None
        return self.open_parts == 0 or self.place(index)[0].settled

    def outcome(self, index: int) -> SendReceipt | SendError:
        """The receipt, or the exception, of a message whose fate is known."""
        if self.fault is not None:
            return self.fault.error()
        part, row = self.place(index)
        if part.fault is not None:
            return part.fault.error()
        return SendReceipt(
            message_id(self.producer_id, part.first_sequence + row),
            self.topic,
            part.queue.queue_id,
            part.base_offset + row,
            part.stored_at_ms,
            part.duplicate,
        )


class SendFuture(msgspec.Struct, frozen=True, gc=False, eq=False):
    """The fate of one message, from `send_async`."""

    _parcel: Parcel
    _index: int
    _owner: Any
    """The producer, which waits."""

    def done(self) -> bool:
        """True once the message is acknowledged, refused or given up."""
        return self._parcel.done(self._index)

    def result(self, timeout: Duration | None = None) -> SendReceipt:
        """Waits for the receipt, at most `timeout`; the producer's own timeout ends it anyway.

        Raises:
            TimedOut: not known yet; the message is still on its way.
            SendFailed: certainly not stored.
            SendUnknown: it may be stored.
        """
        outcome = self._outcome(timeout)
        if isinstance(outcome, SendReceipt):
            return outcome
        raise outcome

    def exception(self, timeout: Duration | None = None) -> SendError | None:
        """The exception that `result` would raise, None if the message is stored.

        Raises:
            TimedOut: not known yet.
        """
        outcome = self._outcome(timeout)
        return None if isinstance(outcome, SendReceipt) else outcome

    def add_done_callback(self, call: Callable[[SendFuture], Any]) -> None:
        """Calls `call(self)` in the client's thread, once the fate of the message's whole batch is
        known; at once if it is already."""
        self._owner.add_callback(self, call)

    @property
    def parcel(self) -> Parcel:
        return self._parcel

    def outcome(self) -> SendReceipt | SendError:
        """The receipt or the exception, of a message that is `done`."""
        return self._parcel.outcome(self._index)

    def _outcome(self, timeout: Duration | None) -> SendReceipt | SendError:
        if not self._parcel.done(self._index):
            timeout_ms = None if timeout is None else ms_of(timeout, "timeout")
            if not self._owner.wait_for(self.done, self._parcel, timeout_ms):
                raise TimedOut(f"not acknowledged within {timeout} s, and still on its way")
        return self._parcel.outcome(self._index)

    def __repr__(self) -> str:
        state = "done" if self.done() else "pending"
        return f"<SendFuture {state} topic={self._parcel.topic!r}>"


class Receipts(Sequence[SendReceipt]):
    """Receipts of `send_batch`, in the order of its messages, each built when looked at."""

    def __init__(self, runs: Sequence[tuple[Parcel, int, int]]) -> None:
        self._runs = runs
        """Parcel, first index in it, and how many of this call follow there."""
        self._count = sum(count for _, _, count in runs)
        self._open = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(self._count))]
        at = index + self._count if index < 0 else index
        if not 0 <= at < self._count:
            raise IndexError(index)
        for parcel, first, count in self._runs:
            if at < count:
                return parcel.outcome(first + at)
            at -= count
        raise IndexError(index)

    def __iter__(self) -> Iterator[Any]:
        for parcel, first, count in self._runs:
            for index in range(first, first + count):
                yield parcel.outcome(index)

    def settled(self) -> bool:
        """True once the fate of all of them is known. Looks only at what was open last time."""
        runs = self._runs
        while self._open < len(runs) and runs[self._open][0].settled:
            self._open += 1
        return self._open == len(runs)

    def raise_faults(self) -> None:
        """Raises for the first message that is not stored, the doubtful ones first; `outcomes`
        of the error is this sequence."""
        faults = [fault for run in self._runs for fault in _faults_of(*run)]
        if faults:
            error = min(faults, key=lambda fault: not fault.unknown).error()
            error.outcomes = self
            raise error


def _faults_of(parcel: Parcel, first: int, count: int) -> Iterable[SendFault]:
    if parcel.fault is not None:
        return [parcel.fault]
    if not any(part.fault or part.moved for part in parcel.parts or ()):
        return ()
    places = map(parcel.place, range(first, first + count))
    return {part.fault: None for part, _ in places if part.fault is not None}
