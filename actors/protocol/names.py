"""Name rules of topics and groups, RocketMQ's: letters, digits, `_`, `-`; 127 and 120 characters.

A name that starts with `%` belongs to the system (`%RETRY%group`, `%DLQ%group`, `%SYS%...`); users
may read such topics but never create, change or delete them. Names never become paths: a
directory or queue is always a number.
"""

from __future__ import annotations

import re

from .limits import GROUP_CHARS_MAX, TOPIC_CHARS_MAX

__all__ = ["SYSTEM_PREFIX", "is_system", "why_invalid_group", "why_invalid_topic"]

SYSTEM_PREFIX = "%"
_PLAIN = re.compile(r"[a-zA-Z0-9_-]+")
_SYSTEM = re.compile(r"%[A-Z]+%[a-zA-Z0-9_-]+")


def is_system(topic: str) -> bool:
    """True for a name that only the broker itself may create."""
    return topic.startswith(SYSTEM_PREFIX)


def why_invalid_topic(name: object) -> str | None:
    """The reason why `name` cannot be a topic, None if it can."""
    return _why_invalid(name, "topic", TOPIC_CHARS_MAX, system_allowed=True)


def why_invalid_group(name: object) -> str | None:
    """The reason why `name` cannot be a group, None if it can."""
    return _why_invalid(name, "group", GROUP_CHARS_MAX, system_allowed=False)


def _why_invalid(name: object, noun: str, chars_max: int, *, system_allowed: bool) -> str | None:
    if not isinstance(name, str):
        return f"a {noun} name is a string, not {type(name).__name__}"
    if not name:
        return f"a {noun} name cannot be empty"
    if len(name) > chars_max:
        over = len(name) - chars_max
        return f"a {noun} name has at most {chars_max} characters, this one is {over} over"
    if _PLAIN.fullmatch(name) or (system_allowed and _SYSTEM.fullmatch(name)):
        return None
    return f"a {noun} name has only letters, digits, '_' and '-', unlike {name[:40]!r}"
