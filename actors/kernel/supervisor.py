"""Supervision: what happens to the children of a broker, and what is done about it.

Owns: each child's state (by `child_states.py`), its PINGs, its restart times, the order of the
stop. Must not know processes, sockets or clocks; `supervising.py` performs the orders and reports
the events.

A child is asked (PING) each second and answers from its working loop. Silence is counted in PINGs
that were sent and not answered, never in time: a supervisor that was itself stopped for a minute
must not kill everybody when it goes on.

* A child whose exit says "refused" (this configuration, this directory) is given up: FAILED. So is
  any child that ends before the whole broker has served once: whoever starts it wants to know why,
  not to wait.
* The first crash is mended at once; from the second on within `stable_ms` the pauses double from
  100 ms to 5 s.
* The stop goes stage by stage, highest first (routers, coordinator, shards), so nobody loses whom
  it needs to answer those who wait. A child that overstays is killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .child_states import TRANSITIONS, Action, ChildEvent, ChildState, transition
from .ports import Now

__all__ = [
    "ChildStatus",
    "Order",
    "RestartPolicy",
    "SupervisorCore",
]


_S, _E = ChildState, ChildEvent
_ASKED = (_S.STARTING, _S.SERVING, _S.SUSPECT)
"""States in which a child is PINGed."""


class RestartPolicy(NamedTuple):
    """The times of supervision, in milliseconds."""

    ping_ms: float = 1_000
    suspect_pings: int = 3
    overdue_pings: int = 10
    start_ms: float = 60_000
    """From spawn to the first PONG. Recovery of a full journal takes under 2 s."""
    stable_ms: float = 3_000
    """Who served so long starts again without a pause."""
    pause_ms_min: float = 100
    pause_ms_max: float = 5_000
    stop_ms: float = 10_000
    """From SIGTERM to SIGKILL; twice what a shell takes to drain."""


class Order(NamedTuple):
    """What the shell is to do to a child."""

    action: Action
    child: str
    ping_id: int = 0


@dataclass
class ChildStatus:
    """A child as its operator sees it."""

    name: str
    stage: int
    state: ChildState = _S.WAITING
    restarts: int = 0
    exit_code: int | None = None
    """Of the last process that ended; minus the signal's number if it was killed."""
    exit_reason: str = ""
    pid: int | None = None
    """Of the process that runs now; the shell knows it."""


@dataclass
class _Watch:
    """What only the supervisor knows of a child."""

    status: ChildStatus
    deadline_ms: float | None = None
    """Of the state: start, pause or stop must be over by then."""
    ping_at_ms: float = 0.0
    unanswered: int = 0
    first_ping_id: int = 0
    """Of this process: answers to older PINGs come from its predecessor."""
    serving_from_ms: float | None = None
    crashes: int = 0


class SupervisorCore:
    """Supervises a fixed set of children. Every method that returns orders may be called at any
    time; `wake_at_ms` says when `tick` is due."""

    def __init__(
        self, children: Sequence[tuple[str, int]], policy: RestartPolicy | None = None
    ) -> None:
        """`children` are (name, stage)."""
        self._policy = policy or RestartPolicy()
        self._watches = {name: _Watch(ChildStatus(name, stage)) for name, stage in children}
        self._ping_id = 0
        self._stopping = False
        self.served_once = False
        """All children were serving at one time: the broker has started."""

    @property
    def children(self) -> list[ChildStatus]:
        """All children, in the order given."""
        return [watch.status for watch in self._watches.values()]

    @property
    def failure(self) -> ChildStatus | None:
        """A child that was given up, if there is one."""
        return next((one for one in self.children if one.state is _S.FAILED), None)

    @property
    def is_done(self) -> bool:
        """Everything is stopped."""
        return all(one.state is _S.STOPPED for one in self.children)

    @property
    def wake_at_ms(self) -> float | None:
        times = [watch.deadline_ms for watch in self._watches.values()]
        times += [w.ping_at_ms for w in self._watches.values() if w.status.state in _ASKED]
        return min((at for at in times if at is not None), default=None)

    # --- events ------------------------------------------------------------------------------

    def start(self, now: Now) -> list[Order]:
        """Starts all children."""
        return [order for w in self._watches.values() for order in self._on(w, _E.START, now)]

    def connected(self, name: str, now: Now) -> list[Order]:
        """The child's mailbox can be reached: ask at once, it may be ready."""
        watch = self._watches[name]
        return self._ping(watch, now) if watch.status.state is _S.STARTING else []

    def pong(self, name: str, ping_id: int, is_serving: bool, now: Now) -> list[Order]:
        """A PONG. It counts only if it is from the process that runs now."""
        watch = self._watches[name]
        if ping_id < watch.first_ping_id or _E.PONG not in TRANSITIONS[watch.status.state]:
            return []
        watch.unanswered = 0
        if not is_serving and watch.status.state is _S.STARTING:
            return []
        return self._on(watch, _E.PONG, now)

    def exited(
        self, name: str, exit_code: int, reason: str, is_refusal: bool, now: Now
    ) -> list[Order]:
        """The child's process has ended and is reaped."""
        watch = self._watches[name]
        gives_up = is_refusal or not self.served_once
        orders = self._on(watch, _E.REFUSED if gives_up else _E.EXITED, now)
        watch.status.exit_code, watch.status.exit_reason = exit_code, reason
        if self._stopping and watch.status.state is _S.BACKING_OFF:
            orders += self._on(watch, _E.STOP, now)
        return orders + self._next_to_stop(now)

    def stop(self, now: Now) -> list[Order]:
        """Stops all children, stage by stage. May be called again."""
        self._stopping = True
        return self._next_to_stop(now)

    def tick(self, now: Now) -> list[Order]:
        """Does what is due."""
        orders: list[Order] = []
        for watch in self._watches.values():
            state = watch.status.state
            if watch.deadline_ms is not None and watch.deadline_ms <= now.mono_ms:
                event = _E.DUE if state is _S.BACKING_OFF else _E.OVERDUE
                orders += self._on(watch, event, now)
            elif state in _ASKED and watch.ping_at_ms <= now.mono_ms:
                orders += self._count_silence(watch, now)
        return orders

    # --- one child ---------------------------------------------------------------------------

    def _on(self, watch: _Watch, event: ChildEvent, now: Now) -> list[Order]:
        """The one place where a state changes."""
        status = watch.status
        before = status.state
        status.state, action = transition(before, event)
        if status.state is not before or action is not Action.NOTHING:
            self._entered(watch, before, now)
        return [] if action is Action.NOTHING else [Order(action, status.name)]

    def _entered(self, watch: _Watch, before: ChildState, now: Now) -> None:
        policy, state = self._policy, watch.status.state
        watch.deadline_ms = None
        if state is _S.STARTING:
            watch.deadline_ms = now.mono_ms + policy.start_ms
            watch.ping_at_ms = now.mono_ms + policy.ping_ms
            watch.first_ping_id = self._ping_id + 1
            watch.unanswered = 0
            watch.serving_from_ms = None
            watch.status.restarts += before is _S.BACKING_OFF
        elif state is _S.SERVING and watch.serving_from_ms is None:
            watch.serving_from_ms = now.mono_ms
            if all(one.state is _S.SERVING for one in self.children):
                self.served_once = True
        elif state is _S.BACKING_OFF:
            watch.deadline_ms = now.mono_ms + self._pause_ms(watch, now)
        elif state is _S.STOPPING and before is not _S.STOPPING:
            watch.deadline_ms = now.mono_ms + policy.stop_ms

    def _pause_ms(self, watch: _Watch, now: Now) -> float:
        served_from_ms = watch.serving_from_ms
        if served_from_ms is not None and now.mono_ms - served_from_ms >= self._policy.stable_ms:
            watch.crashes = 0
        watch.crashes += 1
        if watch.crashes == 1:
            return 0.0
        doubled = self._policy.pause_ms_min * 2.0 ** min(watch.crashes - 2, 30)
        return min(doubled, self._policy.pause_ms_max)

    def _count_silence(self, watch: _Watch, now: Now) -> list[Order]:
        """One more PING, or the consequence of those that were not answered."""
        state = watch.status.state
        if state is _S.SUSPECT and watch.unanswered >= self._policy.overdue_pings:
            return self._on(watch, _E.OVERDUE, now)
        orders: list[Order] = []
        if state is _S.SERVING and watch.unanswered >= self._policy.suspect_pings:
            orders = self._on(watch, _E.QUIET, now)
        return orders + self._ping(watch, now)

    def _ping(self, watch: _Watch, now: Now) -> list[Order]:
        self._ping_id += 1
        watch.unanswered += 1
        watch.ping_at_ms = now.mono_ms + self._policy.ping_ms
        return [Order(Action.PING, watch.status.name, self._ping_id)]

    def _next_to_stop(self, now: Now) -> list[Order]:
        """Sends the highest stage that still runs to its end, and nothing below it."""
        if not self._stopping:
            return []
        orders: list[Order] = []
        for stage in sorted({one.stage for one in self.children}, reverse=True):
            watches = [w for w in self._watches.values() if w.status.stage == stage]
            for watch in watches:
                if _E.STOP in TRANSITIONS[watch.status.state]:
                    orders += self._on(watch, _E.STOP, now)
            if any(watch.status.state is not _S.STOPPED for watch in watches):
                break
        return orders
