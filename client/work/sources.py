"""Wish, Request, Source: a call of `receive`, a RECEIVE on its way, and a shard. Plain values of a
`Receiver`, which alone changes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ShardMQError
from ..link.calls import Call
from ..link.timers import Timer
from ..received import ReceivedMessage
from .options import Asked

__all__ = ["PATIENCE_MS", "Request", "Source", "Wish"]

PATIENCE_MS = 3_000.0
"""How long a `receive` with a shorter wait tries to reach a shard at all."""


class Source:
    """A shard that has queues of the group."""

    __slots__ = ("empty_ms", "is_away", "is_ready", "number", "request", "watch")

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_ready = True
        """It may have something: it is asked by whoever wants something."""
        self.is_away = False
        """It is not asked: it owes an answer, or has failed a moment ago."""
        self.empty_ms = 0.0
        """When it last had nothing."""
        self.request: Request | None = None
        self.watch: Call | None = None
        """Parked there until it has something."""


class Request:
    """A RECEIVE for some wishes together."""

    __slots__ = ("call", "count", "invisible_ms", "late_ms", "receipt", "source", "timer", "wishes")

    def __init__(
        self, source: Source, wishes: Sequence[Wish], receipt: int, late_ms: float
    ) -> None:
        self.source = source
        self.wishes = wishes
        self.receipt = receipt
        self.late_ms = late_ms
        """When its wishes look elsewhere."""
        self.count = sum(wish.count for wish in wishes)
        self.invisible_ms = wishes[0].invisible_ms
        self.call: Call | None = None
        self.timer: Timer | None = None


class Wish:
    """What somebody waits for."""

    __slots__ = (
        "asked", "count", "end_ms", "error", "heard", "invisible_ms", "messages", "patient_ms",
        "request", "settled", "until_ms",
    )  # fmt: skip

    def __init__(self, asked: Asked, now_ms: float) -> None:
        self.count = asked.messages_max
        self.invisible_ms = asked.invisible_ms
        self.end_ms = self.until_ms = now_ms + asked.wait_ms
        """`until_ms`: when to ask the receiver whether it is over."""
        self.patient_ms = max(self.end_ms, now_ms + PATIENCE_MS)
        """Until then shards that say nothing are waited for, however short the wait."""
        self.asked: set[int] = set()
        """Shards that had nothing."""
        self.heard = False
        """A shard has answered."""
        self.request: Request | None = None
        self.settled = False
        self.messages: list[ReceivedMessage] = []
        self.error: ShardMQError | None = None

    def settle(self, error: ShardMQError | None = None) -> None:
        self.settled = True
        self.request = None
        self.error = error

    def outcome(self) -> list[ReceivedMessage]:
        """The messages, none if nothing came in time.

        Raises:
            ShardMQError: nobody could be asked.
        """
        if self.error is not None:
            raise self.error
        return self.messages
