"""What a user may choose for a work queue's consumer and its calls, checked. Pure."""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

from shardmq.actors.protocol.limits import (
    ATTEMPTS_MAX,
    INVISIBLE_MS_MAX,
    RECEIVE_MESSAGES_MAX,
)

from ..consume.positions import StartFrom
from ..credentials import check_credentials
from ..errors import InvalidArgument
from ..group.options import GroupOptions, checked_count, checked_group
from ..group.outcomes import (
    CAUSE_CHARS_MAX,
    cause_of,
    checked_delay_ms,
    detail_of,
    sendable,
)
from ..times import Duration, ms_of
from .settlement import Act

__all__ = [
    "Asked",
    "WorkSettings",
    "checked_invisible",
    "checked_nack",
    "checked_receive",
    "checked_work",
]


class WorkSettings(NamedTuple):
    """All that a user chose for a consumer."""

    member: GroupOptions
    fifo: bool
    max_attempts: int
    timeout_ms: float


class Asked(NamedTuple):
    """What one call of `receive` wants."""

    messages_max: int
    invisible_ms: int
    wait_ms: float


def checked_work(
    group: str | None,
    name: str,
    start_from: StartFrom,
    *,
    fifo: bool,
    max_attempts: Any,
    lease: Duration | None,
    timeout: Duration,
    credentials: Any,
) -> WorkSettings:
    """What a consumer is, and how it works.

    Raises:
        InvalidArgument, NotSupported: one is not valid; the message says which.
    """
    check_credentials(credentials)
    if group is None:
        raise InvalidArgument("a simple consumer needs a group", hint="give a `group`")
    member = checked_group(
        group, name, start_from, lease=lease, model="work_fifo" if fifo else "work", retries=True
    )
    attempts_max = checked_count("max_attempts", max_attempts, ATTEMPTS_MAX)
    return WorkSettings(member, bool(fifo), attempts_max, ms_of(timeout, "timeout"))


def checked_receive(max_messages: Any, invisible_for: Duration, wait: Duration | None) -> Asked:
    """Raises InvalidArgument; the message says what is wrong."""
    return Asked(
        checked_count("max_messages", max_messages, RECEIVE_MESSAGES_MAX),
        _invisible_ms(invisible_for, "invisible_for"),
        inf if wait is None else _wait_ms(wait),
    )


def checked_nack(delay: Duration | None, cause: Any, dead: Any) -> Act:
    """Raises InvalidArgument; the message says what is wrong."""
    if not isinstance(dead, bool):
        raise InvalidArgument(f"dead is True or False, not {dead!r}")
    if dead and delay is not None:
        raise InvalidArgument("a dead letter does not come again: leave `delay` or `dead` out")
    delay_ms = None if delay is None else checked_delay_ms(delay)
    text = detail = ""
    if isinstance(cause, BaseException):
        text, detail = cause_of(cause), detail_of(cause, cause.__traceback__)
    elif isinstance(cause, str):
        text = sendable(cause, CAUSE_CHARS_MAX, 2 * CAUSE_CHARS_MAX)
    elif cause is not None:
        kind = type(cause).__name__
        raise InvalidArgument(f"a cause is a text or an exception, not {kind}")
    return Act("nack", delay_ms, dead, text, detail)


def checked_invisible(seconds: Duration) -> Act:
    """Raises InvalidArgument; the message says what is wrong."""
    return Act("invisible", _invisible_ms(seconds, "seconds"))


def _wait_ms(wait: Duration) -> float:
    if wait == inf:
        raise InvalidArgument("wait is a time that ends", hint="use None to wait for ever")
    return ms_of(wait, "wait")


def _invisible_ms(duration: Duration, name: str) -> int:
    found_ms = int(ms_of(duration, name))
    if not 1 <= found_ms <= INVISIBLE_MS_MAX:
        hours = INVISIBLE_MS_MAX // 3_600_000
        raise InvalidArgument(
            f"{name} is 0.001 s to {hours} h, not {duration!r}",
            hint="give_back(message) gives it to others at once",
        )
    return found_ms
