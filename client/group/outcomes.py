"""Outcomes: what a listener can say of a message, and what a failure tells the broker. Pure.

A listener that returns has done its message. One that raises has not: the message comes again after
a while, longer with each attempt. To steer it by hand, raise or return one of the two below.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple

from shardmq.actors.protocol.limits import DELAY_MS_MAX, NACK_DETAIL_CHARS_MAX

from ..errors import InvalidArgument
from ..received import ReceivedMessage
from ..times import Duration, ms_of

__all__ = [
    "CAUSE_CHARS_MAX",
    "Discard",
    "EarlierFailure",
    "Failure",
    "Retry",
    "cause_of",
    "checked_delay_ms",
    "detail_of",
    "failure_of",
    "sendable",
    "steered",
    "timed_out",
]

CAUSE_CHARS_MAX = 1_000
DETAIL_BYTES_MAX = 2 * NACK_DETAIL_CHARS_MAX


class Retry(Exception):
    """The message shall come again: after `delay` seconds, or as the table of levels says.

    Raises:
        InvalidArgument: no duration, or more than 366 days.
    """

    delay_ms: int | None = None

    def __init__(
        self, reason: str = "the listener wants it again", *, delay: Duration | None = None
    ):
        super().__init__(reason)
        self.delay_ms = None if delay is None else checked_delay_ms(delay)


class Discard(Exception):
    """The message shall not come again: it is done, or, if wished, a dead letter at once."""

    dead_letter: bool = False

    def __init__(
        self, reason: str = "the listener gave it up", *, dead_letter: bool = False
    ) -> None:
        super().__init__(reason)
        self.dead_letter = bool(dead_letter)


EarlierFailure = tuple[int, int, str]
"""Attempt, failed at ms, cause."""


class Failure(NamedTuple):
    """One message that was not done."""

    message: ReceivedMessage
    cause: str
    detail: str = ""
    delay_ms: int | None = None
    dead: bool = False
    is_fault: bool = False
    """True if the listener did not mean it: a plain exception."""
    attempt: int = 0
    """Which delivery it was, where they are counted here; 0: where the broker counts."""
    earlier: Sequence[EarlierFailure] = ()
    """Of this message, which the broker was not told of."""


def failure_of(message: ReceivedMessage, error: BaseException) -> Failure | None:
    """What an exception says of a message; None: that it is done."""
    if isinstance(error, Retry):
        return Failure(message, cause_of(error), "", error.delay_ms)
    if isinstance(error, Discard):
        return Failure(message, cause_of(error), "", None, True) if error.dead_letter else None
    return Failure(message, cause_of(error), detail_of(error, _behind(error)), is_fault=True)


def steered(message: ReceivedMessage, outcome: Any) -> Failure | None:
    """What a listener returned; anything but `Retry` and `Discard` means that it is done."""
    if isinstance(outcome, type) and issubclass(outcome, Retry | Discard):
        outcome = outcome()
    return failure_of(message, outcome) if isinstance(outcome, Retry | Discard) else None


def timed_out(message: ReceivedMessage, timeout_ms: float) -> Failure:
    """The listener has taken too long."""
    return Failure(message, f"TimeoutError: the listener took more than {timeout_ms / 1000:g} s")


def checked_delay_ms(delay: Duration, name: str = "delay") -> int:
    """Raises InvalidArgument if it is no duration, or too long."""
    delay_ms = int(ms_of(delay, name))
    if delay_ms > DELAY_MS_MAX:
        days = DELAY_MS_MAX // (24 * 3_600_000)
        raise InvalidArgument(f"{name} is at most {days} days, not {delay!r}")
    return delay_ms


def sendable(text: str, chars_max: int, bytes_max: int, *, end: bool = False) -> str:
    """The start of a text, or its end, as the wire can carry it: without lone surrogates."""
    text = text[-chars_max:] if end else text[:chars_max]
    encoded = text.encode(errors="replace")
    if len(encoded) > bytes_max:
        encoded = encoded[-bytes_max:] if end else encoded[:bytes_max]
    return encoded.decode(errors="ignore")


def cause_of(error: BaseException) -> str:
    """An exception in one line, as the wire can carry it."""
    name = type(error).__name__
    try:
        text = f"{name}: {error}"
    except BaseException as fault:  # of the exception's own text: it ends no worker either
        text = f"{name}, whose text raised {type(fault).__name__}"
    return sendable(text, CAUSE_CHARS_MAX, 2 * CAUSE_CHARS_MAX)


def detail_of(error: BaseException, trace: TracebackType | None) -> str:
    """Its stack, as the wire can carry it."""
    try:
        text = "".join(traceback.format_exception(type(error), error, trace))
    except BaseException as fault:  # as above
        text = f"the trace cannot be shown: {type(fault).__name__}"
    return sendable(text, NACK_DETAIL_CHARS_MAX, DETAIL_BYTES_MAX, end=True)


def _behind(error: BaseException) -> TracebackType | None:
    """The trace without the frame that called the listener."""
    trace = error.__traceback__
    return trace.tb_next if trace is not None and trace.tb_next is not None else trace
