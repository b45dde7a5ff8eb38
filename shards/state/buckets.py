"""Buckets: how the state of a shard is cut so that a snapshot can be written a slice at a time.

Owns the cut and the digest over it. Knows no projection.

What belongs to a queue lies in the bucket `queue number % 64`, what belongs to a topic in
`topic id % 64`. A state record changes one bucket of one projection only, or a replay that starts
between two slices could apply half of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from shardmq.actors.kernel.ports import Projection
from shardmq.actors.protocol.checksum import crc32c

__all__ = ["BUCKETS", "BUCKET_MASK", "digest_of", "numbers_by_bucket"]

BUCKETS: Final = 64
"""65,536 producers or 10,000 queues make slices of some tens of kilobytes."""
BUCKET_MASK: Final = BUCKETS - 1
assert BUCKETS & BUCKET_MASK == 0, "the bucket is the number's low bits"

_encode = msgspec.msgpack.Encoder().encode


def digest_of(projection: Projection) -> int:
    """Checksum over all buckets; their snapshots are in an order that only the records decide."""
    states: list[Any] = [projection.snapshot(bucket) for bucket in range(projection.buckets)]
    return crc32c(_encode(states))


def numbers_by_bucket(numbers: Iterable[int]) -> dict[int, list[int]]:
    """Queue numbers, sorted, by their bucket."""
    found: dict[int, list[int]] = {}
    for number in sorted(numbers):
        found.setdefault(number & BUCKET_MASK, []).append(number)
    return found
