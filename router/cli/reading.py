"""How far a `consume` reads: where it starts, and when it has all that it came for.

Owns the start position's notation and the bookkeeping of ends. Pure: offsets in, decisions out.

Without `-f` a reader stops at what was the end of each queue when it began: new messages that come
meanwhile would otherwise keep it for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..quantities import QuantityError, moment_ms_of

__all__ = ["Ends", "Start", "start_of"]


class Start(NamedTuple):
    """Where to begin: a named place, an offset, or a time."""

    place: str | None = None
    """earliest or latest."""
    offset: int | None = None
    time_ms: int | None = None


def start_of(text: str, now_ms: int) -> Start:
    """The start that `--from` names: earliest, latest, an offset, `-10m`, an ISO time.

    Raises:
        QuantityError: none of them.
    """
    plain = text.strip().lower()
    if plain in ("earliest", "latest"):
        return Start(place=plain)
    if plain.isdigit():
        return Start(offset=int(plain))
    try:
        return Start(time_ms=moment_ms_of(text.strip(), now_ms))
    except QuantityError:
        advice = "write earliest, latest, an offset, -10m or 2013-01-31T08:00"
        raise QuantityError(f"{text!r} is no place to start; {advice}") from None


class Ends:
    """The queues that are not read to their end yet."""

    def __init__(self, positions: Mapping[int, int], ends: Mapping[int, int]) -> None:
        """`positions`: next offset to read of each queue; `ends`: offset behind its last one."""
        self._left = {
            queue_id: end for queue_id, end in ends.items() if positions.get(queue_id, end) < end
        }

    def reached(self, queue_id: int, next_offset: int) -> bool:
        """Notes that a queue is read up to `next_offset`; whether it still counts as wanted."""
        end = self._left.get(queue_id)
        if end is None:
            return False
        if next_offset >= end:
            del self._left[queue_id]
        return next_offset <= end

    @property
    def all_reached(self) -> bool:
        return not self._left
