"""Durability: what waits until the disk has it.

Owns the replies that may leave, and the offsets that may be seen, only once the journal's durable
position has passed them. Knows no verb and no disk.

Both lists are in the order of the journal, so each step of the durable position pops from the
front: the cost is one step per batch, however many queues there are.
"""

from __future__ import annotations

from collections import deque

from shardmq.actors.kernel.ports import Letter

from .serving import ServedQueue

__all__ = ["Durability"]


class Durability:
    """Replies and offsets behind the durable position."""

    __slots__ = ("_appended", "_held")

    def __init__(self) -> None:
        self._held: deque[tuple[int, Letter]] = deque()
        self._appended: deque[tuple[int, ServedQueue, int]] = deque()

    @property
    def held(self) -> int:
        """Replies that wait."""
        return len(self._held)

    def appended(self, lsn_end: int, served: ServedQueue, next_offset: int) -> None:
        """A batch that ends at `lsn_end` took the offsets below `next_offset`."""
        self._appended.append((lsn_end, served, next_offset))

    def hold(self, lsn: int, letter: Letter) -> None:
        """Keep `letter` until everything below `lsn` is durable."""
        held = self._held
        if held and held[-1][0] > lsn:
            # A duplicate's batch lies before batches that came since. Its reply waits for those,
            # too: a moment longer, and the order of the list needs no search.
            lsn = held[-1][0]
        held.append((lsn, letter))

    def advance(self, durable: int) -> tuple[list[Letter], list[ServedQueue]]:
        """Replies that may leave now, and queues that have news."""
        letters = []
        held = self._held
        while held and held[0][0] <= durable:
            letters.append(held.popleft()[1])
        news: dict[ServedQueue, None] = {}
        appended = self._appended
        while appended and appended[0][0] <= durable:
            _, served, next_offset = appended.popleft()
            served.offsets.visible = next_offset
            news[served] = None
        return letters, list(news)
