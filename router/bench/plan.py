"""What the conductor tells a worker, and what a worker answers.

Owns the structs that cross the pipes, one JSON object a line. Must not do anything.

    conductor -> worker:  a Plan, then `Go`, then maybe `Expect` (how many messages there will be)
    worker -> conductor:  `Ready`, `Progress` a few times a second, `Done` once
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .figures import LatencyFigures

__all__ = [
    "ACKS", "MODES", "Answer", "Done", "Expect", "Go", "Order", "Plan", "Progress", "Ready",
    "decode_answer", "decode_order", "encode",
]  # fmt: skip

Role = Literal["produce", "consume", "send_timed", "receive_timed"]
Mode = Literal["batch", "async", "send"]
Ack = Literal["synced", "written", "none"]
MODES: tuple[Mode, ...] = ("batch", "async", "send")
ACKS: tuple[Ack, ...] = ("synced", "written", "none")


class _Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    pass


class Plan(_Line, frozen=True, kw_only=True, tag="plan"):
    """One worker's task. `messages` or `seconds` ends it, whichever is set and comes first."""

    role: Role
    url: str
    topic: str
    mode: Mode = "batch"
    ack: Ack = "synced"
    size: int = 100
    messages: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    """Messages a second that `send_timed` intends."""
    batch: int = 100_000
    """Messages that are built once and re-used; `send_batch` takes all of them in a call."""
    warm_up: int = 0
    """First so many messages are sent but not measured."""
    timeout: float = 30.0
    expect: int = 0
    """Messages after which a consumer stops; 0 until `Expect` says."""


class Go(_Line, frozen=True, kw_only=True, tag="go"):
    pass


class Expect(_Line, frozen=True, kw_only=True, tag="expect"):
    count: int


class Ready(_Line, frozen=True, kw_only=True, tag="ready"):
    pid: int


class Progress(_Line, frozen=True, kw_only=True, tag="progress"):
    count: int
    seconds: float


class Done(_Line, frozen=True, kw_only=True, tag="done"):
    count: int
    """Messages acknowledged, or received."""
    bytes: int
    """Of their bodies."""
    seconds: float
    """From the start signal to the last acknowledgement or message."""
    errors: dict[str, int] = {}
    latency: LatencyFigures | None = None
    cpu_seconds: float = 0.0
    rss_peak_bytes: int = 0


Order = Plan | Go | Expect
Answer = Ready | Progress | Done

_orders: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


def encode(line: Order | Answer) -> bytes:
    """One line, newline included."""
    return msgspec.json.encode(line) + b"\n"


def decode_order(line: bytes) -> Order:
    return _orders.decode(line)


def decode_answer(line: bytes) -> Answer:
    return _answers.decode(line)
