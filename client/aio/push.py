"""PushConsumer under asyncio: the core of the threaded one; its workers are tasks.

A listener may be a coroutine function. A plain function is called in the event loop and holds it up
for as long as it takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from inspect import isawaitable
from typing import Any

from ..closing import AsyncClosable
from ..consume.fetcher import Fetcher
from ..consume.positions import StartFrom
from ..errors import InvalidArgument, ShardMQError
from ..group.failures import FailureLog
from ..group.mode import Mode
from ..group.options import checked_push
from ..group.outcomes import failure_of, steered
from ..group.parting import Parting, warn_of
from ..group.push import PushGroup
from ..group.work import Listener, Work
from ..link.wire import now
from ..naming import unique_name
from ..push import PREFETCH_BYTES, PREFETCH_MESSAGES, checked_listener
from ..times import Duration, ms_of
from .link import acquire, release

__all__ = ["PushConsumer"]

_log = logging.getLogger("shardmq.client")


class PushConsumer(AsyncClosable):
    """A member of a group that calls listeners with messages; arguments and errors as
    `shardmq.client.PushConsumer`.

    Args:
        concurrency: tasks that call listeners.
        message_timeout: seconds after which a listener is cancelled; None: never.
    """

    def __init__(
        self,
        url: str | None = None,
        group: str | None = None,
        *,
        model: str = "clustering",
        ordered: bool = False,
        start_from: StartFrom = "latest",
        concurrency: int = 20,
        max_attempts: int = 16,
        name: str | None = None,
        message_timeout: Duration | None = None,
        suspend: Duration = 1.0,
        retry_delays: Sequence[Duration] | None = None,
        prefetch_messages: int = PREFETCH_MESSAGES,
        prefetch_bytes: int = PREFETCH_BYTES,
        commit_interval: Duration = 1.0,
        lease: Duration | None = None,
        strategy: str | None = None,
        drain_timeout: Duration = 30.0,
        timeout: Duration = 10.0,
        credentials: Any = None,
    ) -> None:
        self._settings = settings = checked_push(
            group, unique_name() if name is None else name, start_from,
            model=model, ordered=ordered, concurrency=concurrency,
            max_attempts=max_attempts, message_timeout=message_timeout, suspend=suspend,
            retry_delays=retry_delays,
            prefetch_messages=prefetch_messages, prefetch_bytes=prefetch_bytes,
            commit_interval=commit_interval, lease=lease, strategy=strategy,
            drain_timeout=drain_timeout, timeout=timeout, credentials=credentials,
        )  # fmt: skip
        # A task that takes too long can be cancelled: no need to give up on it from outside.
        self._options = settings.push._replace(timeout_ms=None)
        self._mode = Mode(settings.member)
        self._listeners: dict[str, Listener] = {}
        self._failures = FailureLog()
        self._group: PushGroup | None = None
        self._idle: list[asyncio.Future[None]] = []
        self._workers: set[asyncio.Task[None]] = set()
        self._ending = False
        self._stop_wanted = False
        self._connection = connection = acquire(url)
        self._fetcher = Fetcher(connection.core, connection.routes, self._settings.fetching)
        self._closed = False

    def subscribe(
        self,
        topic: str,
        expression: str = "*",
        listener: Callable[..., Any] | None = None,
        *,
        batch: int | None = None,
    ) -> None:
        """Calls, and awaits, `listener(message)` with messages of a topic."""
        self._check_open()
        found = checked_listener(listener, batch)
        self._mode.subscribes(topic, expression, started=self._group is not None)
        self._listeners[topic] = found

    async def start(self) -> None:
        """Joins the group: returns once it has accepted this member and the start positions are
        durable, so that no message sent from then on is missed."""
        self._check_open()
        if self._group is not None:
            return
        self._mode.starts()
        self._group = group = PushGroup(
            self._fetcher, self._settings.member, self._options, dict(self._mode.subscriptions),
            dict(self._listeners),
        )  # fmt: skip
        self._connection.run(partial(group.start, self._news))
        in_time = await self._connection.wait(lambda: group.core.settled, self._settings.timeout_ms)
        error = group.core.fault_of_start(in_time)
        if error is not None:
            self._connection.run(group.core.leave)
            self._forget(group)
            raise error

    def _forget(self, group: PushGroup) -> None:
        """Nothing of a group that could not be joined is left to the next attempt: its workers
        end with what they are at."""
        connection = self._connection
        self._group = None
        group.drain()
        group.close()
        self._fetcher.close()
        self._fetcher = Fetcher(connection.core, connection.routes, self._settings.fetching)
        idle, self._idle = self._idle, []
        for one in idle:
            if not one.done():
                one.set_result(None)

    async def wait(self, timeout: Duration | None = None) -> bool:
        """Waits until `stop` or `close` is called; False after `timeout` seconds."""
        group = self._group
        if group is None:
            self._check_open()
            raise InvalidArgument("this consumer has not started", hint="call start() first")
        timeout_ms = None if timeout is None else ms_of(timeout, "timeout")
        done = await self._connection.wait(
            lambda: self._stop_wanted or group.core.has_failed, timeout_ms
        )
        if group.core.error is not None and not self._closed:
            raise group.core.error
        return done or self._closed

    def stop(self) -> None:
        """Lets `wait` return; a listener, too, may call it."""
        self._stop_wanted = True
        if not self._closed:
            self._connection.turn()

    async def close(self) -> None:
        """Lets listeners finish what they are at, acks it and leaves the group. May be called
        again; from a listener it is the same as `stop`."""
        if asyncio.current_task() in self._workers:
            self.stop()
            return
        if self._closed:
            return
        self._closed = self._stop_wanted = True
        try:
            if self._group is not None:
                await self._leave(self._group)
        finally:
            self._fetcher.close()
            self._connection.turn()
            for worker in list(self._workers):
                worker.cancel()
            self._failures.close()
            try:
                await asyncio.gather(*self._workers, return_exceptions=True)
            finally:
                release(self._connection)

    # ----------------------------------------------------------------------------------- workers

    def _news(self) -> None:
        """One more worker is of use, perhaps."""
        group = self._group
        if group is None or not (self._ending or group.dispatcher.wants_another):
            return
        if self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
        elif len(self._workers) < self._settings.concurrency and not self._ending:
            worker = asyncio.get_running_loop().create_task(self._work(group))
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self, group: PushGroup) -> None:
        try:
            await self._work_for(group)
        except Exception as error:  # ours: a user's listener cannot raise here
            _log.exception("a worker ended by a fault")
            group.core.fail(ShardMQError(f"a worker ended by a fault: {error!r}"))
            self._connection.turn()

    async def _work_for(self, group: PushGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            work = group.take(now())
            if work is None:
                if self._ending or group is not self._group:
                    return
                idle = loop.create_future()
                self._idle.append(idle)
                self._connection.turn()
                await idle
                continue
            self._news()
            self._connection.turn()
            await self._run(work)
            if work.failures:
                self._failures.told(work.failures, now())
            group.finish(work, now())
            self._connection.turn()
            await asyncio.sleep(0)  # others have their turn, however quick the listener is

    async def _run(self, work: Work) -> None:
        """Calls the listener with each message of a run, or with all of them."""
        if work.listener.batch:
            messages = list(work.iterator)
            await self._call(work, messages, messages)
            return
        for message in work.iterator:
            if not await self._call(work, message, [message]) and work.stops_at_failure:
                return

    async def _call(self, work: Work, given: Any, messages: list[Any]) -> bool:
        try:
            outcome = work.listener.call(given)
            if outcome is not None and isawaitable(outcome):
                if self._settings.push.timeout_ms is None:
                    outcome = await outcome
                else:
                    outcome = await asyncio.wait_for(outcome, self._settings.push.timeout_ms / 1000)
            if outcome is None:
                return True
            found = [steered(message, outcome) for message in messages]
        except Exception as error:
            found = [failure_of(message, error) for message in messages]
        work.failures += [failure for failure in found if failure is not None]
        return found[0] is None

    # ------------------------------------------------------------------------------------ inside

    async def _leave(self, group: PushGroup) -> None:
        connection, settings, core = self._connection, self._settings, group.core
        parting = Parting(connection.core, now())
        self._ending = True
        group.drain()
        while self._idle:
            self._news()
        try:
            await connection.wait(
                lambda: group.is_drained or (parting.is_alone and group.is_quiet), settings.drain_ms
            )
            if not group.is_quiet:
                _log.warning("listeners did not end in time: their messages come again")
            commit = group.commit(now())
            connection.turn()
            await connection.wait(parting.unless_alone(lambda: commit.settled), settings.timeout_ms)
            commit.warn()
            connection.run(core.leave)
            gone = parting.unless_alone(lambda: core.membership.has_left)
            await connection.wait(gone, settings.timeout_ms)
            left, failures = core.membership.has_left, group.nacker.untold
            warn_of(core.options.group, left=left, failures=failures)
        finally:
            parting.end()
            core.leave(now())  # perhaps somebody cancelled the wait
            group.close()
