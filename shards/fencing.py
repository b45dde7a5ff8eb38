"""Fencing: a word of the coordinator that later ones have overtaken is not obeyed.

Owns, per verb, the last word that was taken. Must not know what the words mean.

Letters of two connections are read in turns: what a coordinator sent before it was killed, or
before it connected anew, may lie unread in its old connection while its successor's words are
carried out. An old DEFINE would bring a deleted topic back, with offsets that were given before
(found by the simulator, seed 3038). So each word carries the coordinator's epoch, which grows with
each start, and a request id, which grows with each word; a lower pair than the last one is stale.
The pair needs no place in the journal: a shard that starts anew has no old connections.
"""

from __future__ import annotations

from .requests import Request

__all__ = ["CoordinatorFence"]


class CoordinatorFence:
    """The last word of the coordinator, for each verb."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, int]] = {}

    def is_stale(self, request: Request) -> bool:
        """True if a later word of this verb was taken; else this one is the last from now on."""
        epoch = int.from_bytes(request.envelope[:8], "little")
        word = epoch, request.route.request_id
        if word < self._last.get(request.route.verb, (0, 0)):
            return True
        self._last[request.route.verb] = word
        return False
