"""Dead letters: messages that a group gave up, as it left them, and what is sent again. Pure.

A dead letter is an ordinary message of the topic `%DLQ%group`; what it says of itself stands in its
system properties.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from shardmq.actors.protocol import retries

from .message import Message
from .received import ReceivedMessage
from .times import datetime_of
from .topics import TopicDescription

__all__ = ["DeadLetter", "FailedAttempt", "in_order", "letter_of", "message_of", "unread"]


class FailedAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery that failed."""

    attempt: int
    failed_at: datetime
    cause: str


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a group gave up."""

    message: ReceivedMessage
    """As it lies in the topic of dead letters."""
    topic: str
    """Where the message was first stored ..."""
    queue_id: int
    offset: int
    attempts: int
    """Deliveries before it was given up."""
    cause: str
    """Why the last one failed."""
    detail: str
    """The last one's stack trace."""
    history: list[FailedAttempt]
    """Failed deliveries, oldest first."""
    properties: dict[str, str]
    """The user's."""


def letter_of(message: ReceivedMessage) -> DeadLetter:
    """What a message of a topic of dead letters says of itself."""
    properties = message.properties
    return DeadLetter(
        message=message,
        topic=properties.get(retries.TOPIC, ""),
        queue_id=retries.number_of(properties, retries.QUEUE, 0),
        offset=retries.number_of(properties, retries.OFFSET, 0),
        attempts=retries.number_of(properties, retries.ATTEMPT, 0),
        cause=properties.get(retries.CAUSE, ""),
        detail=properties.get(retries.DETAIL, ""),
        history=[
            FailedAttempt(attempt=attempt, failed_at=datetime_of(failed_at_ms), cause=cause)
            for attempt, failed_at_ms, cause in retries.history_of(properties)
        ],
        properties=retries.without_system(properties),
    )


def message_of(letter: DeadLetter) -> Message:
    """The new message that a dead letter becomes when it is sent again."""
    dead = letter.message
    return Message(
        letter.topic,
        dead.body,
        tag=dead.tag,
        keys=dead.keys,
        properties=letter.properties,
        ordering_key=dead.ordering_key,
    )


def unread(described: TopicDescription, positions: Mapping[int, int]) -> bool:
    """True if queues hold messages behind `positions` (offset to read next, by queue_id)."""
    return any(positions.get(queue.queue_id, 0) < queue.latest for queue in described.queues)


def in_order(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    """Oldest first."""
    return sorted(letters, key=lambda letter: letter.message.stored_at)
