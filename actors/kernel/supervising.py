"""The supervisor's shell: real processes under `supervisor.py`.

Owns: the loop that spawns, PINGs, reaps and kills. Must not know what the children do.

Two ways to run it. `serve` calls `run()` in its main thread; an embedded broker calls `start()`,
which runs the same loop in a thread of its own. Either way all children are spawned by the thread
that loops, because a child dies with the thread that spawned it.

An exit is seen at once (a pidfd in the same epoll as the sockets), so a killed shard is replaced
after no more than the start of an interpreter.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable, Sequence
from copy import copy

from ..protocol.codec import HeaderError, decode_header, encode_header
from ..protocol.frames import FrameError, pack_request, unpack_route
from ..protocol.messages import Ping, Pong
from ..protocol.verbs import Verb
from .child_states import Action, ChildState
from .exchange import Exchange
from .logs import LogForm, LogLevel, fields
from .ports import Clock, Letter, Now
from .process import ExitCode
from .sockets import SocketPlan
from .spawn import Child, ChildSpec
from .supervisor import ChildStatus, Order, RestartPolicy, SupervisorCore

__all__ = ["StartFailed", "Supervisor"]

PING_DEADLINE_MS = 10_000
STOP_TIMEOUT_S = 60.0
_PING = encode_header(Ping())

log = logging.getLogger("shardmq.supervisor")


class StartFailed(Exception):
    """A child did not come up; the text is its own reason."""

    def __init__(self, child: str, exit_code: int | None, reason: str) -> None:
        super().__init__(f"{child}: {reason}")
        self.child = child
        self.exit_code = exit_code
        """None if it did not exit but was not ready in time."""
        self.reason = reason


class Supervisor:
    """Runs a fixed set of child processes. Methods may be called from any thread."""

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        clock: Clock,
        *,
        policy: RestartPolicy | None = None,
        on_change: Callable[[ChildStatus], None] | None = None,
        log_level: LogLevel = "info",
        log_form: LogForm = "auto",
    ) -> None:
        """Starts nothing yet.

        Args:
            on_change: called in the supervisor's thread with a child's new status; must not block.
            log_level, log_form: of the children's logs, which go to our stderr.
        """
        self._specs = {spec.name: spec for spec in specs}
        self._clock = clock
        self._core = SupervisorCore([(spec.name, spec.stage) for spec in specs], policy)
        self._on_change = on_change
        self._log_level: LogLevel = log_level
        self._log_form: LogForm = log_form
        self._running: dict[str, Child] = {}
        self._name_of_pidfd: dict[int, str] = {}
        self._exchange: Exchange | None = None
        self._thread: threading.Thread | None = None
        self._owner_pid = os.getpid()
        self._stop_requested = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._over = False
        self._shown: dict[str, ChildStatus] = {one.name: copy(one) for one in self._core.children}

    # --- for the owner -----------------------------------------------------------------------

    def start(self) -> None:
        """Runs the children from a thread of its own; `wait_ready` tells how that went."""
        assert self._thread is None, "a supervisor starts once"
        self._thread = threading.Thread(target=self._run, name="shardmq-supervisor", daemon=True)
        atexit.register(self.stop)
        self._thread.start()

    def run(self) -> None:
        """Runs the children from this thread until `request_stop`, then stops them in order.

        Raises:
            StartFailed: a child ended before all had served; the others were stopped.
        """
        self._run()
        if self._error is not None:
            raise self._error

    def wait_ready(self, timeout_s: float) -> None:
        """Sleeps until every child serves.

        Raises:
            StartFailed: one ended instead, or is not ready in time.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.is_ready or self._over, timeout_s)
        if self._error is not None:
            raise self._error
        if not self.is_ready:
            late = next((o for o in self.children() if o.state is not ChildState.SERVING), None)
            if late is not None:
                reason = f"not ready after {timeout_s:g} s ({late.state.value})"
                raise StartFailed(late.name, late.exit_code, reason)

    @property
    def is_ready(self) -> bool:
        """All children serve, now."""
        return all(one.state is ChildState.SERVING for one in self.children())

    def children(self) -> list[ChildStatus]:
        """A copy of each child's status."""
        return list(self._shown.values())

    def request_stop(self) -> None:
        """Asks for an orderly stop; also from a signal handler. May be called again."""
        self._stop_requested = True
        exchange = self._exchange
        if exchange is not None:
            exchange.wake()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stops everything in order and, after `start`, waits for it. May be called again. In a
        fork of the owner it does nothing: the children are not the fork's.

        Raises:
            TimeoutError: something still runs.
        """
        if os.getpid() != self._owner_pid:
            return
        self.request_stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                raise TimeoutError(f"the broker's processes still run after {timeout_s:g} s")
        atexit.unregister(self.stop)

    # --- the loop ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            links = {spec.name: spec.mailbox for spec in self._specs.values()}
            self._exchange = Exchange(SocketPlan(links=links))
            self._loop(self._exchange)
        except BaseException as error:
            self._error = error
            log.critical("the supervisor ends on an error", exc_info=error)
        finally:
            for child in self._running.values():
                child.kill()
            for child in self._running.values():
                child.wait()
                child.close()
            exchange, self._exchange = self._exchange, None
            if exchange is not None:
                exchange.close(0)
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _loop(self, exchange: Exchange) -> None:
        core = self._core
        now = self._clock.now()
        self._perform(core.start(now), exchange, now)
        while not core.is_done:
            wake_at_ms = core.wake_at_ms
            ended = exchange.wait(1e12 if wake_at_ms is None else wake_at_ms - now.mono_ms)
            now = self._clock.now()
            orders = self._hear(exchange, now)
            for pidfd in ended:
                orders += self._reap(pidfd, exchange, now)
            orders += core.tick(now)
            self._check_start()
            if self._stop_requested:
                orders += core.stop(now)
            self._perform(orders, exchange, now)

    def _hear(self, exchange: Exchange, now: Now) -> list[Order]:
        """PONGs, and mailboxes that can be reached."""
        core = self._core
        letters: list[Letter] = []
        exchange.collect(letters, letters)
        orders: list[Order] = []
        for name, _, frames in letters:
            try:
                ping_id = unpack_route(frames[1]).request_id
                pong = decode_header(frames[2], Pong)
            except (FrameError, HeaderError) as error:
                log.warning("a PONG is malformed", extra=fields(child=name, error=str(error)))
                continue
            orders += core.pong(name, ping_id, pong.state == "serving", now)
        for name, up in exchange.link_changes():
            if up:
                orders += core.connected(name, now)
        return orders

    def _reap(self, pidfd: int, exchange: Exchange, now: Now) -> list[Order]:
        name = self._name_of_pidfd[pidfd]
        child = self._running[name]
        ended = child.exit()
        if ended is None:
            return []
        exchange.unwatch(pidfd)
        del self._name_of_pidfd[pidfd], self._running[name]
        child.close()
        refused = ended.code == ExitCode.REFUSED
        return self._core.exited(name, ended.code, ended.reason, refused, now)

    def _check_start(self) -> None:
        """Before all have served once, a child that is given up ends the start."""
        failure = self._core.failure
        if failure is None or self._core.served_once or self._error is not None:
            return
        self._error = StartFailed(failure.name, failure.exit_code, failure.exit_reason)
        self._stop_requested = True

    def _perform(self, orders: list[Order], exchange: Exchange, now: Now) -> None:
        pings: list[Letter] = []
        todo = list(orders)
        for order in todo:
            child = self._running.get(order.child)
            if order.action is Action.PING:
                route = pack_request(Verb.PING, order.ping_id, PING_DEADLINE_MS)
                pings.append((order.child, b"", [b"", route, _PING]))
            elif order.action is Action.SPAWN:
                todo += self._spawn(self._specs[order.child], exchange, now)
            elif child is not None and order.action is Action.TERMINATE:
                child.terminate()
            elif child is not None and order.action is Action.KILL:
                log.warning("a child does not answer", extra=fields(child=order.child))
                child.kill()
        exchange.send(pings)  # one that cannot be sent counts as unanswered
        self._show()

    def _spawn(self, spec: ChildSpec, exchange: Exchange, now: Now) -> list[Order]:
        try:
            child = Child(spec, log_level=self._log_level, log_form=self._log_form)
        except OSError as error:
            # As good as a child that ended at once: one more crash, with the usual pauses.
            reason = f"cannot be started: {error}"
            return self._core.exited(spec.name, ExitCode.BUG, reason, False, now)
        self._running[spec.name] = child
        self._name_of_pidfd[child.pidfd] = spec.name
        exchange.watch(child.pidfd)
        return []

    def _show(self) -> None:
        """Publishes and logs what has changed."""
        for status in self._core.children:
            child = self._running.get(status.name)
            status.pid = child.pid if child is not None else None
            if status == self._shown[status.name]:
                continue
            shown = copy(status)
            with self._changed:
                self._shown[status.name] = shown
                self._changed.notify_all()
            _log_change(shown)
            if self._on_change is not None:
                self._on_change(shown)


def _log_change(status: ChildStatus) -> None:
    particulars = fields(child=status.name, state=status.state.value, pid=status.pid)
    if status.state in (ChildState.BACKING_OFF, ChildState.FAILED):
        particulars["fields"]["reason"] = status.exit_reason
        log.warning("a child ended", extra=particulars)
    elif status.state is ChildState.SERVING:
        log.info("a child serves", extra=particulars)
    else:
        log.debug("a child changed", extra=particulars)
