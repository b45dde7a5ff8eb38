"""Copies: single messages of stored batches, made into batches of the shard's own.

Owns what a copy keeps of its message, and what it says of itself. Knows no schedule beyond what an
entry says, no journal and no queue.

A copy keeps body, tag, keys, ordering key, the user's properties and the message's first id. The
system properties (`actors/protocol/retries.py`) of the message are taken over only from a copy in
a retry queue: anywhere else whoever stored it may have invented them. They come on top of the 32
KiB that a user may fill; no reader counts them, for what bounds a batch is its length and that of
its meta. Where a message fills those so well that the copy exceeds them, its failures' descriptions
are left out.

A message that is only carried on in the log stays as it is, with the system properties that its
copy may take over; so a copy of it says the same as one of the message where it lay before.

A batch has one born time, that of its first message, so copies share a batch only if they share it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from shardmq.actors.protocol.batch import (
    FLAG_COPIES,
    BatchError,
    BatchView,
    Columns,
    encode_batch,
    message_id,
    read_batch_header,
)
from shardmq.actors.protocol.compress import Compression
from shardmq.actors.protocol.retries import (
    ATTEMPT,
    CAUSE,
    DETAIL,
    HISTORY,
    HISTORY_CAUSE_CHARS,
    HISTORY_MAX,
    OFFSET,
    QUEUE,
    RETRY_PREFIX,
    TOPIC,
    without_system,
)

from .log.record import PREFIX_BYTES
from .state.records import EntryName, Scheduled, ScheduledEntry
from .state.schedule import DELIVER

__all__ = [
    "Copy",
    "StoredBatch",
    "attempt_of",
    "copy_of",
    "encode_copies",
    "same_of",
    "shortened",
]

_ROW_BYTES: Final = 8
"""For the length of a body and the index of a tag."""
_DESCRIPTIONS: Final = (CAUSE, DETAIL, HISTORY)

_T = TypeVar("_T")
_encode = msgspec.msgpack.Encoder().encode
_history_of = msgspec.json.Decoder(list[tuple[int, int, str]]).decode


class StoredBatch:
    """A stored batch, opened once for all of its messages that are wanted.

    Raises BatchError from any access that meets malformed content, as `BatchView`.
    """

    def __init__(self, record: bytes, base_offset: int) -> None:
        self.head = read_batch_header(record, PREFIX_BYTES)
        self._view = BatchView(record, self.head, PREFIX_BYTES)
        self._base_offset = base_offset
        self._columns: Columns | None = None
        self._properties: list[dict[str, str]] | None = None
        self._offsets: Sequence[int] | None = None

    @property
    def is_copy(self) -> bool:
        """True if a shard made it."""
        return self.head.flags & FLAG_COPIES != 0

    def index_of(self, offset: int) -> int:
        """Place of the message with that offset.

        Raises:
            BatchError: there is none.
        """
        if self._offsets is None:
            self._offsets = self._view.offset_deltas() or range(self.head.count)
        delta = offset - self._base_offset
        at = bisect_left(self._offsets, delta)
        if at == len(self._offsets) or self._offsets[at] != delta:
            raise BatchError(f"the batch holds no message with offset {offset}")
        return at

    def properties(self, index: int) -> dict[str, str]:
        """Properties of the message at that place, the system's included."""
        if self._properties is None:
            self._properties = self._view.properties() or []
        return self._properties[index] if self._properties else {}

    def columns(self) -> Columns:
        """All columns, decoded once."""
        if self._columns is None:
            view = self._view
            self._columns = Columns(
                view.bodies(), view.tags(), view.keys(), view.ordering_keys(),
                message_ids=view.message_ids(),
            )  # fmt: skip
        return self._columns


class Copy(NamedTuple):
    """One message, ready to be part of a batch."""

    body: bytes
    tag: str | None
    keys: Sequence[str]
    ordering_key: str | None
    properties: dict[str, str]
    message_id: str
    entry: EntryName
    """The entry that ends with the copy."""
    born_ms: tuple[int, int]
    """First and last born time of the message's batch."""
    codec: int
    """With which its body was compressed."""

    @property
    def bytes(self) -> int:
        """What it adds to a batch, uncompressed; never less than it does."""
        return len(self.body) + len(_encode(self[1:7])) + _ROW_BYTES


def attempt_of(topic: str, stored: StoredBatch, offset: int) -> int:
    """Which delivery of the message at `offset` of a queue of `topic` that offset is."""
    if not _is_retry(topic, stored):
        return 1
    return int(stored.properties(stored.index_of(offset)).get(ATTEMPT, "1"))


def copy_of(
    stored: StoredBatch, scheduled: Scheduled, entry: ScheduledEntry, name: EntryName,
    failed_at_ms: int, at_offset: int | None = None,
) -> Copy:  # fmt: skip
    """The copy of the message that `entry` of `scheduled`, stored at `failed_at_ms`, is about.

    Args:
        at_offset: where the stored batch has it, if it is not where it was when it failed.

    Raises:
        BatchError: the stored batch is malformed.
    """
    index = stored.index_of(entry.offset if at_offset is None else at_offset)
    before = stored.properties(index)
    properties = without_system(before)
    if scheduled.kind != DELIVER:
        if not _is_retry(scheduled.topic, stored):
            before = {}
        properties[TOPIC] = before.get(TOPIC, scheduled.topic)
        properties[QUEUE] = before.get(QUEUE, str(scheduled.queue_id))
        properties[OFFSET] = before.get(OFFSET, str(entry.offset))
        properties[ATTEMPT] = str(entry.attempt)
        properties[HISTORY] = _history(before, scheduled, entry, failed_at_ms)
        if scheduled.dead:
            properties[CAUSE] = entry.cause
            properties[DETAIL] = entry.detail
    return _row(stored, index, properties, name)


def same_of(stored: StoredBatch, scheduled: Scheduled, name: EntryName, at_offset: int) -> Copy:
    """The message at `at_offset`, to be carried on for an entry of `scheduled`.

    Raises:
        BatchError: the stored batch is malformed.
    """
    index = stored.index_of(at_offset)
    properties = stored.properties(index)
    if not _is_retry(scheduled.topic, stored):
        properties = without_system(properties)  # or it would be believed from now on
    return _row(stored, index, properties, name)


def _row(stored: StoredBatch, index: int, properties: dict[str, str], name: EntryName) -> Copy:
    columns, head = stored.columns(), stored.head
    ids = columns.message_ids
    return Copy(
        columns.bodies[index],
        columns.tags[index] if columns.tags else None,
        columns.keys[index] if columns.keys else (),
        columns.ordering_keys[index] if columns.ordering_keys else None,
        properties,
        ids[index] if ids else message_id(head.producer_id, head.first_sequence + index),
        name,
        (head.first_born_ms, head.last_born_ms),
        head.bodies_codec,
    )


def shortened(copy: Copy) -> Copy:
    """`copy` without the descriptions of its failures."""
    kept = {key: value for key, value in copy.properties.items() if key not in _DESCRIPTIONS}
    return copy._replace(properties=kept)


def encode_copies(copies: Sequence[Copy], *, ends: bool = True) -> bytes:
    """A batch of copies that share their born time.

    Args:
        ends: their entries end with it.

    Raises:
        BatchError: it would exceed the limits of a batch.
    """
    first_born_ms, last_born_ms = copies[0].born_ms
    assert all(one.born_ms == copies[0].born_ms for one in copies), "one born time a batch"
    return encode_batch(
        Columns(
            bodies=[one.body for one in copies],
            tags=_unless_default([one.tag for one in copies]),
            keys=_unless_default([one.keys for one in copies]),
            ordering_keys=_unless_default([one.ordering_key for one in copies]),
            properties=_unless_default([one.properties for one in copies]),
            message_ids=[one.message_id for one in copies],
            entries=[one.entry for one in copies] if ends else None,
        ),
        producer_id=0,
        first_sequence=0,
        first_born_ms=first_born_ms,
        last_born_ms=last_born_ms,
        compression=max((one.codec for one in copies), default=Compression.NONE),
    )


def _is_retry(topic: str, stored: StoredBatch) -> bool:
    return stored.is_copy and topic.startswith(RETRY_PREFIX)


def _history(
    before: dict[str, str], scheduled: Scheduled, entry: ScheduledEntry, failed_at_ms: int
) -> str:
    failed = entry.attempt if scheduled.dead else entry.attempt - 1
    rows: list[Any] = list(_history_of(before[HISTORY])) if HISTORY in before else []
    rows += [*entry.earlier, (failed, failed_at_ms, entry.cause[:HISTORY_CAUSE_CHARS])]
    return msgspec.json.encode(rows[-HISTORY_MAX:]).decode()


def _unless_default(column: list[_T]) -> list[_T] | None:
    return column if any(column) else None
