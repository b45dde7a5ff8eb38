"""Producers: the last batch of every producer on every queue, as a fold over the journal.

Owns the table that makes a retry safe. Knows nothing of replies or of the disk.

A producer is 64 random bits of the client; its sequence counts its messages and rises on each queue
(gaps are legal, for its messages go to many queues). A client has one batch in flight per queue and
retries it with the same bytes to the same queue, so the last batch is all that must be known:

    first sequence of a batch     verdict
    above the last message        new: append
    equal to the last batch       the same (count and crc agree): its first receipt again
    anything else                 stale: refuse, nothing is stored

Entries lie in the order of their last change. They leave from the front of a bucket, by a record
that says how many, so that live and replayed tables agree whatever the clocks did.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import Any

import msgspec

from shardmq.actors.kernel.ports import Record
from shardmq.actors.protocol.batch import BATCH_HEADER_BYTES, FLAG_COPIES

from ..log.record import BATCH, STATE
from .buckets import BUCKET_MASK, BUCKETS, digest_of
from .records import (
    PRODUCERS_FORGOTTEN,
    QUEUES_DROPPED,
    ProducersForgotten,
    QueuesDropped,
    decode_state,
    tag_of,
)

__all__ = ["ProducerEntry", "Producers"]

_TAGS = (QUEUES_DROPPED, PRODUCERS_FORGOTTEN)
_BATCH = struct.Struct("<I3xBI4xQQ")
"""crc, flags, count, producer id and first sequence of a batch, from its byte 8 on."""


class ProducerEntry(msgspec.Struct, gc=False):
    """The last batch of one producer on one queue."""

    first_sequence: int
    count: int
    crc: int
    base_offset: int
    stored_at_ms: int
    lsn_end: int = 0
    """Lsn behind its record. No state: after a restart everything is durable."""


class Producers:
    """Projection: (producer id, queue) -> last batch."""

    name = "producers"
    buckets = BUCKETS

    def __init__(self) -> None:
        self._buckets: list[dict[tuple[int, int], ProducerEntry]] = [{} for _ in range(BUCKETS)]
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def get(self, producer_id: int, queue: int) -> ProducerEntry | None:
        return self._buckets[queue & BUCKET_MASK].get((producer_id, queue))

    def silent(self, bucket: int, before_ms: int, count_max: int) -> int:
        """How many entries at the front of `bucket` were stored before `before_ms` (wall)."""
        count = 0
        for entry in islice(self._buckets[bucket].values(), count_max):
            if entry.stored_at_ms >= before_ms:
                break
            count += 1
        return count

    def bucket_of(self, record: Record) -> int:
        kind = record.kind
        if kind == BATCH or (kind == STATE and tag_of(record.payload) in _TAGS):
            return record.queue & BUCKET_MASK
        return -1

    def apply(self, record: Record) -> None:
        if record.kind != BATCH:
            self._apply_state(record)
            return
        payload, queue = record.payload, record.queue
        assert len(payload) >= BATCH_HEADER_BYTES, "the log replays sound batches only"
        crc, flags, count, producer_id, first_sequence = _BATCH.unpack_from(payload, 8)
        if flags & FLAG_COPIES:
            return  # the broker's own: its messages keep the ids that their producers gave them
        bucket = self._buckets[queue & BUCKET_MASK]
        key = (producer_id, queue)
        if bucket.pop(key, None) is None:
            self._size += 1
        bucket[key] = ProducerEntry(
            first_sequence, count, crc, record.base_offset, record.stored_at_ms,
            record.lsn + record.length,
        )  # fmt: skip

    def _apply_state(self, record: Record) -> None:
        state = decode_state(record.payload)
        bucket = self._buckets[record.queue & BUCKET_MASK]
        if isinstance(state, ProducersForgotten):
            gone = list(islice(bucket, state.count))
        else:
            assert isinstance(state, QueuesDropped)
            dropped = set(state.queues)
            gone = [key for key in bucket if key[1] in dropped]
        for key in gone:
            del bucket[key]
        self._size -= len(gone)

    def snapshot(self, bucket: int) -> Any:
        rows = [
            [producer_id, queue, entry.first_sequence, entry.count, entry.crc, entry.base_offset,
             entry.stored_at_ms]
            for (producer_id, queue), entry in self._buckets[bucket].items()
        ]  # fmt: skip
        return rows or None

    def restore(self, bucket: int, state: Any) -> None:
        self._size -= len(self._buckets[bucket])
        self._buckets[bucket] = {
            (producer_id, queue): ProducerEntry(*rest) for producer_id, queue, *rest in state
        }
        self._size += len(self._buckets[bucket])

    def digest(self) -> int:
        return digest_of(self)
