"""Topics: what the coordinator has defined, as a fold over the journal.

Owns the definitions, by id and by name. Knows nothing of offsets or of what is served; a shard
keeps serving by them while the coordinator is down, and after a restart before it has spoken.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from shardmq.actors.kernel.ports import Record

from ..log.record import STATE
from .buckets import BUCKET_MASK, BUCKETS, digest_of
from .records import (
    TOPIC_DEFINED,
    TOPIC_DROPPED,
    TopicDefined,
    TopicDefinition,
    TopicDropped,
    decode_state,
    tag_of,
)

__all__ = ["Topics"]

_TAGS = (TOPIC_DEFINED, TOPIC_DROPPED)


class Topics:
    """Projection: topic id -> definition."""

    name = "topics"
    buckets = BUCKETS

    def __init__(self) -> None:
        self._buckets: list[dict[int, TopicDefinition]] = [{} for _ in range(BUCKETS)]
        self._by_name: dict[str, TopicDefinition] = {}

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    def get(self, topic_id: int) -> TopicDefinition | None:
        return self._buckets[topic_id & BUCKET_MASK].get(topic_id)

    def named(self, topic: str) -> TopicDefinition | None:
        """The topic of that name; of two, while one is being replaced, the newer."""
        return self._by_name.get(topic)

    def all(self) -> Iterable[TopicDefinition]:
        """Every definition, in no order that means anything."""
        for bucket in self._buckets:
            yield from bucket.values()

    def bucket_of(self, record: Record) -> int:
        if record.kind == STATE and tag_of(record.payload) in _TAGS:
            return record.queue & BUCKET_MASK
        return -1

    def apply(self, record: Record) -> None:
        state = decode_state(record.payload)
        if isinstance(state, TopicDefined):
            self._put(state.definition)
        elif isinstance(state, TopicDropped):
            self._remove(state.topic_id)

    def snapshot(self, bucket: int) -> Any:
        topics = self._buckets[bucket]
        return [msgspec.to_builtins(topics[one]) for one in sorted(topics)] or None

    def restore(self, bucket: int, state: Any) -> None:
        for topic_id in list(self._buckets[bucket]):
            self._remove(topic_id)
        for row in state:
            self._put(msgspec.convert(row, TopicDefinition))

    def digest(self) -> int:
        return digest_of(self)

    def _put(self, definition: TopicDefinition) -> None:
        self._buckets[definition.topic_id & BUCKET_MASK][definition.topic_id] = definition
        known = self._by_name.get(definition.topic)
        if known is None or known.topic_id <= definition.topic_id:
            self._by_name[definition.topic] = definition

    def _remove(self, topic_id: int) -> None:
        gone = self._buckets[topic_id & BUCKET_MASK].pop(topic_id, None)
        if gone is not None and self._by_name[gone.topic].topic_id == topic_id:
            del self._by_name[gone.topic]
