"""Room: how much a producer holds, how much more it takes, and how large a parcel becomes. Pure.

Owns the count of bytes that are sealed and not settled. What gathers is counted where it gathers,
so that adding a message counts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..message import MESSAGE_BYTES
from .lanes import Lanes
from .opened import Opened
from .routing import Routing

__all__ = ["Room"]

QUEUE_BYTES = 256 * 1024
"""What one queue's batch should reach under load."""
PARCEL_BYTES_MAX = 2 * 1024 * 1024
assert PARCEL_BYTES_MAX // MESSAGE_BYTES <= 65_536, "a parcel may become one batch"


class Room:
    """The buffer of one producer."""

    def __init__(
        self, buffer_bytes: int, opened: Mapping[str, Opened], routing: Routing, lanes: Lanes
    ) -> None:
        self.held_bytes = 0
        """Sealed and not settled."""
        self._buffer_bytes = buffer_bytes
        self._open = opened
        self._routing = routing
        self._lanes = lanes

    def used_bytes(self) -> int:
        """Of the buffer: gathered, waiting and in flight."""
        if not self._open:
            return self.held_bytes
        gathered = sum(opened.used_max - opened.room for opened in self._open.values())
        return self.held_bytes + gathered

    def has_room(self, size: int) -> bool:
        """True if `size` more bytes fit, or nothing is there at all."""
        used = self.used_bytes()
        return used == 0 or used + size <= self._buffer_bytes

    def can_add(self, topic: str, size: int) -> bool:
        """True if `add_checked` would take a message of that size."""
        opened = self._open.get(topic)
        if opened is None:
            return self.has_room(size)
        if not opened.messages or opened.room >= size:
            return True
        return self._routing.sealable(topic) and self.has_room(size)

    def can_add_sealed(self, topic: str, size: int) -> bool:
        """True if it is time to try `add_sealed`: one parcel may wait while another is in flight,
        and without a route it must be called to ask for one."""
        map_ = self._routing.known(topic)
        if map_ is None or not self._routing.sealable(topic):
            return not self._routing.asking(topic)
        behind = self._lanes.waiting(topic)
        return behind <= len(map_.writable) and self.has_room(size)

    def parcel_bytes(self, topic: str) -> int:
        """How large a parcel of this topic should become."""
        map_ = self._routing.known(topic)
        queues = len(map_.writable) if map_ is not None else 4
        share = max(self._buffer_bytes // 4, 1)
        return min(max(queues, 1) * QUEUE_BYTES, PARCEL_BYTES_MAX, share)
