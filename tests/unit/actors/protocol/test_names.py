"""Names: RocketMQ's rules, and reasons that help."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.limits import GROUP_CHARS_MAX, TOPIC_CHARS_MAX
from shardmq.actors.protocol.names import is_system, why_invalid_group, why_invalid_topic


@pytest.mark.parametrize("name", ["a", "Orders_2024-x", "0", "-", "x" * TOPIC_CHARS_MAX])
def test_plain_topics_are_valid(name: str) -> None:
    assert why_invalid_topic(name) is None


@pytest.mark.parametrize("name", ["%RETRY%billing", "%DLQ%billing", "%SYS%schedule"])
def test_system_topics_are_valid_and_known_as_such(name: str) -> None:
    assert why_invalid_topic(name) is None
    assert is_system(name)
    assert why_invalid_group(name) is not None


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a/b", "../etc", "a.b", "ä", "a\n", "a\0", "\ud800", "%", "%%a", "%retry%a",
     "%SYS%", "a%b", "%SYS%a\n"],
)  # fmt: skip
def test_other_characters_are_refused(name: str) -> None:
    assert why_invalid_topic(name)
    assert why_invalid_group(name)


def test_the_reason_says_by_how_much_a_name_is_too_long() -> None:
    assert "3 over" in str(why_invalid_topic("x" * (TOPIC_CHARS_MAX + 3)))
    assert "at most 120" in str(why_invalid_group("x" * (GROUP_CHARS_MAX + 1)))
    assert why_invalid_group("x" * GROUP_CHARS_MAX) is None


@pytest.mark.parametrize("name", [None, 7, b"orders", ["orders"]])
def test_what_is_no_string_is_refused_by_its_type(name: object) -> None:
    assert type(name).__name__ in str(why_invalid_topic(name))


def test_a_long_name_is_not_repeated_in_full() -> None:
    assert len(str(why_invalid_topic("é" * TOPIC_CHARS_MAX))) < 150
