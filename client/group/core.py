"""GroupCore: what a member holds, from the grant to the release. Pure.

Joins the membership, the fetcher and the acks. Must not know how messages reach the user: that is
the work of its worker, which says when it has let go of a queue.

    a queue is   told of by      then
    new          EVENTS          CURSORS asks its shard where to start; then it is read
    revoked      EVENTS          the worker stops; what was done is acked; then it is released
    gone         EVENTS, FENCED  everything held of it is dropped, unacked

What a shard refuses is dropped at once, but only EVENTS say what is held: a queue that they still
show after a while is asked for and read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.codec import HeaderError, decode_header, encode_header
from shardmq.actors.protocol.codes import Code, row_of
from shardmq.actors.protocol.group_messages import (
    AssignedQueue,
    CursorResult,
    Cursors,
    CursorsReply,
)
from shardmq.actors.protocol.messages import QueueRoute
from shardmq.actors.protocol.tags import TagFilter
from shardmq.actors.protocol.verbs import Verb

from ..consume.cursor import Cursor
from ..consume.fetcher import Fetcher
from ..consume.selection import Selection
from ..errors import InvalidArgument, ShardMQError, TimedOut, remote_error
from ..link.calls import Call, Reply
from .acks import Commit, Committer
from .member import Changes, Membership, State
from .options import GroupOptions, Subscriptions
from .tracker import Tracker

__all__ = ["GroupCore", "Holding", "Worker"]

CURSORS_MS = 10_000.0
AGAIN_MS = 250.0
"""Before a shard is asked again that does not know a queue yet."""


class Holding:
    """One queue that the member holds."""

    __slots__ = ("assigned", "cursor", "revoked", "tracker")

    def __init__(self, assigned: AssignedQueue) -> None:
        self.assigned = assigned
        self.revoked = False
        self.cursor: Cursor | None = None
        """None until its start position is known."""
        self.tracker: Tracker | None = None

    @property
    def name(self) -> str:
        return f"queue {self.assigned.queue_id} of {self.assigned.topic!r}"


class Worker(Protocol):
    """Who hands messages to the user."""

    def began(self, holding: Holding) -> None:
        """The queue is read from now on."""

    def stop(self, holding: Holding, now: Now) -> None:
        """Nothing more of the queue is handed out; `let_go` follows, at once or later."""

    def dropped(self, holding: Holding, now: Now) -> None:
        """The queue is gone: what is still in work of it is acked by nobody."""

    def passed(self, now: Now) -> None:
        """Tells the trackers what is done by now."""


class GroupCore:
    """The pure part of a member of a group."""

    def __init__(
        self,
        fetcher: Fetcher,
        options: GroupOptions,
        subscriptions: Subscriptions,
        worker: Worker,
    ) -> None:
        self.holdings: dict[int, Holding] = {}
        """By queue number."""
        self.error: ShardMQError | None = None
        """Why this member cannot go on."""
        self.options = options
        self.fetcher = fetcher
        self.fetcher.owner = self
        self._core = fetcher.core
        self._worker = worker
        self._subscriptions = subscriptions
        self.membership = Membership(self._core, options.wish(subscriptions), self)
        self.committer = Committer(self._core, self.refused)
        self._calls: set[Call] = set()
        self._closed = False

    # --------------------------------------------------------------------------- what users do

    def start(self, now: Now) -> None:
        name = self.options.group, self.options.member
        other = self._core.members.setdefault(name, self)
        if other is not self and not other.has_failed:
            self.error = _taken(*name)
            return
        self._core.members[name] = self
        self.membership.start(now)
        self._core.timers.at(now.mono_ms + self.options.commit_ms, self._tick)

    @property
    def settled(self) -> bool:
        """True once the member knows what it holds and where it starts, or has failed."""
        if self.error is not None:
            return True
        member = self.membership
        started = member.state is State.MEMBER and member.version != 0
        return started and all(one.cursor is not None for one in self.holdings.values())

    def fault_of_start(self, in_time: bool) -> ShardMQError | None:
        """Why the group did not take this member, once it is settled, or was not `in_time`."""
        if self.error is None and not in_time:
            return TimedOut(f"group {self.options.group!r} did not take this member in time")
        return self.error

    @property
    def has_failed(self) -> bool:
        return self.error is not None

    def commit(self, now: Now) -> Commit:
        """Makes durable what is done by now."""
        return self.committer.commit(now)

    def leave(self, now: Now) -> None:
        """Goes; commit before."""
        self._closed = True
        self.membership.leave(now)

    def close(self) -> None:
        """Forgets everything in flight."""
        self._closed = True
        name = self.options.group, self.options.member
        if self._core.members.get(name) is self:
            del self._core.members[name]
        self.committer.close()
        for call in self._calls:
            self._core.forget(call)
        self._calls.clear()
        self.holdings.clear()

    def fail(self, error: ShardMQError) -> None:
        """The user is to be told, once, as early as possible; others get what is held."""
        if self.error is None:
            self.error = error
            self._core.timers.at(0.0, self._retire)
            if self.fetcher.news is not None:
                self.fetcher.news()

    def _retire(self, now: Now) -> None:
        """A member that cannot go on keeps no queues: what it has done is told, then it leaves."""
        if self._closed:
            return
        if self.options.auto_commit:
            self._worker.passed(now)
            self.committer.commit(now)
        self.membership.leave(now)

    # ----------------------------------------------------------------------- what workers do

    def let_go(self, holding: Holding, now: Now) -> None:
        """Nothing of a revoked queue is in work: acked and durable, it is given back."""
        if self.holdings.get(holding.assigned.queue) is not holding:
            return
        assert holding.tracker is not None, "a queue that was read has a tracker"
        self.committer.when_durable(holding.tracker, partial(self._release, holding), now)

    # ------------------------------------------------------------------ the membership's holder

    def joined(self, group_id: int, now: Now) -> None:
        for number in list(self.holdings):
            self._drop(number, now)
        self.fetcher.group_id = self.committer.group_id = group_id

    def changed(self, changes: Changes, now: Now) -> None:
        for number in changes.gone:
            self._drop(number, now)
        for number in changes.revoked:
            self._revoke(number, now)
        fresh = []
        for queue in changes.new:
            if queue.revoked:
                self.membership.release(queue.queue, now)
            else:
                self.holdings[queue.queue] = Holding(queue)
                fresh.append(queue.queue)
        self._ask_positions(fresh, now)

    def failed(self, error: ShardMQError, now: Now) -> None:
        del now
        self.fail(error)

    # -------------------------------------------------------------------- the fetcher's owner

    def stale(self, cursor: Cursor, now: Now) -> None:
        cursor.stale = True

        def again(now: Now) -> None:
            if self.fetcher.holds(cursor):
                self.fetcher.wake(cursor, now)

        self._core.timers.at(now.mono_ms + AGAIN_MS, again)

    def fenced(self, cursor: Cursor, now: Now) -> None:
        holding = self.holdings.get(cursor.queue.number)
        if holding is not None and holding.cursor is cursor:
            self._lose(cursor.queue.number, now)

    # ---------------------------------------------------------------------------------- inside

    def _revoke(self, number: int, now: Now) -> None:
        holding = self.holdings.get(number)
        if holding is None or holding.cursor is None:
            self.holdings.pop(number, None)
            self.membership.release(number, now)
        else:
            holding.revoked = True
            self._worker.stop(holding, now)

    def _release(self, holding: Holding, now: Now) -> None:
        number = holding.assigned.queue
        if self.holdings.get(number) is holding:
            self._drop(number, now)
            self.membership.release(number, now)

    def _drop(self, number: int, now: Now) -> None:
        holding = self.holdings.pop(number, None)
        if holding is None or holding.cursor is None or holding.tracker is None:
            return
        self.fetcher.drop(holding.cursor)
        holding.tracker.is_gone = True
        text = f"{holding.name} was given to another member"
        self.committer.forget(holding.tracker, remote_error(Code.FENCED, text))
        self._worker.dropped(holding, now)

    def refused(self, tracker: Tracker, error: ShardMQError, now: Now) -> None:
        """A shard does not take what this member says of a queue."""
        holding = self.holdings.get(tracker.queue)
        if holding is None or holding.tracker is not tracker:
            return  # of an older grant: says nothing of the one in force
        if error.code in (Code.FENCED, Code.GROUP_NOT_FOUND, Code.STALE_ROUTE):
            self._lose(tracker.queue, now)
        else:
            self.fail(error)

    def _lose(self, number: int, now: Now) -> None:
        """A shard says that a queue is not held. EVENTS says it, too, or else it is held still."""
        self._drop(number, now)
        self._core.timers.at(now.mono_ms + AGAIN_MS, partial(self._take_again, number))

    def _take_again(self, number: int, now: Now) -> None:
        queue = None if self._closed else self.membership.held.get(number)
        if queue is None or number in self.holdings or self.error is not None:
            return
        if queue.revoked:
            self.membership.release(number, now)
        else:
            self.holdings[number] = Holding(queue)
            self._ask_positions([number], now)

    def _tick(self, now: Now) -> None:
        if self._closed:
            return
        if self.options.auto_commit:
            self._worker.passed(now)
            self.committer.commit(now)
        self.committer.again(now)
        self._core.timers.at(now.mono_ms + self.options.commit_ms, self._tick)

    # ----------------------------------------------------------------------- start positions

    def _ask_positions(self, numbers: Iterable[int], now: Now) -> None:
        by_shard: dict[int, list[int]] = {}
        for number in numbers:
            holding = self.holdings.get(number)
            if holding is not None and holding.cursor is None:
                by_shard.setdefault(holding.assigned.shard, []).append(number)
        for shard, asked in by_shard.items():
            self._ask_shard(shard, asked, now)

    def _ask_shard(self, shard: int, asked: Sequence[int], now: Now) -> None:
        group_id = self.membership.group_id

        def answered(reply: Reply, now: Now) -> None:
            self._calls.discard(call)
            if group_id == self.membership.group_id:
                self._positions(asked, reply, now)

        header = Cursors(group_id=group_id, queues=list(asked), lag=False)
        deadline_ms = now.mono_ms + CURSORS_MS
        call = Call(
            Verb.CURSORS, encode_header(header), answered, deadline_ms=deadline_ms, shard=shard
        )
        self._calls.add(call)
        self._core.submit(call, now)

    def _positions(self, asked: Sequence[int], reply: Reply, now: Now) -> None:
        results: Sequence[CursorResult] = []
        if reply.code == Code.OK:
            try:
                results = decode_header(reply.header, CursorsReply).queues
            except HeaderError as error:
                self.fail(remote_error(Code.INTERNAL, f"the answer cannot be read: {error}"))
                return
        elif not row_of(reply.code).retryable and reply.code != Code.GROUP_NOT_FOUND:
            header = reply.error()
            self.fail(remote_error(reply.code, header.message, header.hint))
            return
        cursors = []
        for result in results:
            holding = self.holdings.get(result.queue)
            if holding is None or holding.cursor is not None or result.code != Code.OK:
                continue
            if holding.assigned.generation == result.generation:
                cursors.append(self._begin(holding, result))
            elif holding.assigned.generation < result.generation:
                del self.holdings[result.queue]  # somebody else's already: EVENTS will say so
        if cursors:
            self.fetcher.assign(cursors, now)
        left = [
            number
            for number in asked
            if number in self.holdings and self.holdings[number].cursor is None
        ]
        if left:
            again = partial(self._ask_positions, left)
            self._core.timers.at(now.mono_ms + AGAIN_MS, again)

    def _begin(self, holding: Holding, result: CursorResult) -> Cursor:
        told = holding.assigned
        floor = max(result.floor, result.earliest)
        tracker = Tracker(
            told.queue, told.shard, told.generation, floor, result.ranges, name=holding.name
        )
        queue = QueueRoute(queue_id=told.queue_id, number=told.queue, shard=told.shard)
        tags = self._subscriptions.get(told.topic) or TagFilter("*")
        holding.tracker = tracker
        holding.cursor = Cursor(
            told.topic,
            queue,
            tracker.floor,
            generation=told.generation,
            selection=Selection(tags, tracker.ranges),
        )
        self.committer.add(tracker)
        self._worker.began(holding)
        return holding.cursor


def _taken(group: str, member: str) -> InvalidArgument:
    return InvalidArgument(
        f"this process has a member {member!r} of group {group!r} already",
        hint="give each consumer a `name` of its own, or none, or close the other one first",
    )
