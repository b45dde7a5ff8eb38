"""Quantities as people write and read them: durations, sizes, times, counts.

Owns: `72h`, `1h30m`, `10GiB`, `-10m`, `2013-01-31T08:00`, and how such values are printed. Must not
know what they are used for; "now" is handed in.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

__all__ = [
    "QuantityError",
    "bytes_of",
    "bytes_text",
    "count_of",
    "count_text",
    "duration_text",
    "moment_ms_of",
    "seconds_of",
    "time_text",
]

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")

_BYTES = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", 1):
    _BYTES[_letter] = _BYTES[_letter + "ib"] = 1024**_power
    _BYTES[_letter + "b"] = 1000**_power
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)

_COUNTS = {"": 1, "k": 1_000, "m": 1_000_000}
_COUNT = re.compile(r"(\d+(?:\.\d+)?)([km]?)", re.IGNORECASE)


class QuantityError(ValueError):
    """Text that is no such quantity; says what would be one."""


def seconds_of(text: str) -> float:
    """Seconds of a duration: `90s`, `15m`, `1h30m`, `7d`, `0`.

    Raises:
        QuantityError: no duration.
    """
    plain = text.strip().lower()
    if plain == "0":
        return 0.0
    if not _DURATION.fullmatch(plain):
        raise QuantityError(f"{text!r} is no duration; write 90s, 15m, 1h30m or 7d")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(plain))


def bytes_of(text: str) -> int:
    """Bytes of a size: `1024`, `64KiB`, `10GiB`, `1.5g` (1024s), `10GB` (1000s).

    Raises:
        QuantityError: no size.
    """
    match = _SIZE.fullmatch(text.strip())
    unit = _BYTES.get(match.group(2).lower()) if match else None
    if match is None or unit is None:
        raise QuantityError(f"{text!r} is no size; write 4096, 64KiB, 10GiB or 10GB")
    return int(float(match.group(1)) * unit)


def count_of(text: str) -> int:
    """A count of at least 1: `5000`, `20k`, `1.5m` (millions).

    Raises:
        QuantityError: no count.
    """
    match = _COUNT.fullmatch(text.strip())
    count = int(float(match.group(1)) * _COUNTS[match.group(2).lower()]) if match else 0
    if count < 1:
        raise QuantityError(f"{text!r} is no count of at least 1; write 5000, 20k or 1.5m")
    return count


def moment_ms_of(text: str, now_ms: int) -> int:
    """Milliseconds since the epoch of `-10m` (so long ago) or of an ISO 8601 time.

    A time without zone is local time.

    Raises:
        QuantityError: neither.
    """
    try:
        if text.startswith("-"):
            return now_ms - round(seconds_of(text[1:]) * 1000)
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        advice = "write -10m for ten minutes ago, or 2013-01-31T08:00"
        raise QuantityError(f"{text!r} is no time; {advice}") from None


def time_text(ms: int) -> str:
    """A wall clock time in UTC, as ISO 8601 with milliseconds."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration_text(seconds: float) -> str:
    """A duration for people: `850 us`, `1.25 ms`, `3.2 s`, `2 h 05 min`, `3 d`."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if minutes < 60:
        return f"{int(minutes)} min {seconds % 60:02.0f} s"
    if hours < 48:
        return f"{int(hours)} h {minutes % 60:02.0f} min" if minutes % 60 >= 1 else f"{hours:.0f} h"
    return f"{days:.3g} d"


def bytes_text(count: float) -> str:
    """A size for people: `512 B`, `64 KiB`, `1.5 GiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"


def count_text(count: float) -> str:
    """A count or rate for people: `950`, `12.3 k`, `2.05 M`."""
    if count < 1000:
        return f"{count:.0f}" if count == int(count) else f"{count:.3g}"
    if count < 999_500:
        return f"{count / 1e3:.3g} k"
    return f"{count / 1e6:.3g} M"
