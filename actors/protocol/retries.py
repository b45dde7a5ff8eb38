"""Retries: what a message carries that failed and comes again, and when it does.

Owns the names of a group's two system topics, the system properties of the copies in them, and the
table of retry levels. Knows no batch and no schedule.

A copy keeps its message's id, tag, keys, ordering key, properties and born time. What it says of
itself stands in properties whose names begin with `%`; readers show them as attributes, not among
the user's properties. In a copy of a copy, topic, queue and offset are still the first ones'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

__all__ = [
    "ATTEMPT",
    "CAUSE",
    "DETAIL",
    "DLQ_PREFIX",
    "HISTORY",
    "HISTORY_CAUSE_CHARS",
    "HISTORY_MAX",
    "OFFSET",
    "QUEUE",
    "RETRY_LEVELS_MS",
    "RETRY_PREFIX",
    "SYSTEM_PROPERTIES",
    "TOPIC",
    "dlq_topic",
    "history_of",
    "number_of",
    "retry_delay_ms",
    "retry_topic",
    "without_system",
]

RETRY_PREFIX: Final = "%RETRY%"
DLQ_PREFIX: Final = "%DLQ%"

TOPIC: Final = "%TOPIC"
"""Where the message was first stored: topic, ..."""
QUEUE: Final = "%QUEUE"
"""... queue_id (decimal) ..."""
OFFSET: Final = "%OFFSET"
"""... and offset (decimal)."""
ATTEMPT: Final = "%ATTEMPT"
"""Which delivery this is, the first being 1 (decimal). Of a dead letter: the last one."""
HISTORY: Final = "%HISTORY"
"""Failed attempts, oldest first: JSON `[[attempt, failed at ms, cause], ...]`, causes shortened."""
CAUSE: Final = "%CAUSE"
"""Of a dead letter: why the last attempt failed."""
DETAIL: Final = "%DETAIL"
"""Of a dead letter: the last attempt's stack trace."""
SYSTEM_PROPERTIES: Final = frozenset((TOPIC, QUEUE, OFFSET, ATTEMPT, HISTORY, CAUSE, DETAIL))

HISTORY_MAX: Final = 32
"""Failed attempts that a message remembers, the last ones."""
HISTORY_CAUSE_CHARS: Final = 200

_history_of = msgspec.json.Decoder(list[tuple[int, int, str]]).decode
_SECOND_MS: Final = 1_000
_MINUTE_MS: Final = 60 * _SECOND_MS
RETRY_LEVELS_MS: Final = (
    10 * _SECOND_MS,
    30 * _SECOND_MS,
    *(minutes * _MINUTE_MS for minutes in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 60, 120)),
)
"""Delay after the first, the second ... failed attempt; RocketMQ's."""


def retry_topic(group: str) -> str:
    """Topic whose queues hold a group's messages that come again."""
    return RETRY_PREFIX + group


def dlq_topic(group: str) -> str:
    """Topic whose queues hold a group's dead letters."""
    return DLQ_PREFIX + group


def retry_delay_ms(attempt: int) -> int:
    """How long a message waits whose `attempt`-th delivery (from 1) has failed."""
    return RETRY_LEVELS_MS[min(max(attempt, 1), len(RETRY_LEVELS_MS)) - 1]


def number_of(properties: Mapping[str, str], name: str, default: int) -> int:
    """The number that a system property holds; `default` if it is missing or holds none."""
    text = properties.get(name, "")
    return int(text) if text.isdecimal() else default


def history_of(properties: Mapping[str, str]) -> list[tuple[int, int, str]]:
    """Failed attempts as (attempt, failed at ms, cause), oldest first; none if not readable."""
    text = properties.get(HISTORY)
    try:
        rows: Any = _history_of(text) if text else []
    except msgspec.MsgspecError:
        rows = []
    return list(rows)


def without_system(properties: Mapping[str, str]) -> dict[str, str]:
    """The properties that the producer gave a message."""
    return {name: text for name, text in properties.items() if name not in SYSTEM_PROPERTIES}
