"""History: what clients asked for, what they were told, what they saw, and what the logs hold.

Owns the records that the checkers read. Must not know how anything happened. Every message has a
body of its own, so a body names its send; a place is (queue number, offset), and queue numbers are
never reused, so a place means the same for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class Fate(Enum):
    """What the sender was told."""

    OPEN = "not yet answered"
    OK = "acknowledged"
    FAILED = "certainly not stored"
    UNKNOWN = "may be stored"


@dataclass
class Send:
    """One message that a producer was given."""

    number: int
    """In the order of giving, over all producers."""
    producer: str
    """Which incarnation of which producer."""
    topic: str
    body: bytes
    key: str | None
    queue_id: int | None
    ack: str
    at_ms: float
    fate: Fate = Fate.OPEN
    fault: str = ""
    queue: int = 0
    offset: int = -1
    message_id: str = ""
    ended_ms: float = 0.0
    forgiven: bool = False
    """Acknowledged `written`, and its shard lost power before it was synced."""
    tag: str | None = None


class Stored(NamedTuple):
    """One message in a log."""

    offset: int
    body: bytes
    message_id: str
    producer_id: int
    sequence: int
    key: str | None
    tag: str | None = None
    stored_at_ms: int = 0
    properties: dict[str, str] | None = None


class Read(NamedTuple):
    """One message that a consumer was handed."""

    consumer: str
    run: int
    """Grows with each start, assignment and seek: within a run offsets go up by one."""
    queue: int
    offset: int
    body: bytes
    message_id: str
    at_ms: float


@dataclass
class QueueLog:
    """One queue as its shard's log holds it."""

    earliest: int
    next: int
    messages: list[Stored]


class Violation(NamedTuple):
    """A promise that was broken."""

    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


@dataclass
class History:
    """One run."""

    copies: bool = False
    """The network may deliver a request twice, which ZeroMQ does not. A copy that comes late may be
    stored though its original was refused, so then "certainly not stored" binds nobody."""
    sends: list[Send] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    by_body: dict[bytes, Send] = field(default_factory=dict)
    shard_of: dict[int, int] = field(default_factory=dict)
    """Queue number -> shard, as the routes said."""
    topic_of: dict[int, str] = field(default_factory=dict)
    topic_ids_of: dict[int, set[int]] = field(default_factory=dict)
    """Queue number -> ids of the topics that were ever seen to have it."""
    dropped_queues: set[int] = field(default_factory=set)
    """Numbers whose topic was deleted, or may have been."""
    runs: dict[tuple[str, int, int], int] = field(default_factory=dict)
    """(consumer, run, queue) -> the offset at which it began."""

    def give(self, send: Send) -> None:
        assert send.body not in self.by_body, "each message has a body of its own"
        self.sends.append(send)
        self.by_body[send.body] = send

    def acknowledged(
        self, send: Send, queue: int, offset: int, message_id: str, at_ms: float
    ) -> None:
        send.fate, send.queue, send.offset = Fate.OK, queue, offset
        send.message_id, send.ended_ms = message_id, at_ms

    def ended(self, send: Send, *, unknown: bool, fault: str, at_ms: float) -> None:
        send.fate = Fate.UNKNOWN if unknown else Fate.FAILED
        send.fault, send.ended_ms = fault, at_ms

    def count(self, fate: Fate) -> int:
        return sum(send.fate is fate for send in self.sends)
