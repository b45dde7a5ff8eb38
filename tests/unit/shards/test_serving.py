"""Serving: the table follows the definitions."""

from __future__ import annotations

from shardmq.shards.serving import Serving
from shardmq.shards.state.queues import Queues
from shardmq.shards.state.records import QueuePlace, TopicDefinition


def definition(*places: QueuePlace, version: int = 1) -> TopicDefinition:
    return TopicDefinition("t", 1, version, version, 0, 0, [], list(places))


def test_only_own_queues_are_served_with_their_properties() -> None:
    serving = Serving(0, Queues())
    assert serving.define(definition(QueuePlace(0, 10, 0), QueuePlace(1, 11, 1))) == []
    assert list(serving.by_number) == serving.numbers_of(1) == [10]
    served = serving.by_number[10]
    assert (served.queue_id, served.readable, served.writable) == (0, True, True)


def test_a_change_keeps_the_queue_and_whatever_waits_for_it() -> None:
    serving = Serving(0, Queues())
    serving.define(definition(QueuePlace(0, 10, 0)))
    served = serving.by_number[10]
    place = QueuePlace(0, 10, 0, writable=False)
    assert serving.define(definition(place, version=2)) == []
    assert serving.by_number[10] is served
    assert (served.writable, served.slots_version) == (False, 2)


def test_queues_that_are_not_readable_here_any_more_are_reported() -> None:
    serving = Serving(0, Queues())
    serving.define(definition(QueuePlace(0, 10, 0), QueuePlace(1, 11, 0)))
    closed, moved = serving.by_number[10], serving.by_number[11]
    changed = definition(QueuePlace(0, 10, 0, readable=False), QueuePlace(1, 11, 1))
    assert serving.define(changed) == [closed, moved]
    assert list(serving.by_number) == [10]


def test_a_dropped_topic_leaves_nothing_behind() -> None:
    serving = Serving(0, Queues())
    serving.define(definition(QueuePlace(0, 10, 0), QueuePlace(1, 11, 0)))
    assert [one.number for one in serving.drop(1)] == [10, 11]
    assert len(serving) == 0
    assert serving.drop(1) == []


def test_a_queue_shares_its_offsets_with_the_state() -> None:
    queues = Queues()
    serving = Serving(0, queues)
    serving.define(definition(QueuePlace(0, 10, 0)))
    assert serving.by_number[10].offsets is queues.at(10)
