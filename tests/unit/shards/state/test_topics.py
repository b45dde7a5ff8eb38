"""Topics: definitions by id and by name as records come."""

from __future__ import annotations

from shardmq.shards.log.record import BATCH, STATE, LogRecord
from shardmq.shards.state.records import (
    QueuePlace,
    QueuesDropped,
    StateRecord,
    TopicDefined,
    TopicDefinition,
    TopicDropped,
    encode_state,
)
from shardmq.shards.state.topics import Topics


def state(number: int, one: StateRecord) -> LogRecord:
    payload = encode_state(one)
    return LogRecord(0, STATE, number, 0, 0, 0, payload, 64 + len(payload), 0, 0)


def definition(topic_id: int, name: str, version: int = 1) -> TopicDefinition:
    places = [QueuePlace(0, 10 * topic_id, 0)]
    return TopicDefinition(name, topic_id, version, version, 0, 0, [0], places)


def define(topics: Topics, one: TopicDefinition) -> None:
    topics.apply(state(one.topic_id, TopicDefined(one)))


def test_a_definition_is_found_by_id_and_by_name() -> None:
    topics = Topics()
    define(topics, definition(3, "a"))
    define(topics, definition(3, "a", version=2))
    found = topics.get(3)
    assert found == topics.named("a") == definition(3, "a", version=2)
    assert len(topics) == 1
    assert topics.get(4) is None
    assert topics.named("b") is None


def test_a_dropped_topic_is_gone() -> None:
    topics = Topics()
    define(topics, definition(3, "a"))
    topics.apply(state(3, TopicDropped(3)))
    topics.apply(state(3, TopicDropped(3)))
    assert len(topics) == 0
    assert topics.named("a") is None


def test_a_name_belongs_to_the_newer_topic_while_the_older_goes() -> None:
    topics = Topics()
    define(topics, definition(3, "a"))
    define(topics, definition(4, "a"))
    topics.apply(state(3, TopicDropped(3)))
    assert topics.named("a") == definition(4, "a")


def test_only_records_about_topics_concern_it() -> None:
    topics = Topics()
    assert topics.bucket_of(state(67, TopicDropped(67))) == 3
    assert topics.bucket_of(state(67, QueuesDropped([67]))) == -1
    assert topics.bucket_of(LogRecord(0, BATCH, 67, 0, 0, 0, b"", 64, 1, 0)) == -1


def test_a_snapshot_restores_the_same_state() -> None:
    topics, restored = Topics(), Topics()
    for one in (definition(3, "a"), definition(67, "b"), definition(4, "c")):
        define(topics, one)
    define(restored, definition(3, "older"))
    for bucket in (3, 4):
        restored.restore(bucket, topics.snapshot(bucket))
    assert topics.snapshot(5) is None
    assert restored.digest() == topics.digest()
    assert sorted(one.topic for one in restored.all()) == ["a", "b", "c"]
    assert restored.named("older") is None
