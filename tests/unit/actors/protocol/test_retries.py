"""Retries: names that the rules allow, levels as RocketMQ has them."""

from __future__ import annotations

from shardmq.actors.protocol.limits import GROUP_CHARS_MAX
from shardmq.actors.protocol.names import is_system, why_invalid_topic
from shardmq.actors.protocol.retries import (
    ATTEMPT,
    HISTORY,
    RETRY_LEVELS_MS,
    SYSTEM_PROPERTIES,
    dlq_topic,
    history_of,
    number_of,
    retry_delay_ms,
    retry_topic,
    without_system,
)


def test_the_topics_of_the_longest_group_name_are_valid_system_names() -> None:
    group = "g" * GROUP_CHARS_MAX
    for topic in (retry_topic(group), dlq_topic(group)):
        assert why_invalid_topic(topic) is None
        assert is_system(topic)


def test_levels_rise_from_ten_seconds_to_two_hours() -> None:
    assert len(RETRY_LEVELS_MS) == 16
    assert [retry_delay_ms(attempt) for attempt in (0, 1, 2, 3)] == [10_000, 10_000, 30_000, 60_000]
    assert retry_delay_ms(12) == 600_000
    assert retry_delay_ms(16) == retry_delay_ms(900) == 7_200_000
    assert list(RETRY_LEVELS_MS) == sorted(RETRY_LEVELS_MS)


def test_system_properties_are_named_unlike_any_tag_of_a_user() -> None:
    assert all(name.startswith("%") for name in SYSTEM_PROPERTIES)


def test_numbers_and_history_are_read_from_properties_and_nonsense_is_not() -> None:
    properties = {ATTEMPT: "3", HISTORY: '[[1,5000,"ValueError"],[2,9000,"OSError"]]', "user": "1"}
    assert number_of(properties, ATTEMPT, 1) == 3
    assert number_of({ATTEMPT: "many"}, ATTEMPT, 1) == number_of({}, ATTEMPT, 1) == 1
    assert history_of(properties) == [(1, 5000, "ValueError"), (2, 9000, "OSError")]
    assert history_of({}) == history_of({HISTORY: "[[1]]"}) == []
    assert without_system(properties) == {"user": "1"}
