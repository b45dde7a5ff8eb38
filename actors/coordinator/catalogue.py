"""The catalogue: every topic there is, as a fold over the coordinator's journal.

Owns the topics by id and by name, and the counters behind ids and queue numbers. Knows no rules
(`topics.py`) and decides nothing (`coordinator.py`).

The state is cut into buckets by topic id, the number that a record carries as its queue. Whatever a
record changes lies in its own bucket: the counters, too, are kept as the highest id and queue
number that a bucket has seen, so that they survive the deletion of the topic that had them, and
nothing is ever given twice. Two topics of one name (deleted, created again) lie in two buckets that
may be restored in any order; the higher id is the one that exists.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ..kernel.ports import Record
from ..protocol.checksum import crc32c
from ..protocol.names import is_system
from .records import GROUP_BIT, Topic, TopicGone, TopicPut, decode_state

__all__ = ["BUCKETS", "STATE_KIND", "Catalogue"]

BUCKETS = 64
"""100,000 topics of 8 queues make slices of some 200 KB."""
SPENT_KEYS_MAX = 64
"""Request keys of deleted topics that a bucket remembers."""
STATE_KIND = 2
"""Kind of the records that carry decisions."""

_encode = msgspec.msgpack.Encoder().encode


class _Bucket:
    __slots__ = ("queue_max", "spent_keys", "topic_id_max", "topics")

    def __init__(self) -> None:
        self.topics: dict[int, Topic] = {}
        self.topic_id_max = 0
        self.queue_max = 0
        self.spent_keys: list[str] = []


class Catalogue:
    """Projection: the topics."""

    name = "catalogue"
    buckets = BUCKETS

    def __init__(self) -> None:
        self._buckets = [_Bucket() for _ in range(BUCKETS)]
        self._by_name: dict[str, Topic] = {}
        self._names: list[str] | None = None
        self.system_count = 0
        """How many of the topics are the system's."""

    # --- what the rules ask ------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._by_name)

    def named(self, name: str) -> Topic | None:
        """The topic of that name."""
        return self._by_name.get(name)

    def get(self, topic_id: int) -> Topic | None:
        """The topic of that id."""
        return self._buckets[topic_id % BUCKETS].topics.get(topic_id)

    def all(self) -> Iterable[Topic]:
        """Every topic, in no order that means anything."""
        return self._by_name.values()

    def names(self) -> list[str]:
        """All names, sorted. The list must not be changed."""
        if self._names is None:
            self._names = sorted(self._by_name)
        return self._names

    @property
    def next_topic_id(self) -> int:
        """Never given before; from 1."""
        return 1 + max(bucket.topic_id_max for bucket in self._buckets)

    @property
    def next_queue(self) -> int:
        """This number and all above it were never given; from 1."""
        return 1 + max(bucket.queue_max for bucket in self._buckets)

    def is_spent(self, request_key: str) -> bool:
        """A topic was created by the wish of that key, and deleted since."""
        return any(request_key in bucket.spent_keys for bucket in self._buckets)

    # --- the projection ----------------------------------------------------------------------

    def bucket_of(self, record: Record) -> int:
        is_topic = record.kind == STATE_KIND and not record.queue & GROUP_BIT
        return record.queue % BUCKETS if is_topic else -1

    def apply(self, record: Record) -> None:
        state = decode_state(record.payload)
        if isinstance(state, TopicPut):
            self._put(state.topic)
        elif isinstance(state, TopicGone):
            self._remove(state.topic_id)

    def snapshot(self, bucket: int) -> Any:
        held = self._buckets[bucket]
        if not held.topic_id_max:
            return None
        topics = [msgspec.to_builtins(held.topics[one]) for one in sorted(held.topics)]
        return [held.topic_id_max, held.queue_max, topics, list(held.spent_keys)]

    def restore(self, bucket: int, state: Any) -> None:
        for topic in self._buckets[bucket].topics.values():
            self._forget_name(topic)
        held = self._buckets[bucket] = _Bucket()
        topic_id_max, queue_max, topics, spent_keys = state
        for topic in msgspec.convert(topics, list[Topic]):
            self._put(topic)
        held.topic_id_max, held.queue_max, held.spent_keys = topic_id_max, queue_max, spent_keys

    def digest(self) -> int:
        states: list[Any] = [self.snapshot(bucket) for bucket in range(BUCKETS)]
        return crc32c(_encode(states))

    def _put(self, topic: Topic) -> None:
        held = self._buckets[topic.topic_id % BUCKETS]
        held.topics[topic.topic_id] = topic
        held.topic_id_max = max(held.topic_id_max, topic.topic_id)
        held.queue_max = max(held.queue_max, *(place.number for place in topic.places))
        known = self._by_name.get(topic.name)
        if known is None or known.topic_id <= topic.topic_id:
            if known is None:
                self._names = None
                self.system_count += is_system(topic.name)
            self._by_name[topic.name] = topic

    def _remove(self, topic_id: int) -> None:
        held = self._buckets[topic_id % BUCKETS]
        topic = held.topics.pop(topic_id, None)
        if topic is None:
            return
        self._forget_name(topic)
        if topic.request_key:
            held.spent_keys = [*held.spent_keys, topic.request_key][-SPENT_KEYS_MAX:]

    def _forget_name(self, topic: Topic) -> None:
        known = self._by_name.get(topic.name)
        if known is not None and known.topic_id == topic.topic_id:
            del self._by_name[topic.name]
            self._names = None
            self.system_count -= is_system(topic.name)
