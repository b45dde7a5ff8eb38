"""Outcomes: what a listener can say of a message, and what a failure tells the broker. Pure.

A listener that returns has done its message. One that raises has not: the message comes again after
a while, longer with each attempt. To steer it by hand, raise or return one of the two below.
"""

from __future__ import annotations

import traceback
from typing import Any, NamedTuple

from shardmq.actors.protocol.limits import NACK_DETAIL_CHARS_MAX

from ..received import ReceivedMessage
from ..times import Duration, ms_of

__all__ = ["Discard", "Failure", "Retry", "failure_of", "timed_out"]

CAUSE_CHARS_MAX = 1_000


class Retry(Exception):
    """The message shall come again: after `delay` seconds, or as the table of levels says."""

    def __init__(
        self, reason: str = "the listener wants it again", *, delay: Duration | None = None
    ):
        super().__init__(reason)
        self.delay_ms = None if delay is None else int(ms_of(delay, "delay"))


class Discard(Exception):
    """The message shall not come again: it is done, or, if wished, a dead letter at once."""

    def __init__(
        self, reason: str = "the listener gave it up", *, dead_letter: bool = False
    ) -> None:
        super().__init__(reason)
        self.dead_letter = dead_letter


class Failure(NamedTuple):
    """One message that was not done."""

    message: ReceivedMessage
    cause: str
    detail: str = ""
    delay_ms: int | None = None
    dead: bool = False


def failure_of(message: ReceivedMessage, error: BaseException) -> Failure | None:
    """What an exception says of a message; None: that it is done."""
    if isinstance(error, Retry):
        return Failure(message, _cause(error), "", error.delay_ms)
    if isinstance(error, Discard):
        return Failure(message, _cause(error), "", None, True) if error.dead_letter else None
    lines = traceback.format_exception(type(error), error, _behind(error))
    return Failure(message, _cause(error), "".join(lines)[-NACK_DETAIL_CHARS_MAX:])


def steered(message: ReceivedMessage, outcome: Any) -> Failure | None:
    """What a listener returned; anything but `Retry` and `Discard` means that it is done."""
    if isinstance(outcome, type) and issubclass(outcome, Retry | Discard):
        outcome = outcome()
    return failure_of(message, outcome) if isinstance(outcome, Retry | Discard) else None


def timed_out(message: ReceivedMessage, timeout_ms: float) -> Failure:
    """The listener has taken too long."""
    return Failure(message, f"TimeoutError: the listener took more than {timeout_ms / 1000:g} s")


def _cause(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:CAUSE_CHARS_MAX]


def _behind(error: BaseException) -> Any:
    """The trace without the frame that called the listener."""
    trace = error.__traceback__
    return trace.tb_next if trace is not None and trace.tb_next is not None else trace
