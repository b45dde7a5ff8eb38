"""Producer room: keeps the table of producers below its bound.

Owns when an entry may go. Knows nothing of requests; how an entry goes is a state record's matter
(`state/producers.py`).

An entry is kept for 24 hours. If the table is full before that, entries that were silent for longer
than any retry can last make room, oldest of a bucket first; if all are younger, a new producer is
refused, because forgetting a young one could store its retry twice.

Age is the difference of two wall stamps, so a clock that jumps ahead would age everybody at once.
Therefore "now" is the lower of the wall clock and of where the wall clock would be had it walked
with the monotonic one since the shard started. What the wall clock did while the shard was down, or
before, nobody knows: so nothing is forgotten until the shard has been up for longer than any retry
of an entry that it found can last.
"""

from __future__ import annotations

from shardmq.actors.kernel.ports import Now, QueueLog
from shardmq.actors.protocol.limits import DEADLINE_MS_MAX

from .state.buckets import BUCKETS
from .state.producers import Producers
from .state.records import ProducersForgotten, encode_state

__all__ = ["PRODUCERS_MAX", "PRODUCER_KEPT_MS", "PRODUCER_YOUNG_MS", "ProducerRoom"]

PRODUCERS_MAX = 65_536
"""(producer, queue) pairs of one shard, about 20 MB."""
PRODUCER_KEPT_MS = 24 * 3_600_000
PRODUCER_YOUNG_MS = DEADLINE_MS_MAX + 300_000
"""Below this age an entry stays, whatever happens: a retry lasts as long as a deadline at most."""
FORGET_COUNT_MAX = 256
"""Entries that one record forgets."""
RETRY_MS = 1_000
"""A table full of young entries is not searched more often."""

assert PRODUCER_YOUNG_MS > DEADLINE_MS_MAX


class ProducerRoom:
    """Decides which producers are forgotten."""

    def __init__(self, journal: QueueLog, producers: Producers, producers_max: int) -> None:
        self._journal = journal
        self._producers = producers
        self._max = producers_max
        self._bucket = 0
        self._full_until_ms = float("-inf")
        self._started: Now | None = None

    def make(self, count: int, now: Now) -> bool:
        """True if there is, or could be made, room for `count` new entries."""
        if len(self._producers) + count <= self._max:
            return True
        if now.mono_ms < self._full_until_ms:
            return False
        before_ms = self._wall_ms(now) - PRODUCER_YOUNG_MS
        if not self._may_forget(now):
            return False
        for _ in range(BUCKETS):
            self._bucket = (self._bucket + 1) % BUCKETS
            self._forget(self._bucket, before_ms, now)
            if len(self._producers) + count <= self._max:
                return True
        self._full_until_ms = now.mono_ms + RETRY_MS
        return False

    def expire(self, now: Now) -> None:
        """Forget, in the next bucket, entries past their 24 hours."""
        self._bucket = (self._bucket + 1) % BUCKETS
        before_ms = self._wall_ms(now) - PRODUCER_KEPT_MS
        if self._may_forget(now):
            self._forget(self._bucket, before_ms, now)

    def _may_forget(self, now: Now) -> bool:
        """False while retries of what the shard found at its start may still come."""
        assert self._started is not None, "`_wall_ms` notes the start"
        return now.mono_ms - self._started.mono_ms >= PRODUCER_YOUNG_MS

    def _forget(self, bucket: int, before_ms: int, now: Now) -> None:
        count = self._producers.silent(bucket, before_ms, FORGET_COUNT_MAX)
        if count:
            record = encode_state(ProducersForgotten(count))
            self._journal.append_state(record, now, queue=bucket)

    def _wall_ms(self, now: Now) -> int:
        if self._started is None:
            self._started = now
        walked = self._started.wall_ms + int(now.mono_ms - self._started.mono_ms)
        return min(now.wall_ms, walked)
