"""Ports: the few small interfaces through which a core touches the world.

Owns the protocols and the plain values that cross them. Knows no implementation: production ones
live in the shells (`clock.py`, `shards.log`), manual and simulated ones in the tests.

A core is an object with `handle(letters, now) -> letters`. A letter is a plain tuple
`(link, peer, frames)`: `link` names the socket ("mailbox", "front", "shard-0", ...), `peer` is
the routing id when that socket has many peers (empty otherwise). Plain tuples, because one is
made for every request on the hot path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

Letter = tuple[str, bytes, list[Any]]
"""(link, peer, frames). Frames are bytes; payload frames in the router may be zmq frames."""


class Now(NamedTuple):
    """One reading of both clocks, taken once per turn of the loop."""

    mono_ms: float
    """Monotonic, for every timeout. Its zero means nothing."""
    wall_ms: int
    """Milliseconds since the epoch, for stamps and due times only."""


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> Now: ...


class Randomness(Protocol):
    """Where ids and jitter come from."""

    def u64(self) -> int: ...

    def uniform(self, low: float, high: float) -> float: ...


class Core(Protocol):
    """The pure part of an actor. One call handles everything that one turn of the loop drained."""

    @property
    def wake_at_ms(self) -> float | None:
        """Monotonic time at which `handle([], now)` wants to be called; None for never."""

    def handle(self, letters: Sequence[Letter], now: Now) -> list[Letter]: ...

    def link_changed(self, link: str, up: bool, now: Now) -> list[Letter]:
        """A DEALER link to another actor connected (`up`) or lost its peer."""

    def stop(self, now: Now) -> list[Letter]:
        """Stop accepting, and answer everybody who waits."""

    def drained(self) -> bool:
        """True once nothing that was accepted is still unanswered."""


class FrontCore(Core, Protocol):
    """A core with a front that wants to know when its peers' connections close."""

    def peers_gone(self, peers: Sequence[bytes], now: Now) -> list[Letter]:
        """The connections of `peers` closed. All that they sent was handed to `handle` before."""


class JournaledCore(Core, Protocol):
    """A core whose state is a fold over its journal."""

    def durable_advanced(self, now: Now) -> list[Letter]:
        """`journal.durable` moved: release what waited for it."""


class Record(Protocol):
    """One record of a journal, as a projection sees it, live and replayed alike."""

    @property
    def lsn(self) -> int: ...
    @property
    def kind(self) -> int: ...
    @property
    def queue(self) -> int: ...
    @property
    def base_offset(self) -> int: ...
    @property
    def stored_at_ms(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def length(self) -> int:
        """Of the whole record, prefix included, in bytes."""

    @property
    def count(self) -> int:
        """Offsets that a batch takes."""

    @property
    def payload(self) -> bytes:
        """A record batch, or the msgpack of a state record."""


class Projection(Protocol):
    """One part of an actor's state: a fold over its journal's records.

    State is cut into `buckets` (by queue number, or a single one), so that a snapshot can be
    written a slice at a time: a slice names its lsn, and on replay a record is applied to a
    bucket only if it lies at or above the lsn of the slice that restored that bucket.
    """

    name: str
    buckets: int

    def bucket_of(self, record: Record) -> int:
        """The bucket that `record` changes, -1 if it does not concern this projection."""

    def apply(self, record: Record) -> None: ...

    def snapshot(self, bucket: int) -> Any:
        """The bucket's state as plain msgpack-able values; None if empty."""

    def restore(self, bucket: int, state: Any) -> None: ...

    def digest(self) -> int:
        """A checksum of the whole state that does not depend on how it was reached."""


class Refusal(Enum):
    """Why a journal takes no more data just now."""

    BUSY = "unsynced bytes are at their bound"
    DISK_FULL = "the disk has no room"
    READ_ONLY = "damage below the durable lsn waits for the operator's decision"


class Job(Protocol):
    """Disk work that runs beside the loop (a sync, the next segment, a seal)."""

    def run(self) -> None:
        """May block; touches no state that the loop uses. An OSError here ends the process."""


class Journal(Protocol):
    """An append-only log of records: the only durable state there is.

    `append_*` only buffers and applies to the projections; `write` hands everything buffered to
    the disk in one call; the shell runs `begin_job`/`Job.run`/`finish_job` beside the loop.
    """

    @property
    def end(self) -> int:
        """Lsn behind the last appended record."""

    @property
    def durable(self) -> int:
        """All records below this lsn are synced."""

    @property
    def epoch(self) -> int: ...

    @property
    def wake_at_ms(self) -> float | None: ...

    def refusal(self, payload_bytes: int) -> Refusal | None:
        """Why `payload_bytes` more of user data would not be accepted now."""

    def append_batch(self, queue: int, base_offset: int, batch: bytes, now: Now) -> Record: ...

    def append_state(self, payload: bytes, now: Now, *, queue: int = 0) -> Record: ...

    def write(self) -> None: ...

    def begin_job(self, now: Now) -> Job | None:
        """The next piece of disk work, or None. At most one job is out at a time."""

    def finish_job(self, job: Job, now: Now) -> None: ...

    def tick(self, now: Now) -> None:
        """Marks, snapshot slices, retention: whatever is due, a bounded piece per call."""

    def close(self, now: Now) -> None:
        """Write, mark and sync everything, then release the directory."""


class Span(NamedTuple):
    """Where one record batch of a queue lies in the journal."""

    base_offset: int
    lsn: int
    length: int
    """Of the whole record, prefix included, in bytes."""
    count: int  # type: ignore[assignment]  # tuple.count is of no use here
    stored_at_ms: int


class QueueLog(Journal, Protocol):
    """A journal that can also find and read the batches of its queues.

    Attributes:
        drop_guard: asked with (base, end) before retention drops that stretch of the log; False
            holds it back.
    """

    drop_guard: Callable[[int, int], bool]

    def refusal_to_finish(self, payload_bytes: int) -> Refusal | None:
        """As `refusal`, for data that lets older data go: a disk that is getting full takes it
        for longer."""

    def spans(self, queue: int, offset: int, bytes_max: int, below_lsn: int) -> list[Span]:
        """Batches of `queue` from the one that holds `offset` on, in order: all that end at or
        below `below_lsn`, until `bytes_max` is reached (at least one if there is one)."""

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """The records at `spans`, adjacent ones joined into one read, as whole records."""

    def record(self, lsn: int) -> Record | None:
        """The record that begins at `lsn`, which must be durable; None if it is damaged."""

    def offset_at_time(self, queue: int, wall_ms: int, below_lsn: int) -> int | None:
        """Offset of the first batch stored at or after `wall_ms`; None if there is none."""

    def earliest(self, queue: int) -> int | None:
        """Offset of the oldest message of `queue` that is still stored, synced or not; None if
        none is. Retention moves it; what lies below is gone."""
