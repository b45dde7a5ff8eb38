"""Late letters: small answers that a peer's pipe has no room for just now.

Owns what waits, its bounds, and when to try again. Must not know sockets: who owns them hands in
how to send one letter.

The front's pipes are short (`sockets.py`), so that a peer which reads nothing cannot fill the
memory with large answers. But a burst of small ones is no sign of that: hundreds of members of
groups may share a connection, and a change answers all of them in one turn. Whoever loses such an
answer asks again only when its time is up. So small letters wait here, and are offered again in the
order in which they came. ZeroMQ tells of room in a ROUTER's pipe to nobody, hence the tries; they
grow rarer while nothing is taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

from ..protocol.limits import KIB, MIB, SESSION_REQUESTS_MAX
from .ports import Letter

__all__ = ["LateLetters", "Offer"]

LETTER_BYTES_MAX = 64 * KIB
PEER_LETTERS_MAX = SESSION_REQUESTS_MAX
"""Nobody has more requests in flight than that."""
BYTES_MAX = 32 * MIB
PEERS_A_TURN = 4
RETRY_MS = 1.0
RETRY_MS_MAX = 200.0


class Offer(Enum):
    """What became of a letter that was offered."""

    SENT = "on its way"
    NO_ROOM = "the pipe is full"
    NOBODY = "the peer is gone"


class LateLetters:
    """What waits, by socket and peer."""

    def __init__(self) -> None:
        self._of_peer: dict[tuple[str, bytes], deque[Letter]] = {}
        self._retry_ms = RETRY_MS
        self.bytes = 0
        self.choked: set[bytes] = set()
        """Peers whose pipe was full at the last letter to them."""

    def __len__(self) -> int:
        """Peers that letters wait for."""
        return len(self._of_peer)

    def keep(self, letter: Letter) -> bool:
        """There was no room for a letter. False if it is too large, or too much waits already."""
        link, peer, frames = letter
        self.choked.add(peer)
        size = sum(map(len, frames))
        if size > LETTER_BYTES_MAX or self.bytes + size > BYTES_MAX:
            return False
        waiting = self._of_peer.setdefault((link, peer), deque())
        if len(waiting) >= PEER_LETTERS_MAX:
            return False
        waiting.append(letter)
        self.bytes += size
        self._retry_ms = RETRY_MS
        return True

    def offer(self, send: Callable[[Letter], Offer]) -> tuple[float, int]:
        """Offers what waits for some peers. Returns in how many ms to try again, and how many
        letters were dropped because their peer is gone."""
        moved = False
        dropped = 0
        for place in list(self._of_peer)[:PEERS_A_TURN]:
            waiting = self._of_peer.pop(place)
            while waiting:
                outcome = send(waiting[0])
                if outcome is Offer.NO_ROOM:
                    # Behind the others: the next turn asks another peer first.
                    self._of_peer[place] = waiting
                    break
                moved = True
                self.choked.discard(place[1])
                dropped += outcome is Offer.NOBODY
                self.bytes -= sum(map(len, waiting.popleft()[2]))
        self._retry_ms = RETRY_MS if moved else min(2 * self._retry_ms, RETRY_MS_MAX)
        return self._retry_ms, dropped
