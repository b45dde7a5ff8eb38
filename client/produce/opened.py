"""Opened: the parcel that a topic's messages gather in, and the options that say how long. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.compress import Compression
from shardmq.actors.protocol.messages import AckMode

from ..link.timers import Timer
from .receipts import Parcel

__all__ = ["Opened", "ProducerOptions"]


class ProducerOptions(NamedTuple):
    ack: AckMode
    timeout_ms: float
    linger_ms: float
    compression: Compression
    buffer_bytes: int


class Opened:
    """The parcel that a topic's messages gather in."""

    __slots__ = (
        "born_ms", "deadline_ms", "due_ms", "explicit", "messages", "parcel", "plain", "room",
        "timer", "urgent", "used_max",
    )  # fmt: skip

    def __init__(self, parcel: Parcel, used_max: int, now: Now, options: ProducerOptions) -> None:
        self.parcel = parcel
        self.messages: list[Any] = []
        self.plain = True
        """No message has a tag, keys, properties or an ordering key."""
        self.explicit: dict[int, int] = {}
        self.used_max = used_max
        self.room = used_max
        self.born_ms = now.wall_ms
        self.due_ms = now.mono_ms + options.linger_ms
        self.deadline_ms = now.mono_ms + options.timeout_ms
        self.timer: Timer | None = None
        self.urgent = False
        """Somebody waits for it: it does not wait for the answer to what left before."""
