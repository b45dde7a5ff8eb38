"""Rerouting: what becomes of a queue that its shard does not know any more. Pure.

A consumer that was given queues by its user asks for the topic's route and goes on where the queue
is now, or says once that it is gone. A member of a group has another owner for its queues: the
coordinator tells it what it holds.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.codes import Code, row_of

from ..errors import RemoteError, remote_error
from ..routes import RouteFault, Routes, TopicMap
from .cursor import Cursor

if TYPE_CHECKING:
    from .fetcher import Fetcher

__all__ = ["Owner", "Rerouting"]

ROUTE_MS = 10_000.0
AGAIN_MS = 100.0


class Owner(Protocol):
    """Who decides which queues are read."""

    def stale(self, cursor: Cursor, now: Now) -> None:
        """The shard does not know the queue: `cursor` rests until this owner wakes it."""

    def fenced(self, cursor: Cursor, now: Now) -> None:
        """The shard says that the queue was given to somebody else."""


class Rerouting:
    """The owner of queues that a user assigned."""

    def __init__(self, fetcher: Fetcher, routes: Routes) -> None:
        self._fetcher = fetcher
        self._timers = fetcher.core.timers
        self._routes = routes

    def stale(self, cursor: Cursor, now: Now) -> None:
        cursor.stale = True
        self._routes.forget(cursor.topic)
        self._ask(cursor, now)

    def fenced(self, cursor: Cursor, now: Now) -> None:
        del now  # reads of nobody's group are never fenced: a broker that does so is faulty
        error = remote_error(Code.FENCED, "a read without a group was fenced")
        self._fetcher.fail(cursor, error)

    def _ask(self, cursor: Cursor, now: Now) -> None:
        told = partial(self._told, cursor)
        self._routes.ask(cursor.topic, told, now.mono_ms + ROUTE_MS, now)

    def _told(self, cursor: Cursor, found: TopicMap | RouteFault, now: Now) -> None:
        if not self._fetcher.holds(cursor):
            return
        queue_id = cursor.queue.queue_id
        if isinstance(found, RouteFault):
            if row_of(found.code).retryable:
                self._timers.at(now.mono_ms + AGAIN_MS, partial(self._again, cursor))
            else:
                error = remote_error(found.code, found.message, found.hint)
                self._fetcher.lose(cursor, error)
            return
        queue = found.queues.get(queue_id)
        if queue is None or not queue.readable:
            text = f"queue {queue_id} of {cursor.topic!r} is closed for reading"
            error = RemoteError(text, code=Code.STALE_ROUTE, retryable=False)
            self._fetcher.lose(cursor, error)
        elif queue.number == cursor.queue.number and queue.shard == cursor.queue.shard:
            # The shard has not heard of it yet.
            self._timers.at(now.mono_ms + AGAIN_MS, partial(self._fetcher.wake, cursor))
        else:
            self._fetcher.move(cursor, queue)
            self._fetcher.wake(cursor, now)

    def _again(self, cursor: Cursor, now: Now) -> None:
        if self._fetcher.holds(cursor):
            self._routes.forget(cursor.topic)
            self._ask(cursor, now)
