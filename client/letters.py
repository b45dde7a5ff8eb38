"""Dead letters: messages that a group gave up, as it left them, and what is sent again. Pure.

A dead letter is an ordinary message of the topic `%DLQ%group`; what it says of itself stands in its
system properties.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from shardmq.actors.protocol import retries
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.names import why_invalid_topic

from .errors import InvalidArgument, SendError, SendUnknown, send_error
from .message import Message
from .received import ReceivedMessage
from .times import datetime_of
from .topics import TopicDescription

__all__ = [
    "DeadLetter", "FailedAttempt", "Resend", "checked_count", "checked_rate", "in_order",
    "letter_of", "message_of", "unread",
]  # fmt: skip

RESEND_MESSAGES = 500
"""Of one batch, which is also no more than a tenth of a second's worth."""
RATE_MIN = 0.001


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


def checked_count(count: Any) -> int:
    """Raises InvalidArgument."""
    if type(count) is not int or count < 0:
        raise InvalidArgument(f"count is a number from 0 on, not {count!r}")
    return count


def checked_rate(rate: Any) -> float:
    """Raises InvalidArgument."""
    is_number = isinstance(rate, int | float) and not isinstance(rate, bool)
    if not is_number or not RATE_MIN <= rate < float("inf"):
        text = f"rate is a number of messages a second, {RATE_MIN} or more, not {rate!r}"
        raise InvalidArgument(text)
    return float(rate)


class Resend:
    """Dead letters on their way to their topics again. Whoever sends asks for `batch` until it is
    empty, waits `wait_seconds` before each, and says what became of it: `stored` or `failed`.

    Topic by topic, so that what one refuses for good says nothing of the others; what may succeed
    later ends it all, so that nothing is tried in vain.
    """

    def __init__(self, letters: Sequence[DeadLetter], rate: float) -> None:
        self._letters = letters
        self._rate = rate
        self._count = max(1, min(RESEND_MESSAGES, int(rate / 10)))
        self._outcomes: list[Any] = [None] * len(letters)
        """SendReceipt or SendError of each letter."""
        by_topic: dict[str, list[int]] = {}
        for index, letter in enumerate(letters):
            by_topic.setdefault(letter.topic, []).append(index)
        self._waiting = deque(index for some in by_topic.values() for index in some)
        self._under_way: list[int] = []
        self._gone: dict[str, SendError] = {}
        """Topics that do not exist."""
        self._stop: SendError | None = None
        self.wait_seconds = 0.0

    def batch(self) -> list[Message]:
        """The next messages, all to one topic, which nothing keeps from being sent."""
        self.wait_seconds = len(self._under_way) / self._rate
        self._under_way = []
        messages: list[Message] = []
        while self._waiting and len(messages) < self._count:
            letter = self._letters[self._waiting[0]]
            if messages and letter.topic != messages[0].topic:
                break
            index = self._waiting.popleft()
            refusal = self._refusal_of(letter.topic)
            if refusal is None:
                self._under_way.append(index)
                messages.append(message_of(letter))
            else:
                self._outcomes[index] = refusal
        return messages

    def stored(self, receipts: Sequence[Any]) -> None:
        """The last batch is stored."""
        for index, receipt in zip(self._under_way, receipts, strict=True):
            self._outcomes[index] = receipt

    def failed(self, error: SendError) -> None:
        """Not all of the last batch is stored."""
        outcomes = list(error.outcomes)
        if not outcomes:
            if error.code != Code.TOPIC_NOT_FOUND:
                # There was no end to wait for: part of it may be stored.
                error = send_error(error.code, _plain(error), unknown=True)
            outcomes = [error] * len(self._under_way)
        self.stored(outcomes)
        for index, outcome in zip(self._under_way, outcomes, strict=True):
            if not isinstance(outcome, SendError):
                continue
            if outcome.code == Code.TOPIC_NOT_FOUND:
                self._gone[self._letters[index].topic] = outcome
            elif self._stop is None and (outcome.retryable or isinstance(outcome, SendUnknown)):
                self._stop = outcome

    def result(self) -> int:
        """How many were sent.

        Raises:
            SendError: of those that were not: the doubtful ones first, then the first one.
        """
        letters, outcomes = self._letters, self._outcomes
        faults = [one for one in outcomes if isinstance(one, SendError)]
        sent = len(outcomes) - len(faults)
        if not faults:
            return sent
        doubtful = sum(isinstance(fault, SendUnknown) for fault in faults)
        first = min(faults, key=lambda fault: not isinstance(fault, SendUnknown))
        perhaps = f", {doubtful:,} may have been" if doubtful else ""
        text = f"{sent:,} of {len(letters):,} dead letters were sent again{perhaps}"
        hint = "`left` of this error has those that were not: give only them as `letters`"
        text = f"{text}: {_plain(first)}"
        error = send_error(first.code, text, hint, unknown=bool(doubtful))
        error.outcomes, error.letters = outcomes, list(letters)
        error.left = [
            letter
            for letter, outcome in zip(letters, outcomes, strict=True)
            if isinstance(outcome, SendError) and not isinstance(outcome, SendUnknown)
        ]
        raise error

    def _refusal_of(self, topic: str) -> SendError | None:
        if self._stop is not None:
            text = f"it was not tried after this: {self._stop.message}"
            return send_error(self._stop.code, text, unknown=False)
        reason = why_invalid_topic(topic)
        if reason is not None:
            text = f"the dead letter does not say where it is from: {reason}"
            return send_error(Code.INVALID_NAME, text, unknown=False)
        return self._gone.get(topic)


def _plain(error: SendError) -> str:
    """Its message, without what `send_error` adds."""
    return error.message.removesuffix(" (it may be stored)")
