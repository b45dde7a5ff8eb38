"""Call: one request of this client and what became of it. Owns when to resend, and what a missing
answer means; knows no socket and no session.

A call has one total deadline. Inside it, every attempt has its own time-out: a reply may be lost
with the router that held it, and TCP says nothing. The same id and the same bytes are sent again,
which is safe because every verb of the table is idempotent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.codec import HeaderError, decode_header
from shardmq.actors.protocol.codes import Code, row_of
from shardmq.actors.protocol.frames import SHARD_COORDINATOR
from shardmq.actors.protocol.messages import ErrorReply
from shardmq.actors.protocol.verbs import VERB_ROWS

from .timers import Timer

__all__ = ["ATTEMPT_MS", "Call", "Reply", "back_off_ms", "may_resend"]

ATTEMPT_MS = 1_000.0
"""First time-out of an attempt: above any sync that a healthy disk needs."""
ATTEMPT_GROWTH = 1.5
BACK_OFF_MS = 10.0
BACK_OFF_MS_MAX = 1_000.0

_VERBS = frozenset(row.verb for row in VERB_ROWS if row.idempotent)
_NOT_BY_RESENDING = frozenset(
    {Code.STALE_ROUTE, Code.MOVED, Code.CORRUPT_BATCH, Code.UNKNOWN_SESSION}
)
"""Retryable, but not with the same bytes to the same place."""


class Reply(NamedTuple):
    """The end of a call: an answer, or TIMED_OUT with `sent` telling whether it ever left."""

    code: int
    header: bytes
    payload: list[bytes]
    unknown: bool
    """An attempt went unanswered: what it asked for may have happened."""
    sent: bool

    def error(self) -> ErrorReply:
        """The header of a reply whose code is not OK."""
        if self.header:
            try:
                return decode_header(self.header, ErrorReply)
            except HeaderError as error:
                text = f"the broker answered {self.code} with an unreadable header: {error}"
                return ErrorReply(name=row_of(self.code).code.name, message=text)
        text = (
            "the broker did not answer in time"
            if self.sent
            else "no broker answered at this address in time"
        )
        return ErrorReply(name=row_of(self.code).code.name, message=text)


class Call:
    """One request in flight."""

    __slots__ = (
        "attempt_ms", "attempts", "bytes", "deadline_ms", "done", "header", "payload",
        "request_id", "sent", "shard", "timer", "unknown", "verb",
    )  # fmt: skip

    def __init__(
        self,
        verb: int,
        header: bytes,
        done: Callable[[Reply, Now], None],
        *,
        deadline_ms: float,
        shard: int = SHARD_COORDINATOR,
        payload: list[bytes] | None = None,
        attempt_ms: float = ATTEMPT_MS,
    ) -> None:
        assert verb in _VERBS, "a call is of a verb of the table that may be sent twice"
        self.verb = verb
        self.shard = shard
        self.header = header
        self.payload = payload or []
        self.deadline_ms = deadline_ms
        """On the monotonic clock."""
        self.attempt_ms = attempt_ms
        self.done: Any = done
        self.request_id = 0
        self.attempts = 0
        self.bytes = 0
        """Of all frames while it counts against the session's credit."""
        self.sent = False
        self.unknown = False
        self.timer: Timer | None = None

    def attempt_timeout_ms(self) -> float:
        """How long to wait for the answer to the attempt that just left."""
        return float(self.attempt_ms * ATTEMPT_GROWTH ** (self.attempts - 1))


def may_resend(code: int) -> bool:
    """True if the same bytes may be answered better later."""
    row = row_of(code)
    return row.retryable and row.code not in _NOT_BY_RESENDING


def back_off_ms(attempts: int, retry_after_ms: float, jitter: float) -> float:
    """How long to wait before attempt number `attempts` + 1; `jitter` lies in 0.5 to 1.5."""
    grown = BACK_OFF_MS * 2.0 ** min(attempts, 10)
    return float(max(retry_after_ms, min(grown * jitter, BACK_OFF_MS_MAX)))
