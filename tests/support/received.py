"""For unit tests of the command line: a received message that nobody has sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

__all__ = ["Letter"]


class Letter(msgspec.Struct, kw_only=True):
    """What commands read of a received message."""

    topic: str = "orders"
    queue_id: int = 3
    offset: int = 41
    message_id: str = "ab"
    tag: str | None = "paid"
    keys: Any = ("4711",)
    ordering_key: str | None = "o-1"
    properties: Any = msgspec.field(default_factory=lambda: {"region": "eu"})
    body: bytes = b"hello"
    born_at: Any = datetime(2013, 1, 31, 8, tzinfo=UTC)
    stored_at: Any = datetime(2013, 1, 31, 8, 0, 1, tzinfo=UTC)
