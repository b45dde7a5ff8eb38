"""PullGroup: what a user of a pull consumer was handed out, and what of it counts as done. Pure.

What was handed out by one call is done when the user comes back for more; a commit by hand counts
all of it at once. A revoked queue whose messages are still in the user's hands is kept until they
are done, but not for long: then others are given them again, and a later commit by hand fails.
"""

from __future__ import annotations

from functools import partial

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.codes import Code

from ..consume.cursor import Cursor
from ..consume.reader import Reader
from ..errors import remote_error
from .acks import Commit
from .core import GroupCore, Holding
from .options import GroupOptions, Subscriptions

__all__ = ["PullGroup"]

HAND_BACK_MS = 500.0
"""How long a revoked queue waits for its user: a join shall be through in less than a second."""


class PullGroup:
    """The group's side of one pull consumer."""

    def __init__(self, reader: Reader, options: GroupOptions, subscriptions: Subscriptions) -> None:
        self._reader = reader
        self.core = GroupCore(reader.fetcher, options, subscriptions, self)
        self._stopping: dict[Cursor, Holding] = {}
        self._lost: list[str] = []
        """Queues that went while messages of them were in the user's hands."""

    def came_back(self, now: Now) -> None:
        """The user wants more: what it was handed out is done, if it is to be so."""
        if self.core.options.auto_commit:
            self.done(now)
            self._lost.clear()

    def done(self, now: Now) -> None:
        """All that was handed out is done."""
        for cursor in self._reader.touched:
            self._pass(cursor)
        self._reader.touched.clear()
        current = self._reader.current
        if current is not None:
            self._reader.touched.add(current.item.cursor)
        stopping, self._stopping = self._stopping, {}
        for holding in stopping.values():
            self.core.let_go(holding, now)

    def commit(self, now: Now) -> Commit:
        """All that was handed out is to be durable."""
        self.done(now)
        commit = self.core.commit(now)
        lost, self._lost = self._lost, []
        if lost:
            text = f"{', '.join(lost)}: given to another member before this commit"
            commit.error = remote_error(Code.FENCED, text)
        return commit

    def closing(self, now: Now, *, done: bool) -> Commit:
        """The last commit; without `done` what the last call handed out comes again."""
        if self.core.options.auto_commit and done:
            self.done(now)
        elif self.core.options.auto_commit:
            self.passed(now)
        return self.core.commit(now)

    # ------------------------------------------------------------------------ the core's worker

    def began(self, holding: Holding) -> None:
        """Nothing to prepare."""

    def stop(self, holding: Holding, now: Now) -> None:
        cursor = holding.cursor
        assert cursor is not None, "only a queue that is read can be stopped"
        current = self._reader.current
        if current is not None and current.item.cursor is cursor:
            self._reader.give_back()
        self._reader.fetcher.stop(cursor)
        if cursor in self._reader.touched:
            self._stopping[cursor] = holding
            late = partial(self._late, cursor)
            self._reader.fetcher.core.timers.at(now.mono_ms + HAND_BACK_MS, late)
        else:
            self.core.let_go(holding, now)

    def dropped(self, holding: Holding, now: Now) -> None:
        del now
        cursor = holding.cursor
        assert cursor is not None, "only a queue that is read can be dropped"
        current = self._reader.current
        if current is not None and current.item.cursor is cursor:
            self._reader.abandon()
        self._stopping.pop(cursor, None)
        if cursor in self._reader.touched:
            self._reader.touched.discard(cursor)
            self._lost.append(holding.name)

    def passed(self, now: Now) -> None:
        """An iteration has done what came before the message that it is at. And of queues of
        which nothing is in the user's hands, what nobody wanted there is done."""
        del now
        current = self._reader.current
        if current is not None:
            self._pass(current.item.cursor, current.in_hand)
        for holding in self.core.holdings.values():
            if holding.cursor is not None and holding.cursor not in self._reader.touched:
                self._pass(holding.cursor)

    # ----------------------------------------------------------------------------------- inside

    def _pass(self, cursor: Cursor, end: int | None = None) -> None:
        holding = self.core.holdings.get(cursor.queue.number)
        if holding is not None and holding.cursor is cursor and holding.tracker is not None:
            tracker = holding.tracker
            tracker.add(tracker.floor, self._reader.position(cursor) if end is None else end)

    def _late(self, cursor: Cursor, now: Now) -> None:
        holding = self._stopping.pop(cursor, None)
        if holding is not None:
            self._reader.touched.discard(cursor)
            self._lost.append(holding.name)
            self.core.let_go(holding, now)
