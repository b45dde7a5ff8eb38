"""Topic rules: create, grow, close, open again, drop; and what keeps its place meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.coordinator.records import Topic
from shardmq.actors.coordinator.topics import (
    Refused,
    check_name,
    created,
    route_bytes,
    route_of,
    summary_of,
    updated,
)
from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.limits import SLOTS, TOPIC_QUEUES_MAX, TOPICS_MAX
from shardmq.actors.protocol.messages import TopicUpdate
from shardmq.actors.protocol.slots import slots_spread

HOUR_MS = 3_600_000


def make(queues: int = 4, *, shards: int = 2, topic_id: int = 1, **more: Any) -> Topic:
    settings: dict[str, Any] = {"retention_ms": 0, "broker_retention_ms": 72 * HOUR_MS, **more}
    return created(
        "orders",
        topic_id=topic_id,
        first_queue=10,
        queues=queues,
        shards=shards,
        now_wall_ms=5,
        **settings,
    )


def change(topic: Topic, **wish: int) -> Topic:
    return updated(
        topic,
        TopicUpdate(topic=topic.name, **wish),  # type: ignore[arg-type]
        next_queue=1 + max(10, *(place.number for place in topic.places)),
        shards=2,
        broker_retention_ms=72 * HOUR_MS,
    )


def full_slots(topic: Topic) -> list[int]:
    return [topic.slots[slot % len(topic.slots)] for slot in range(SLOTS)]


def refusal(**wish: int) -> Refused:
    with pytest.raises(Refused) as caught:
        change(make(8), **wish)
    return caught.value


# --- create ------------------------------------------------------------------------------------


def test_queues_of_a_new_topic_are_numbered_on_and_dealt_to_the_shards_in_turn() -> None:
    topic = make(5, shards=2, topic_id=1)
    assert [place.number for place in topic.places] == [10, 11, 12, 13, 14]
    assert [place.shard for place in topic.places] == [1, 0, 1, 0, 1]
    assert [place.shard for place in make(3, topic_id=2).places] == [0, 1, 0]


@pytest.mark.parametrize("queues", [1, 3, 8, 4_095, 4_096, 5_000])
def test_the_slots_of_a_new_topic_are_one_period_of_the_whole_table(queues: int) -> None:
    topic = make(queues)
    assert full_slots(topic) == slots_spread(range(queues))
    assert len(topic.slots) == min(queues, SLOTS)


@pytest.mark.parametrize("queues", [0, -1, TOPIC_QUEUES_MAX + 1])
def test_the_number_of_queues_has_limits(queues: int) -> None:
    with pytest.raises(Refused, match=str(TOPIC_QUEUES_MAX)) as caught:
        make(queues)
    assert caught.value.code == Code.INVALID_ARGUMENT


def test_the_number_of_topics_has_a_limit() -> None:
    assert make(topics=TOPICS_MAX - 1)
    with pytest.raises(Refused, match=str(TOPICS_MAX)):
        make(topics=TOPICS_MAX)


def test_retention_is_at_most_the_brokers() -> None:
    assert make(retention_ms=72 * HOUR_MS).retention_ms == 72 * HOUR_MS
    assert make(retention_ms=99 * HOUR_MS, broker_retention_ms=0)
    with pytest.raises(Refused, match="1 over the broker"):
        make(retention_ms=72 * HOUR_MS + 1)
    with pytest.raises(Refused, match="0 or more"):
        make(retention_ms=-1)


def test_queue_numbers_run_out_with_an_error_not_with_a_wrap() -> None:
    with pytest.raises(Refused, match="queue numbers"):
        created(
            "orders",
            topic_id=1,
            first_queue=(1 << 32) - 2,
            queues=4,
            shards=2,
            retention_ms=0,
            broker_retention_ms=0,
            now_wall_ms=0,
        )


@pytest.mark.parametrize(
    ("name", "code"),
    [("", Code.INVALID_NAME), ("a b", Code.INVALID_NAME), ("%DLQ%x", Code.FORBIDDEN)],
)
def test_users_cannot_have_every_name(name: str, code: Code) -> None:
    check_name("orders")
    with pytest.raises(Refused) as caught:
        check_name(name)
    assert caught.value.code == code


# --- change ------------------------------------------------------------------------------------


def test_growing_leaves_every_key_where_it_is() -> None:
    topic = make(4)
    grown = change(topic, queues=7)
    assert full_slots(grown) == full_slots(topic)
    assert grown.places[:4] == topic.places
    assert [place.number for place in grown.places[4:]] == [14, 15, 16]
    assert [place.shard for place in grown.places] == [1, 0, 1, 0, 1, 0, 1]
    assert (grown.version, grown.slots_version, grown.write_queues) == (2, 1, 7)


def test_closing_queues_moves_only_their_own_slots() -> None:
    topic = make(4)
    closed = change(topic, write_queues=3)
    before, after = full_slots(topic), full_slots(closed)
    assert set(after) == {0, 1, 2}
    assert all(new == old for old, new in zip(before, after, strict=True) if old < 3)
    moved = [new for old, new in zip(before, after, strict=True) if old == 3]
    assert max(map(moved.count, range(3))) - min(map(moved.count, range(3))) <= 1
    assert (closed.version, closed.slots_version) == (2, 2)
    assert [queue.writable for queue in route_of(closed).queues] == [True, True, True, False]
    assert all(queue.readable for queue in route_of(closed).queues)


def test_closing_queues_that_hold_no_slots_changes_no_slots() -> None:
    closed = change(change(make(4), queues=6), write_queues=4)
    assert (closed.version, closed.slots_version) == (3, 1)


def test_opening_again_gives_the_same_queue_back_without_its_slots() -> None:
    topic = make(4)
    opened = change(change(topic, write_queues=3), write_queues=4)
    assert opened.places == topic.places
    assert 3 not in full_slots(opened)
    assert (opened.version, opened.slots_version) == (3, 2)


def test_a_dropped_queue_comes_back_with_a_new_number() -> None:
    topic = make(4)
    dropped = change(change(topic, write_queues=2), read_queues=2)
    assert dropped.places == topic.places[:2]
    again = updated(
        dropped,
        TopicUpdate(topic="orders", queues=4),
        next_queue=14,
        shards=2,
        broker_retention_ms=0,
    )
    assert [place.number for place in again.places] == [10, 11, 14, 15]


def test_a_change_to_what_is_already_so_changes_nothing() -> None:
    topic = make(4)
    assert change(topic, queues=4) is topic
    assert change(topic) is topic
    assert change(topic, retention_ms=0) is topic


def test_retention_can_change_alone() -> None:
    changed = change(make(4), retention_ms=HOUR_MS)
    assert (changed.retention_ms, changed.version, changed.slots_version) == (HOUR_MS, 2, 1)


def test_queues_are_closed_before_they_are_dropped() -> None:
    assert "lower `write_queues`" in str(refusal(queues=4))
    assert "lower `write_queues`" in str(refusal(write_queues=4, read_queues=4))
    assert "queues 6 to 7" in str(refusal(read_queues=6, write_queues=6))


def test_no_queue_takes_messages_that_nobody_can_read() -> None:
    assert "nobody could read" in str(refusal(write_queues=9))
    assert change(make(8), write_queues=9, read_queues=9).write_queues == 9


def test_both_numbers_or_each_not_both_ways() -> None:
    assert "alone" in str(refusal(queues=9, read_queues=9))


@pytest.mark.parametrize("wish", [{"write_queues": 0}, {"read_queues": 0}, {"retention_ms": -5}])
def test_numbers_out_of_range_are_refused(wish: dict[str, int]) -> None:
    assert refusal(**wish).code == Code.INVALID_ARGUMENT


# --- views -------------------------------------------------------------------------------------


@pytest.mark.parametrize("queues", [1, 8, 300, TOPIC_QUEUES_MAX])
def test_the_size_of_a_route_is_never_underestimated(queues: int) -> None:
    topic = change(make(queues), write_queues=max(1, queues - 1))
    assert len(encode_header(route_of(topic))) <= route_bytes(topic)


def test_a_summary_has_both_numbers() -> None:
    line = summary_of(change(make(4), write_queues=3))
    assert (line.write_queues, line.read_queues, line.created_at_ms) == (3, 4, 5)
