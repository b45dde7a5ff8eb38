"""Dead letters: what such a message says of itself, shown, chosen and turned into a new message.

Owns the reading of the system properties for people. Pure; must not read or send.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from shardmq.actors.protocol import retries

from ..quantities import time_text
from .messages import Received, as_record, body_text, moment_text

__all__ = ["Choice", "DeadLetter", "Failure", "dead_letter", "record_of", "text_of"]


class Failure(NamedTuple):
    """One failed attempt."""

    attempt: int
    failed_at_ms: int
    cause: str


class DeadLetter(NamedTuple):
    """A message that its group gave up."""

    message: Received
    topic: str
    """Where it was stored first: topic, queue and offset."""
    queue_id: int
    offset: int
    attempts: int
    cause: str
    detail: str
    """The last attempt's stack trace."""
    history: list[Failure]
    """All failed attempts that are remembered, oldest first."""

    @property
    def place(self) -> str:
        """Its name among the dead letters: queue and offset there."""
        return f"{self.message.queue_id}/{self.message.offset}"

    @property
    def properties(self) -> dict[str, str]:
        """Those that its producer gave it."""
        return retries.without_system(self.message.properties or {})


class Choice(NamedTuple):
    """Which dead letters are wanted; what is empty chooses nothing."""

    topic: str | None = None
    cause: str = ""
    """Part of the cause, in any case."""
    places: frozenset[str] = frozenset()
    after: Mapping[int, int] = MappingProxyType({})
    """Only those behind an offset, by queue; of other queues all."""

    def takes(self, letter: DeadLetter) -> bool:
        return (
            (self.topic is None or letter.topic == self.topic)
            and self.cause.lower() in letter.cause.lower()
            and (not self.places or letter.place in self.places)
            and (letter.message.offset or 0) > self.after.get(letter.message.queue_id or 0, -1)
        )


def dead_letter(message: Received) -> DeadLetter:
    """What a message of a `%DLQ%` topic tells."""
    said = message.properties or {}
    return DeadLetter(
        message,
        said.get(retries.TOPIC, message.topic),
        retries.number_of(said, retries.QUEUE, message.queue_id or 0),
        retries.number_of(said, retries.OFFSET, message.offset or 0),
        retries.number_of(said, retries.ATTEMPT, 1),
        said.get(retries.CAUSE, ""),
        said.get(retries.DETAIL, ""),
        list(map(Failure._make, retries.history_of(said))),
    )


def record_of(letter: DeadLetter) -> dict[str, Any]:
    """As a JSON-able map."""
    record = as_record(letter.message)
    record["properties"] = letter.properties
    return {
        "place": letter.place,
        "origin": {"topic": letter.topic, "queue_id": letter.queue_id, "offset": letter.offset},
        "attempts": letter.attempts,
        "cause": letter.cause,
        "detail": letter.detail,
        "history": [
            {"attempt": one.attempt, "failed_at": time_text(one.failed_at_ms), "cause": one.cause}
            for one in letter.history
        ],
        **record,
    }


def text_of(letter: DeadLetter, *, detail: bool = False) -> str:
    """For people: two lines, with `detail` also its history and stack trace."""
    message = letter.message
    extras = [f"[{message.tag}]" if message.tag else ""]
    extras += [f"ordering-key={message.ordering_key}" if message.ordering_key else ""]
    extras += [f"keys={','.join(message.keys)}" if message.keys else ""]
    extras += [f"{name}={value}" for name, value in letter.properties.items()]
    shown = " ".join(filter(None, extras))
    origin = f"{letter.topic} {letter.queue_id}/{letter.offset}"
    stamp = moment_text(message.stored_at) or "-"
    shown = f"{shown}  {body_text(message)}" if shown else body_text(message)
    cause = _one_line(letter.cause) or "no cause given"
    times = "1 attempt" if letter.attempts == 1 else f"{letter.attempts} attempts"
    lines = [
        f"{letter.place:<8} {stamp}  {origin}  {shown}",
        f"         after {times}: {cause}",
    ]
    if detail:
        lines += _indented(
            f"{time_text(one.failed_at_ms)}  attempt {one.attempt}: {_one_line(one.cause)}"
            for one in letter.history
        )
        lines += _indented(letter.detail.rstrip().splitlines())
    return "\n".join(lines)


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"           {line}" for line in lines]


def _one_line(text: str) -> str:
    return " ".join(text.split())
