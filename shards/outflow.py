"""Outflow: how much of what was answered is still on its way to each router.

Owns the window of a router and the polls that wait for room in it. Others that answer with messages
(`receive.py`) look after those of theirs that wait. Knows nothing of what is in an answer.

A FETCH of a hundred bytes makes an answer of up to a megabyte, so requests in flight say little of
the memory that their answers take. What a router has not taken yet lies in this process, in
ZeroMQ's pipe, which counts messages and not bytes. A shard reads the page cache faster than a
router forwards, so a client that asks and asks, and reads nothing, would fill the memory: 480 MiB
in 15 s. So a router says now and then how much it took (TAKEN), and while ANSWERS_BYTES_MAX are
under way, polls wait here: they are small.

What a router says may be lost with its connection, and what was under way with it. A window in
which nothing has moved for STALL_MS is opened anew.
"""

from __future__ import annotations

from collections import deque

from shardmq.actors.protocol.limits import ANSWERS_BYTES_MAX

from .polls import Poll

__all__ = ["Outflow"]

STALL_MS = 1_000.0
ROUTERS_MAX = 128
"""More have connected since the start only if routers were started anew very often."""


class _Window:
    """Of one router."""

    __slots__ = ("bytes", "is_wanted", "moved_ms", "waiting")

    def __init__(self) -> None:
        self.bytes = 0
        """Under way."""
        self.moved_ms = 0.0
        """When it became full, or something was last taken."""
        self.waiting: deque[Poll] = deque()
        self.is_wanted = False
        """Others wait for room, too."""


class Outflow:
    """The windows of all routers, by the peer that a router is to the mailbox."""

    def __init__(self) -> None:
        self._windows: dict[bytes, _Window] = {}
        self.stalls = 0
        """Windows that were opened anew."""

    @property
    def waiting(self) -> int:
        """Polls that wait for room."""
        return sum(len(window.waiting) for window in self._windows.values())

    @property
    def wake_at_ms(self) -> float | None:
        """When the next window counts as stalled."""
        full = [one.moved_ms for one in self._windows.values() if one.waiting or one.is_wanted]
        return min(full) + STALL_MS if full else None

    def is_full(self, router: bytes) -> bool:
        window = self._windows.get(router)
        return window is not None and window.bytes >= ANSWERS_BYTES_MAX

    def sent(self, router: bytes, size: int) -> None:
        """An answer of so many bytes is on its way."""
        window = self._windows.get(router)
        if window is None:
            if len(self._windows) >= ROUTERS_MAX:
                windows = self._windows.items()
                self._windows = {
                    one: kept for one, kept in windows if kept.waiting or kept.is_wanted
                }
            window = self._windows[router] = _Window()
        window.bytes += size

    def hold(self, poll: Poll, mono_ms: float) -> None:
        """Keeps a poll until there is room for its answer."""
        window = self._windows[poll.request.peer]
        if not window.waiting and not window.is_wanted:
            window.moved_ms = mono_ms
        window.waiting.append(poll)

    def want(self, router: bytes, mono_ms: float) -> None:
        """Somebody who is not kept here waits for room in a full window."""
        window = self._windows[router]
        if not window.waiting and not window.is_wanted:
            window.moved_ms = mono_ms
        window.is_wanted = True

    def taken(self, router: bytes, size: int, mono_ms: float) -> deque[Poll]:
        """A router took so many bytes; the polls that may be answered now."""
        window = self._windows.get(router)
        if window is None:
            return deque()
        window.bytes = max(0, window.bytes - size)
        window.moved_ms = mono_ms
        return _emptied(window) if window.bytes < ANSWERS_BYTES_MAX else deque()

    def stalled(self, mono_ms: float) -> list[Poll]:
        """Polls of windows in which nothing has moved for too long: they are open again."""
        found: list[Poll] = []
        for window in self._windows.values():
            is_waited_for = window.waiting or window.is_wanted
            if is_waited_for and mono_ms >= window.moved_ms + STALL_MS:
                self.stalls += 1
                window.bytes = 0
                found += _emptied(window)
        return found


def _emptied(window: _Window) -> deque[Poll]:
    polls, window.waiting = window.waiting, deque()
    window.is_wanted = False
    return polls
