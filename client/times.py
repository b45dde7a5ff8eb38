"""Durations and times as users write them, to the milliseconds of the wire. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from .errors import InvalidArgument

__all__ = ["Duration", "When", "datetime_of", "epoch_ms_of", "ms_of"]

Duration = float | timedelta
"""Seconds, or a timedelta."""
When = datetime | float
"""A datetime (with a time zone), or seconds since the epoch."""

_EPOCH_MS_MAX = 1 << 62


def ms_of(duration: Duration, name: str) -> float:
    """Milliseconds of a duration.

    Raises:
        InvalidArgument: not a number, negative, or not finite.
    """
    if isinstance(duration, timedelta):
        return _not_negative(duration.total_seconds(), name) * 1000
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        kind = type(duration).__name__
        raise InvalidArgument(f"{name} is in seconds (a number) or a timedelta, not {kind}")
    return _not_negative(duration, name) * 1000


def _not_negative(seconds: float, name: str) -> float:
    if not 0 <= seconds < 1e12:
        raise InvalidArgument(f"{name} is a duration of 0 or more seconds, not {seconds!r}")
    return seconds


def epoch_ms_of(when: When, name: str) -> int:
    """Milliseconds since the epoch.

    Raises:
        InvalidArgument: a datetime without time zone, or no time at all.
    """
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise InvalidArgument(f"{name} needs a time zone: datetime.now(UTC), say")
        return int(when.timestamp() * 1000)
    if isinstance(when, bool) or not isinstance(when, int | float):
        kind = type(when).__name__
        raise InvalidArgument(f"{name} is a datetime or seconds since the epoch, not {kind}")
    if not -_EPOCH_MS_MAX < when * 1000 < _EPOCH_MS_MAX:
        raise InvalidArgument(f"{name} is far out of range: {when!r} seconds since the epoch")
    return int(when * 1000)


def datetime_of(epoch_ms: int) -> datetime:
    """The time in UTC."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)
