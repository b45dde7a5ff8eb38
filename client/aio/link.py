"""Connection: the driver of one ClientCore under an event loop.

Owns the readers and the timer of one loop, and who waits. Everything happens in the loop's thread,
so there is no lock. Connections are shared within a loop by address, and counted.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from math import inf
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from shardmq.actors.kernel.ports import Now

from ..errors import ForkedError, ShardMQError
from ..link.asking import Asked, Flow
from ..link.core import ClientCore
from ..link.sharing import new_core
from ..link.turning import turn
from ..link.wire import Wire, checked_url, now
from ..routes import Routes

__all__ = ["Connection", "acquire", "release", "run_flow"]

T = TypeVar("T")


class Connection:
    """A connection of one event loop to one broker."""

    def __init__(self, url: str, core: ClientCore, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self.core = core
        self.routes = Routes(core)
        self.loop = loop
        self._wire = Wire(url)
        self._pid = os.getpid()
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = inf
        self._fds = self._wire.fd, self._wire.news_fd
        for fd in self._fds:
            loop.add_reader(fd, self.turn)
        self.turn()

    def turn(self) -> None:
        """Does everything that is ready, and wakes who waited for it."""
        self._check_process()
        turn(self.core, self._wire, now())
        for waiter in [waiter for waiter in self._waiters if waiter[0]()]:
            self._waiters.remove(waiter)
            if not waiter[1].done():
                waiter[1].set_result(None)
        self._arm()

    def later(self, call: Callable[[], None]) -> None:
        """Calls `call()` from the loop: the user's callbacks."""
        self.loop.call_soon(call)

    def run(self, change: Callable[[Now], None]) -> None:
        """Changes the core and does what follows from it."""
        change(now())
        self.turn()

    async def wait(self, done: Callable[[], bool], timeout_ms: float | None = None) -> bool:
        """Waits until `done()`; False after `timeout_ms`."""
        if self.core.outbox:
            self.turn()
        else:  # nothing was sent: nothing more can have come than the loop will tell
            self._check_process()
            self._arm()
        if done():
            return True
        future = self.loop.create_future()
        waiter = (done, future)
        self._waiters.append(waiter)
        timer = None
        if timeout_ms is not None:
            timer = self.loop.call_later(timeout_ms / 1000, _end, future)
        try:
            await future
        finally:
            if timer is not None:
                timer.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        return done()

    def close(self) -> None:
        """Stops watching and closes the sockets."""
        for fd in self._fds:
            self.loop.remove_reader(fd)
        if self._timer is not None:
            self._timer.cancel()
        self._wire.close()

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedError

    def _arm(self) -> None:
        wake_at_ms = self.core.wake_at_ms
        due_ms = inf if wake_at_ms is None else wake_at_ms
        if due_ms < self._timer_ms:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_ms = due_ms
            delay_s = max(0.0, due_ms - now().mono_ms) / 1000
            self._timer = self.loop.call_later(delay_s, self._due)

    def _due(self) -> None:
        self._timer = None
        self._timer_ms = inf
        self.turn()


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


_open: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, list[Any]]] = WeakKeyDictionary()


def acquire(url: str | None) -> Connection:
    """The running loop's connection to `url`, made if there is none."""
    url = checked_url(url)
    loop = asyncio.get_running_loop()
    held = _open.setdefault(loop, {})
    if url not in held:
        held[url] = [Connection(url, new_core("shardmq-python-aio"), loop), 0]
    held[url][1] += 1
    connection: Connection = held[url][0]
    return connection


def release(connection: Connection) -> None:
    """Gives a connection back; the last user closes it."""
    held = _open.get(connection.loop, {})
    entry = held.get(connection.url)
    if entry is not None and entry[0] is connection:
        entry[1] -= 1
        if entry[1] == 0:
            del held[connection.url]
            connection.close()


async def run_flow(connection: Connection, flow: Flow[T], timeout_ms: float) -> T:
    """The flow's result; each step has `timeout_ms`. Errors are raised where the flow waits."""
    try:
        requests = next(flow)
        while True:
            asked = Asked(connection.core, requests, timeout_ms, now(), url=connection.url)
            await connection.wait(lambda asked=asked: asked.settled)  # type: ignore[misc]
            try:
                replies = asked.replies()
            except ShardMQError as error:
                requests = flow.throw(error)
                continue
            requests = flow.send(replies)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
