"""Work groups: which queues a group may receive from, which of them may have something, and when
the others will.

Owns what a shard has to remember of work groups to answer without looking at every queue. All of it
can be made again from the cursors; what must survive stands in `state/`. Knows no request.

A queue of a work group is one whose grant is everybody's. It is in one of three places:

    ready     it may have something: nobody has looked since there was news. Looked at in rotation.
    resting   a look found nothing, and its next handed-out messages are visible at a known time
    idle      a look found nothing, and nothing is handed out

News (messages, a grant, a message given back, the time of a resting one) makes it ready. So a look
costs a step per queue that may have something, however many queues and groups there are.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from shardmq.actors.kernel.ports import Now, Span
from shardmq.actors.protocol.work_messages import EVERYBODY

from .serving import ServedQueue
from .state.cursors import Cursors
from .state.handouts import NEVER

__all__ = ["QUANTUM_MESSAGES", "WorkGroup", "WorkGroups", "WorkQueue"]

QUANTUM_MESSAGES: Final = 1_024
"""Handed out of a queue before it is the next one's turn: a stored batch is opened for many."""
_RECEIPTS_SLACK: Final = 1_024
_HEAP_SLACK: Final = 64


class WorkQueue:
    """A queue of a work group."""

    __slots__ = (
        "armed_ms",
        "blocked",
        "due",
        "front",
        "given",
        "gone",
        "group",
        "listed",
        "number",
        "rest_ms",
        "searched",
        "soonest_ms",
        "spans",
    )

    def __init__(self, group: WorkGroup, number: int) -> None:
        self.group = group
        self.number = number
        self.front = 0
        """Below it, all is done or handed out."""
        self.due: deque[int] = deque()
        """First offsets of rows that were visible again at the last look at all of them."""
        self.soonest_ms = 0
        """No other row is visible again before this, by the wall clock."""
        self.rest_ms = NEVER
        """Until when the last look found that there is nothing."""
        self.spans: deque[Span] = deque()
        """Where the next batches lie that have a message for the group ..."""
        self.searched = (0, 0)
        """... from which offset on, and up to which."""
        self.blocked = False
        """The last look found that something must be settled first."""
        self.given = 0
        """Messages since it came to its turn."""
        self.listed = False
        """It is among the ready ones."""
        self.armed_ms = NEVER
        """When it will be ready by itself."""
        self.gone = False


class WorkGroup:
    """A work group on this shard; also one that is only waited for."""

    __slots__ = (
        "active",
        "group_id",
        "looking",
        "peeking",
        "queues",
        "ready",
        "receipts",
        "receipts_max",
        "surplus",
        "waiting",
        "woken",
        "woken_until_ms",
    )

    def __init__(self, group_id: int) -> None:
        self.group_id = group_id
        self.queues: dict[int, WorkQueue] = {}
        self.ready: deque[WorkQueue] = deque()
        self.receipts: dict[int, tuple[int, ...]] = {}
        """Receipt -> queues of which messages were handed out with it; some may be settled."""
        self.receipts_max = _RECEIPTS_SLACK
        self.active = False
        """Somebody waits, and has not been looked after since there was news."""
        # Who waits; kept by `receive.py`.
        self.waiting: deque[Any] = deque()
        self.peeking: deque[Any] = deque()
        """Those that only want to know whether there is something."""
        self.woken = 0
        """How many of them were told so lately, and have not come for it ..."""
        self.woken_until_ms = 0.0
        """... and until when (mono) they are expected ..."""
        self.surplus = 0
        """... how many more than needed are told, since of those told before not all came ..."""
        self.looking = False
        """... to look again then."""

    def first_ready(self) -> WorkQueue | None:
        """The queue whose turn it is."""
        return self.ready[0] if self.ready else None


class WorkGroups:
    """All work groups of a shard."""

    def __init__(self, cursors: Cursors) -> None:
        self._cursors = cursors
        self._groups: dict[int, WorkGroup] = {}
        self._by_queue: dict[int, list[WorkQueue]] = {}
        self._resting: list[tuple[int, int, WorkQueue]] = []
        self._count = 0
        self._queues = 0
        self.active: deque[WorkGroup] = deque()
        """Groups whose `active` is true."""
        for group_id, queue, cursor in cursors.all():
            if cursor.member == EVERYBODY:
                work = self._add(group_id, queue)
                if cursor.handouts is not None:
                    for receipt in cursor.handouts.receipts():
                        _remember(work.group, receipt, queue)
        for group in self._groups.values():
            group.receipts_max += 2 * len(group.receipts)

    def __len__(self) -> int:
        """Queues of work groups."""
        return self._queues

    def group(self, group_id: int) -> WorkGroup:
        """The group with that id; one that is not known is made, see `leave`."""
        group = self._groups.get(group_id)
        if group is None:
            group = self._groups[group_id] = WorkGroup(group_id)
        return group

    def leave(self, group: WorkGroup) -> None:
        """Somebody waits no more: a group without queues and waiters is forgotten."""
        if not group.queues and not group.waiting and not group.peeking:
            self._groups.pop(group.group_id, None)

    def activate(self, group: WorkGroup) -> None:
        """Who waits in the group is to be looked after."""
        if not group.active and (group.waiting or group.peeking):
            group.active = True
            self.active.append(group)

    def queue(self, group_id: int, number: int) -> WorkQueue | None:
        group = self._groups.get(group_id)
        return None if group is None else group.queues.get(number)

    # ------------------------------------------------------------------ grants

    def granted(self, group_id: int, number: int) -> None:
        """The grant of a queue has changed, or is gone: what was known of it counts no more."""
        work = self.queue(group_id, number)
        if work is not None:
            self._remove(work)
        cursor = self._cursors.get(group_id, number)
        if cursor is not None and cursor.member == EVERYBODY:
            self._add(group_id, number)

    def dropped(self, numbers: Iterable[int]) -> None:
        """Queues are gone for ever."""
        for number in numbers:
            for work in list(self._by_queue.get(number, ())):
                self._remove(work)

    def _add(self, group_id: int, number: int) -> WorkQueue:
        group = self.group(group_id)
        work = group.queues[number] = WorkQueue(group, number)
        self._by_queue.setdefault(number, []).append(work)
        self._queues += 1
        self.mark_ready(work)
        return work

    def _remove(self, work: WorkQueue) -> None:
        group = work.group
        work.gone = True
        if work.listed:
            group.ready.remove(work)
        del group.queues[work.number]
        self._queues -= 1
        of_queue = self._by_queue[work.number]
        of_queue.remove(work)
        if not of_queue:
            del self._by_queue[work.number]
        self.leave(group)

    # ------------------------------------------------------------------ ready and resting

    def news(self, queues: Iterable[ServedQueue]) -> None:
        """Queues have messages, or are served in another way."""
        by_queue = self._by_queue
        for served in queues:
            for work in by_queue.get(served.number, ()):
                self.mark_ready(work)

    def mark_ready(self, work: WorkQueue) -> None:
        """It may have something."""
        work.armed_ms = NEVER
        if not work.listed and not work.gone:
            work.listed = True
            work.group.ready.append(work)
        self.activate(work.group)

    def rest(self, work: WorkQueue, until_ms: int) -> None:
        """The queue whose turn it is has nothing before `until_ms`, unless there is news."""
        first = work.group.ready.popleft()
        assert first is work, "only the first one was looked at"
        work.listed = False
        work.given = 0
        self.arm(work, until_ms)

    def rotate(self, work: WorkQueue) -> None:
        """It is the next queue's turn."""
        work.given = 0
        work.group.ready.rotate(-1)

    def arm(self, work: WorkQueue, until_ms: int) -> None:
        """Make it ready at `until_ms`, if it is not sooner."""
        if work.listed or until_ms >= work.armed_ms:
            return
        work.armed_ms = until_ms
        if len(self._resting) > 2 * self._queues + _HEAP_SLACK:
            self._resting = [one for one in self._resting if _is_armed(one)]
            heapq.heapify(self._resting)
        self._count += 1
        heapq.heappush(self._resting, (until_ms, self._count, work))

    def given_back(self, group_id: int, number: int, until_ms: int, now: Now) -> None:
        """Messages of a queue are visible again at `until_ms`."""
        work = self.queue(group_id, number)
        if work is None:
            return
        work.soonest_ms = min(work.soonest_ms, until_ms)
        if until_ms <= now.wall_ms:
            self.mark_ready(work)
        else:
            self.arm(work, until_ms)

    def wake(self, now: Now) -> None:
        """Make those ready whose time has come."""
        resting = self._resting
        while resting and (resting[0][0] <= now.wall_ms or not _is_armed(resting[0])):
            one = heapq.heappop(resting)
            if _is_armed(one):
                self.mark_ready(one[2])

    def wake_in_ms(self, now: Now) -> float | None:
        """After how long `wake` has something to do."""
        return None if not self._resting else max(0, self._resting[0][0] - now.wall_ms)

    # ------------------------------------------------------------------ receipts

    def remember(self, group: WorkGroup, receipt: int, number: int) -> None:
        """Messages of a queue were handed out with `receipt`."""
        if len(group.receipts) >= group.receipts_max:
            self._forget_settled(group)
        _remember(group, receipt, number)

    def _forget_settled(self, group: WorkGroup) -> None:
        group.receipts = {}
        for number in group.queues:
            cursor = self._cursors.get(group.group_id, number)
            if cursor is not None and cursor.handouts is not None:
                for receipt in cursor.handouts.receipts():
                    _remember(group, receipt, number)
        group.receipts_max = 2 * len(group.receipts) + _RECEIPTS_SLACK


def _remember(group: WorkGroup, receipt: int, number: int) -> None:
    known = group.receipts.get(receipt, ())
    if number not in known:
        group.receipts[receipt] = (*known, number)


def _is_armed(one: tuple[int, int, WorkQueue]) -> bool:
    return one[0] == one[2].armed_ms and not one[2].gone
