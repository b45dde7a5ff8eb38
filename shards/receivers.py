"""Receivers: RECEIVE requests that have not been answered.

Owns who they are, until when they wait and how many may. Knows nothing of messages.

Each stands in the line of its group (`work_groups.py`), in the order in which they came, until it
is settled; lines and the heap of deadlines may hold settled ones, which are to be skipped. A retry
of a request from the same session takes its place: it is answered once.
"""

from __future__ import annotations

import heapq

from shardmq.actors.protocol.limits import PARKED_POLLS_MAX, SESSION_REQUESTS_MAX
from shardmq.actors.protocol.work_messages import Receive

from .requests import SESSION_BYTES, Request
from .work_groups import WorkGroup

__all__ = ["Receiver", "Receivers"]

_HEAP_SLACK = 1_024


class Receiver:
    """One RECEIVE that waits."""

    __slots__ = ("deadline_ms", "group", "header", "request", "settled")

    def __init__(
        self, request: Request, header: Receive, group: WorkGroup, deadline_ms: float
    ) -> None:
        # What has been read of the request is not kept while it waits.
        request.header = b""
        request.payload = []
        self.request = request
        self.header = header
        self.group = group
        self.deadline_ms = deadline_ms
        self.settled = False


class Receivers:
    """All of one shard."""

    def __init__(self) -> None:
        self._parked: dict[tuple[bytes, int], Receiver] = {}
        self._by_session: dict[bytes, int] = {}
        self._deadlines: list[tuple[float, int, Receiver]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._parked)

    @property
    def wake_at_ms(self) -> float | None:
        """When the next one's time is over, or was."""
        return self._deadlines[0][0] if self._deadlines else None

    def why_not(self, request: Request) -> str | None:
        """The bound that keeps one more from waiting, if any."""
        if len(self._parked) >= PARKED_POLLS_MAX:
            return f"a shard parks at most {PARKED_POLLS_MAX} receives"
        session = request.envelope[:SESSION_BYTES]
        if self._by_session.get(session, 0) >= SESSION_REQUESTS_MAX:
            return f"a session parks at most {SESSION_REQUESTS_MAX} receives on a shard"
        return None

    def replace(self, request: Request) -> None:
        """Forget the one of which `request` is a retry."""
        if self._parked:
            older = self._parked.get(_key(request))
            if older is not None:
                self.settle(older)

    def park(self, receiver: Receiver) -> None:
        """Let it wait until its deadline."""
        key = _key(receiver.request)
        self._parked[key] = receiver
        self._by_session[key[0]] = self._by_session.get(key[0], 0) + 1
        if len(self._deadlines) > 2 * len(self._parked) + _HEAP_SLACK:
            self._deadlines = [one for one in self._deadlines if not one[2].settled]
            heapq.heapify(self._deadlines)
        self._number += 1
        heapq.heappush(self._deadlines, (receiver.deadline_ms, self._number, receiver))

    def settle(self, receiver: Receiver) -> None:
        """It needs no answer any more."""
        assert not receiver.settled, "an answer leaves once"
        receiver.settled = True
        session, number = key = _key(receiver.request)
        assert self._parked.get(key) is receiver, f"request {number} waits once"
        del self._parked[key]
        left = self._by_session[session] - 1
        if left:
            self._by_session[session] = left
        else:
            del self._by_session[session]

    def expired(self, mono_ms: float) -> list[Receiver]:
        """Those whose time is over; they are still to be settled."""
        found = []
        deadlines = self._deadlines
        while deadlines and (deadlines[0][0] <= mono_ms or deadlines[0][2].settled):
            receiver = heapq.heappop(deadlines)[2]
            if not receiver.settled:
                found.append(receiver)
        return found

    def give_back(self, receiver: Receiver) -> None:
        """Its time is over, but there was none yet to look for it."""
        self._number += 1
        heapq.heappush(self._deadlines, (receiver.deadline_ms, self._number, receiver))


def _key(request: Request) -> tuple[bytes, int]:
    return request.envelope[:SESSION_BYTES], request.route.request_id
