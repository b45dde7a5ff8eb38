"""Polls: FETCH requests that wait for news.

Owns who waits for which queue and until when. Knows nothing of what is stored or how an answer is
built.

The theory. A poll names up to thousands of queues, and there may be thousands of polls, so nothing
here ever walks over all of either:

* each queue keeps a list of the polls that wait for it. News of a queue takes its whole list: every
  poll on it becomes ready and remembers the queue. Cost: one step per poll and queue with news;
* a poll that was woken by one queue is not looked for in the lists of its others. It stays there,
  marked as settled, until the list is taken or has grown to twice its live length: a constant cost
  per registration, paid where it is made;
* the same for the heap of deadlines.

A poll's way:  parked -> ready -> settled (answered), or parked -> settled (expired, replaced). One
that reads for a group may be parked again, when nothing that woke it is selected by the group: it
is then put only on the lists that it was taken from, however many queues it names.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from shardmq.actors.protocol.limits import PARKED_POLLS_MAX, SESSION_REQUESTS_MAX

from .requests import SESSION_BYTES, Request
from .serving import ServedQueue

__all__ = ["GroupRead", "Poll", "PollState", "Polls", "Waiters"]

PARKED_QUEUES_MAX = 500_000
"""Queues that all parked polls of a shard name together, some 40 bytes each."""
_SLACK = 4
"""Settled polls that a list may hold beyond twice its live ones."""
_HEAP_SLACK = 1_024


class PollState(IntEnum):
    """Where a poll is on its way."""

    PARKED = 0
    READY = 1
    SETTLED = 2


class GroupRead(NamedTuple):
    """For whom a FETCH reads, and by which right."""

    group_id: int
    generations: dict[int, int]
    """Queue number -> generation of its grant."""


class Poll:
    """One FETCH: what it wants, and what it woke up for."""

    __slots__ = (
        "bytes_max",
        "deadline_ms",
        "group",
        "listed",
        "moved",
        "ready",
        "request",
        "state",
        "wanted",
    )

    def __init__(
        self,
        request: Request,
        wanted: dict[int, int],
        bytes_max: int,
        deadline_ms: float,
        group: GroupRead | None = None,
    ) -> None:
        # What has been read of the request is not kept while it waits.
        request.header = b""
        request.payload = []
        self.request = request
        self.wanted = wanted
        """Queue number -> offset."""
        self.bytes_max = bytes_max
        self.deadline_ms = deadline_ms
        self.state = PollState.READY
        self.ready: list[int] = []
        """Queues that have something to tell."""
        self.group = group
        self.listed = False
        """True once it was parked: lists of waiters and the heap of deadlines know it."""
        self.moved: dict[int, int] | None = None
        """Queue number -> offset, where messages that the group does not select were passed."""

    @property
    def session(self) -> bytes:
        return self.request.envelope[:SESSION_BYTES]

    def settle(self) -> None:
        """It needs no answer any more; lists that still hold it hold little."""
        self.state = PollState.SETTLED
        self.wanted = {}
        self.ready = []


class Waiters:
    """Polls that wait for one queue."""

    __slots__ = ("_limit", "polls")

    def __init__(self) -> None:
        self.polls: list[Poll] = []
        self._limit = _SLACK

    def add(self, poll: Poll) -> None:
        if len(self.polls) >= self._limit:
            self.polls = [one for one in self.polls if one.state != PollState.SETTLED]
            self._limit = 2 * len(self.polls) + _SLACK
        self.polls.append(poll)


class Polls:
    """All polls of a shard that have not been answered."""

    def __init__(self) -> None:
        self.ready: deque[Poll] = deque()
        """To be answered, in order; those of them that are settled by now are to be skipped."""
        self._parked: dict[tuple[bytes, int], Poll] = {}
        self._by_session: dict[bytes, int] = {}
        self._deadlines: list[tuple[float, int, Poll]] = []
        self._number = 0
        self._queues = 0

    def __len__(self) -> int:
        """Polls that are parked."""
        return len(self._parked)

    @property
    def wake_at_ms(self) -> float | None:
        """When the next poll may expire."""
        return self._deadlines[0][0] if self._deadlines else None

    def why_not(self, poll: Poll) -> str | None:
        """The bound that keeps `poll` from being parked, if any."""
        if len(self._parked) >= PARKED_POLLS_MAX:
            return f"a shard parks at most {PARKED_POLLS_MAX} polls"
        if self._queues + len(poll.wanted) > PARKED_QUEUES_MAX:
            return f"parked polls name at most {PARKED_QUEUES_MAX} queues"
        if self._by_session.get(poll.session, 0) >= SESSION_REQUESTS_MAX:
            return f"a session parks at most {SESSION_REQUESTS_MAX} polls on a shard"
        return None

    def replace(self, request: Request) -> None:
        """Forget the parked poll of which `request` is a retry: it is answered once, by the new."""
        if self._parked:
            older = self._parked.get(_key(request))
            if older is not None:
                self._unpark(older)
                older.settle()

    def is_replaced(self, poll: Poll) -> bool:
        """True if a retry of its request is parked: that one is answered."""
        return self._parked.get(_key(poll.request), poll) is not poll

    def park(self, poll: Poll, queues: Iterable[ServedQueue]) -> None:
        """Let `poll` wait for news of `queues` (those it wants; when it is parked again, those
        that woke it) until its deadline."""
        poll.state = PollState.PARKED
        self._parked[_key(poll.request)] = poll
        session = poll.session
        self._by_session[session] = self._by_session.get(session, 0) + 1
        self._queues += len(poll.wanted)
        for served in queues:
            waiters = served.waiters
            if waiters is None:
                waiters = served.waiters = Waiters()
            waiters.add(poll)
        if poll.listed:
            return
        poll.listed = True
        if len(self._deadlines) > 2 * len(self._parked) + _HEAP_SLACK:
            self._deadlines = [one for one in self._deadlines if one[2].state != PollState.SETTLED]
            heapq.heapify(self._deadlines)
        self._number += 1
        heapq.heappush(self._deadlines, (poll.deadline_ms, self._number, poll))

    def wake(self, queues: Iterable[ServedQueue]) -> None:
        """Queues have news, or are served no more: who waits for them becomes ready."""
        for served in queues:
            waiters = served.waiters
            if waiters is None:
                continue
            served.waiters = None
            for poll in waiters.polls:
                if poll.state == PollState.PARKED:
                    self._make_ready(poll)
                if poll.state == PollState.READY:
                    poll.ready.append(served.number)

    def fence(self, served: ServedQueue, group_id: int) -> None:
        """The queue is granted anew: polls of the group that wait for it become ready."""
        waiters = served.waiters
        if waiters is None:
            return
        others = []
        for poll in waiters.polls:
            if poll.group is None or poll.group.group_id != group_id:
                others.append(poll)
                continue
            if poll.state == PollState.PARKED:
                self._make_ready(poll)
            if poll.state == PollState.READY:
                poll.ready.append(served.number)
        waiters.polls = others

    def expired(self, mono_ms: float) -> list[Poll]:
        """Parked polls whose time is over, settled and taken out."""
        found = []
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= mono_ms:
            poll = heapq.heappop(deadlines)[2]
            if poll.state == PollState.PARKED:
                self._unpark(poll)
                poll.settle()
                found.append(poll)
        return found

    def _make_ready(self, poll: Poll) -> None:
        self._unpark(poll)
        poll.state = PollState.READY
        self.ready.append(poll)

    def _unpark(self, poll: Poll) -> None:
        del self._parked[_key(poll.request)]
        session = poll.session
        left = self._by_session[session] - 1
        if left:
            self._by_session[session] = left
        else:
            del self._by_session[session]
        self._queues -= len(poll.wanted)


def _key(request: Request) -> tuple[bytes, int]:
    return request.envelope[:SESSION_BYTES], request.route.request_id
