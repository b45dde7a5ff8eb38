"""Lives: what the coordinator can know of the members of groups.

Owns when it may call one expired. Must not know verbs: `group_wire.py` reads the letters.

A request that was overtaken (`actors/coordinator/parking.py`) is refused, and says nothing of its
sender: until that answer it looks like any other, and several may be on their way at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["GONE_GRACE_MS", "SLACK_MS", "Key", "Life", "Sign"]

GONE_GRACE_MS = 400.0
SLACK_MS = 2.0
"""Between what a core sees as now and what its timers are rounded to."""
Key = tuple[bytes, int]
"""(envelope, request id)."""


class Sign:
    """A sign of life: a request of a member that the coordinator took in."""

    def __init__(self, order: int, at_ms: float, session: bytes) -> None:
        self.order = order
        self.at_ms = at_ms
        self.session = session
        self.gone_ms: float | None = None
        """When the coordinator was told that the connection is gone."""


@dataclass(eq=False)
class _Heard:
    sign: Sign
    key: Key | None = None
    """Of an EVENTS."""
    is_open: bool = False
    """It is not answered yet."""


class Life:
    """One member."""

    def __init__(self) -> None:
        self.lease_ms = 0.0
        self.free_ms = 0.0
        """What it was granted until then may go to others."""
        self.released: set[tuple[int, int]] = set()
        self._heard = [_Heard(Sign(0, 0.0, b""))]

    @property
    def last(self) -> Sign:
        """The last sign of it."""
        return self._heard[-1].sign

    @property
    def parked(self) -> Key | None:
        """Its last EVENTS, if that is not answered yet."""
        last = next((one for one in reversed(self._heard) if one.key is not None), None)
        return last.key if last is not None and last.is_open else None

    def signs(self) -> Iterator[Sign]:
        """All that may turn out to be the last one."""
        return (one.sign for one in self._heard)

    def is_over(self, now_ms: float) -> bool:
        """True if the coordinator may call it expired."""
        gone_ms = self.last.gone_ms
        if gone_ms is not None and now_ms - gone_ms >= GONE_GRACE_MS - SLACK_MS:
            return True
        return self.parked is None and now_ms - self.last.at_ms >= self.lease_ms - SLACK_MS

    def heard(self, sign: Sign, key: Key | None = None) -> None:
        """A join that was answered, or an EVENTS that came."""
        if sign.order < self.last.order:
            return
        if self.is_over(sign.at_ms):
            self.free_ms = sign.at_ms
        if key is not None:  # one that is sent again has one answer
            self._heard = [one for one in self._heard if one.key != key or not one.is_open]
        self._heard.append(_Heard(sign, key, key is not None))

    def answered(self, key: Key, *, overtaken: bool) -> None:
        """An EVENTS is answered. One that was overtaken has said nothing."""
        found = next((one for one in self._heard if one.key == key and one.is_open), None)
        if found is None:
            return
        if overtaken:
            self._heard.remove(found)
        else:
            found.is_open = False
            del self._heard[: self._heard.index(found)]

    def has_given_up(self, sign: Sign, request_id: int) -> bool:
        """True if the client sent this over another connection before what it has parked now. Its
        requests are counted up."""
        parked = self.parked
        if parked is None or self.last.gone_ms is not None:
            return False
        behind = (parked[1] - request_id) % (1 << 64)
        lives = parked[0][:16] == self.last.session != sign.session
        return lives and 0 < behind < 1 << 32

    def begins_anew(self, sign: Sign) -> None:
        """The coordinator has started: everybody counts as alive for one lease."""
        if self.is_over(sign.at_ms):
            self.free_ms = sign.at_ms
        self._heard = [_Heard(sign)]
