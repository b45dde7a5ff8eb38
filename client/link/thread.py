"""Connection: the driver of one ClientCore with threads.

Owns the lock, the wire and one daemon thread. One lock guards the core and everything that shares
it; under the interpreter's own lock a finer one would buy nothing, and a thread that holds this one
while it is descheduled is run next, because everybody who needs the core blocks on it.

Who waits, drives: a thread that waits for an answer becomes the leader. It takes the socket out of
the I/O thread's epoll set and polls it itself, so a lone `send` costs no thread hop. Others that
wait meanwhile are woken one by one as soon as what they wait for is there. When the leader leaves
while calls are in flight, the socket goes back to the I/O thread, which looks after timers,
heartbeats, news of the transport and whatever arrives while nobody waits. With no call in flight
nothing will arrive, so the socket is left aside until something is sent: a thread that sends and
waits again and again pays for no change of the set.

The user's callbacks run in the I/O thread, without the lock, so that they may use the client, even
close it. One that raises is logged and ends nothing else; a close runs those that are due first.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from math import ceil, inf
from typing import Any, TypeVar

from shardmq.actors.kernel.ports import Now

from ..errors import ClosedError, ForkedError
from ..routes import Routes
from .core import ClientCore
from .turning import turn
from .waiting import Awaited, Member, Waiter
from .wire import Wire, now

LED_MS = 100.0
"""How often the I/O thread looks whether there still is a leader."""

__all__ = ["Connection", "run_callback"]

_log = logging.getLogger("shardmq.client")
_Awaited = TypeVar("_Awaited", bound=Awaited)


class Connection:
    """A connection to one broker, shared by everything in this process that uses its address."""

    def __init__(self, url: str, core: ClientCore) -> None:
        self.url = url
        self.core = core
        self.lock: Any = threading.Lock()
        self.routes = Routes(core)
        self.members: set[Member] = set()
        self._wire = Wire(url)
        self._epoll = select.epoll()
        self._poll = select.poll()
        self._thread_wake = _wake_fd()
        self._leader_wake = _wake_fd()
        for fd in (self._wire.fd, self._wire.news_fd):
            self._epoll.register(fd, select.EPOLLIN)
            self._poll.register(fd, select.POLLIN)
        self._epoll.register(self._thread_wake, select.EPOLLIN)
        self._poll.register(self._leader_wake, select.POLLIN)
        self._watched = True
        """The socket is in the I/O thread's set."""
        self._leader: Callable[[], bool] | None = None
        """What the leader waits for."""
        self._leader_until_ms = inf
        self._waiters: list[Waiter] = []
        self._thread_until_ms = inf
        self._later: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._inside = 0
        """Threads in `wait`."""
        self._all_left = threading.Event()
        turn(core, self._wire, now())  # only what was once found empty tells that it is not
        self._thread = threading.Thread(target=self._run, name="shardmq-client", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------------ with the lock

    def turn(self) -> None:
        """Does everything that is ready. Call it with the lock held, after changing the core."""
        if self._stopping:
            return
        turn(self.core, self._wire, now(), news=False)
        self._wake_others()
        if self._leader is None:
            self._hand_over()

    def arm(self) -> None:
        """Makes sure that a new timer is seen. Call it with the lock held."""
        wake_at_ms = self.core.wake_at_ms
        if wake_at_ms is None or self._stopping:
            return
        if self._leader is not None:
            if wake_at_ms < self._leader_until_ms:
                os.eventfd_write(self._leader_wake, 1)
        elif wake_at_ms < self._thread_until_ms:
            os.eventfd_write(self._thread_wake, 1)

    def later(self, call: Callable[[], None]) -> None:
        """Calls `call()` in the connection's thread, without the lock: the user's callbacks."""
        if not self._later:
            os.eventfd_write(self._thread_wake, 1)
        self._later.append(call)

    # --------------------------------------------------------------------- without the lock

    def wait(self, done: Callable[[], bool], timeout_ms: float | None = None) -> bool:
        """Blocks until `done()` (called with the lock held, cheap); False after `timeout_ms`, or
        when somebody closes the connection."""
        with self.lock:
            at = now()
            return self.drive(done, inf if timeout_ms is None else at.mono_ms + timeout_ms, at)

    def drive(self, done: Callable[[], bool], until_ms: float, at: Now) -> bool:
        """As `wait`, with the lock held, which it gives away while it sleeps."""
        self._inside += 1
        try:
            self._turn_first(at)
            return self._drive_on(done, until_ms, at)
        finally:
            self._step_out()

    def see_through(self, wish: _Awaited, change: Callable[[_Awaited, Now], None]) -> None:
        """Changes the core and blocks until `wish` is settled, or its `until_ms` has come.

        As `drive`, for many threads at once: who is woken has nothing more to do here, and does
        not queue up for the lock that all others who were woken want, too.

        Raises:
            ClosedError: somebody closed the connection.
        """
        latch = threading.Lock()
        latch.acquire()
        waiter = Waiter(lambda: wish.settled, latch.release, leaves=True)
        with self.lock:
            at = now()
            change(wish, at)
            self._inside += 1
            try:
                self._turn_first(at)
                is_over = wish.settled or at.mono_ms >= wish.until_ms or self._stopping
                if is_over or self._leader is None:
                    self._drive_on(waiter.done, wish.until_ms, at)
                else:
                    self._waiters.append(waiter)
                    self.arm()
            finally:
                if waiter not in self._waiters:
                    self._step_out()
                    latch.release()
        self._sleep(latch, waiter, (wish.until_ms - at.mono_ms) / 1000)
        if self._stopping and not wish.settled:
            raise ClosedError("connection")

    def _turn_first(self, at: Now) -> None:
        if not self._stopping:
            turn(self.core, self._wire, at, news=False)
            self._wake_others()

    def _drive_on(self, done: Callable[[], bool], until_ms: float, at: Now) -> bool:
        while not done():
            if at.mono_ms >= until_ms or self._stopping:
                return False
            if self._leader is None:
                at = self._lead(done, until_ms, at)
            else:
                at = self._follow(done, until_ms, at)
        return True

    def _step_out(self) -> None:
        self._inside -= 1
        if self._stopping:
            if not self._inside:
                self._all_left.set()
        elif self._leader is None:
            self._hand_over()

    def _sleep(self, latch: threading.Lock, waiter: Waiter, timeout_s: float) -> None:
        """Without the lock, until somebody wakes `waiter`, which then is counted out."""
        woken = False
        try:
            woken = latch.acquire(timeout=max(0.0, min(timeout_s, threading.TIMEOUT_MAX)))
        finally:
            if not woken:
                with self.lock:
                    if waiter in self._waiters:
                        self._waiters.remove(waiter)
                        self._step_out()

    def run(self, change: Callable[[Now], None]) -> None:
        """Changes the core and does what follows from it."""
        with self.lock:
            change(now())
            self.turn()
            self.arm()

    # ------------------------------------------------------------------------------ turning

    def _wake_others(self) -> None:
        if self._waiters:
            ready = [waiter for waiter in self._waiters if waiter.done()]
            for waiter in ready:
                self._waiters.remove(waiter)
                self._inside -= waiter.leaves
                waiter.wake()
        leader = self._leader
        if leader is not None and leader():
            os.eventfd_write(self._leader_wake, 1)

    def _lead(self, done: Callable[[], bool], until_ms: float, at: Now) -> Now:
        """Polls the socket in the caller's thread until `done()` or `until_ms`."""
        self._leader = done
        core, wire = self.core, self._wire
        if self._watched:
            self._watched = False
            self._epoll.modify(wire.fd, 0)
        try:
            while True:
                news = False
                wake_at_ms = core.wake_at_ms
                if wake_at_ms is None or wake_at_ms > until_ms:
                    wake_at_ms = until_ms
                self._leader_until_ms = wake_at_ms
                if at.mono_ms < wake_at_ms:
                    news = self._poll_unlocked(wake_at_ms - at.mono_ms)
                    at = now()
                if self._stopping:
                    return at
                turn(core, wire, at, news=news, enough=done)
                if done() or at.mono_ms >= until_ms:
                    return at
                if self._waiters:
                    self._wake_others()
        finally:
            self._leader = None
            if self._waiters:
                self._wake_others()
            self.arm()

    def _poll_unlocked(self, wait_ms: float) -> bool:
        """Sleeps; True if the transport has news."""
        self.lock.release()
        try:
            ready = self._poll.poll(None if wait_ms == inf else ceil(wait_ms))
        finally:
            self.lock.acquire()
        news = False
        for fd, _ in ready:
            if fd == self._leader_wake:
                os.eventfd_read(fd)
            elif fd != self._wire.fd:
                news = True
        return news

    def _follow(self, done: Callable[[], bool], until_ms: float, at: Now) -> Now:
        """Sleeps until the leader or the I/O thread has what is waited for."""
        self.arm()  # the leader looks after the timers of what this thread asked for
        latch = threading.Lock()
        latch.acquire()
        waiter = Waiter(done, latch.release)
        self._waiters.append(waiter)
        self.lock.release()
        try:
            latch.acquire(timeout=min((until_ms - at.mono_ms) / 1000, threading.TIMEOUT_MAX))
        finally:
            self.lock.acquire()
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        return now()

    def _hand_over(self) -> None:
        """Has the I/O thread watch the socket, if anything can arrive while nobody waits."""
        if not self._watched and self.core.expects:
            self._watched = True
            self._epoll.modify(self._wire.fd, select.EPOLLIN)

    # ----------------------------------------------------------------------- the I/O thread

    def _run(self) -> None:
        wait_s = None
        while True:
            ready = self._epoll.poll(wait_s)
            with self.lock:
                news = False
                for fd, _ in ready:
                    if fd == self._thread_wake:
                        os.eventfd_read(fd)
                    elif fd == self._wire.news_fd:
                        news = True
                if not self._stopping:
                    if self._leader is None or news:
                        self._turn_as_thread(news)
                    wait_s = self._until_next()
                later, self._later = self._later, deque()
            for call in later:
                run_callback(call)
            if self._stopping:  # perhaps by one of them, which then has closed everything
                while self._later:
                    run_callback(self._later.popleft())
                return

    def _turn_as_thread(self, news: bool) -> None:
        turn(self.core, self._wire, now(), news=news)
        self._wake_others()
        if self._leader is None:
            self._hand_over()
        else:
            self.arm()

    def _until_next(self) -> float | None:
        """Seconds until the next timer. A leader looks after them itself, but a thread that slept
        without end meanwhile would have to be woken as soon as the leader leaves."""
        wake_at_ms = self.core.wake_at_ms
        if wake_at_ms is None:
            self._thread_until_ms = inf
            return None
        at_ms = now().mono_ms
        least_ms = at_ms if self._leader is None else at_ms + LED_MS
        self._thread_until_ms = max(wake_at_ms, least_ms)
        return (self._thread_until_ms - at_ms) / 1000

    # -------------------------------------------------------------------------------- ending

    def drain(self, timeout_ms: float) -> bool:
        """Sends what members still hold; False if not all of it was answered in time."""

        def flush(at: Now) -> None:
            for member in self.members:
                member.flush(at)

        self.run(flush)
        return self.wait(lambda: all(member.idle for member in self.members), timeout_ms)

    def close(self) -> None:
        """Sends away whoever waits, stops the thread and closes the sockets."""
        with self.lock:
            self._stopping = True
            os.eventfd_write(self._thread_wake, 1)
            os.eventfd_write(self._leader_wake, 1)
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                self._inside -= waiter.leaves
                waiter.wake()
            if not self._inside:
                self._all_left.set()
        self._all_left.wait()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._epoll.close()
        os.close(self._thread_wake)
        os.close(self._leader_wake)
        self._wire.close()

    def forked(self) -> None:
        """In a child process after fork: every further use raises ForkedError."""
        self.lock = ForkedLock()


class ForkedLock:
    """Stands where the lock was in a forked child, so that the hot path pays nothing."""

    def __enter__(self) -> None:
        raise ForkedError

    def __exit__(self, *_: object) -> None:
        pass

    def acquire(self) -> None:
        raise ForkedError

    def release(self) -> None:
        """Nothing is held."""


def run_callback(call: Callable[[], None]) -> None:
    """Calls what the user gave; its errors are the user's own and go to the log."""
    try:
        call()
    except Exception:
        _log.exception("a callback raised")


def _wake_fd() -> int:
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
