"""Connections: which peers of a front are still there, told by what libzmq reports of descriptors.

Owns who speaks through which descriptor. Must not know sockets, verbs or sessions: `exchange.py`
brings the news, a core hears of peers.

libzmq names a letter's sender by its routing id and a closed connection by its descriptor; a frame
knows both, so each peer is looked up once, at its first letter. Descriptors are used again at
once, and letters and news come through two sockets. What makes the order certain is that one I/O
thread writes both: whoever has read a letter finds the news that its connection was opened already
there, and the news that it was closed comes behind its last letter. Hence the rule:

    read letters -> read news -> if it says closed: read letters until none is left, and news again
    -> settle

Settled, a peer whose descriptor is not open is gone, even if its whole life lay between two looks.
Sockets are read in turn, not in order, so of several peers met on one descriptor nobody knows which
came last: all of them are gone when it closes. A peer that is there is never taken for gone; one
that is gone may be found out late, when its descriptor's next owner goes.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Connections", "News"]

News = tuple[bool, int]
"""(whether it was opened, or else closed; descriptor)."""


class Connections:
    """The connections of one front."""

    __slots__ = ("_open", "_peers_of_fd", "known", "newcomers")

    def __init__(self) -> None:
        self.known: set[bytes] = set()
        """Peers that need no `meet`; asked for every letter."""
        self.newcomers: list[tuple[bytes, int]] = []
        """Met since the last `settle`."""
        self._peers_of_fd: dict[int, list[bytes]] = {}
        self._open: set[int] = set()

    def __len__(self) -> int:
        """How many there are, silent ones included."""
        return len(self._open)

    def meet(self, peer: bytes, fd: int) -> None:
        """The first letter of `peer` has come, through `fd`."""
        self.known.add(peer)
        self.newcomers.append((peer, fd))

    def settle(self, news: Iterable[News]) -> list[bytes]:
        """Takes in all news since the last time, in order.

        Returns:
            The peers that are gone.
        """
        gone: list[bytes] = []
        for opened, fd in news:
            if opened:
                self._open.add(fd)
            else:
                self._open.discard(fd)
                gone += self._peers_of_fd.pop(fd, ())
        for peer, fd in self.newcomers:
            if fd in self._open:
                self._peers_of_fd.setdefault(fd, []).append(peer)
            else:
                gone.append(peer)
        self.newcomers.clear()
        self.known.difference_update(gone)
        return gone
