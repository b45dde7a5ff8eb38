"""The shell: the loop that gives a pure core its letters, its time and its disk.

Owns: one turn's order, the stop, the answers to PING and STATS. Must not know verbs, topics or
records; sockets are the exchange's, counting is `stats.py`'s.

One turn drains everything that is there, calls the core once for all of it and performs what it
decided, so that every fixed cost (one `writev`, one sync, one wake-up) is shared by a whole drain:

    wait -> finished job -> letters -> core.handle -> peers that are gone -> links -> journal.write
    -> send -> next job

Letters leave only behind `journal.write()`: an answer in ack mode `written` promises that the page
cache has it. What must wait for the disk is held by the core and released by `durable_advanced`.
The disk works beside the loop (`jobs.py`), never in front of it; its thread is woken last, since
from then on it competes with the loop for the interpreter.

PING is answered here, in the loop that works, behind the drain: an I/O thread that answers for a
stuck actor would prove nothing.

Orderly stop: `core.stop` answers everybody who waits and refuses what still comes; the loop turns
until the core is drained (at most `drain_ms`); the journal writes, syncs and closes; what is on the
way to peers gets `LINGER_MS` to leave.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container
from typing import Any, cast

from ..protocol.codec import encode_header
from ..protocol.codes import Code
from ..protocol.frames import pack_reply, unpack_route
from ..protocol.messages import Pong, StatsReply
from ..protocol.verbs import Verb
from .exchange import Exchange
from .jobs import JobThread
from .ports import Clock, Core, Journal, JournaledCore, Letter, Now
from .sockets import SocketPlan
from .stats import LoopStats

__all__ = ["Shell"]

DRAIN_MS_MAX = 5_000.0
LINGER_MS = 500
FOREVER_MS = 1e12

_PeersGone = Callable[[list[bytes], Now], list[Letter]]


class Shell:
    """Runs one core. Made, run and closed by one thread; only `request_stop` may be called from
    another one or from a signal handler."""

    def __init__(
        self,
        core: Core,
        clock: Clock,
        *,
        sockets: SocketPlan,
        journal: Journal | None = None,
        name: str = "actor",
        drain_ms: float = DRAIN_MS_MAX,
    ) -> None:
        """Binds and connects at once, so letters wait while the rest of the process starts.

        Args:
            core: a `JournaledCore` if there is a journal.
            journal: recovered and ready to append.
            name: what STATS calls the actor.
            drain_ms: how long a stop may take to answer what was accepted.

        Raises:
            ValueError, zmq.ZMQError: a socket cannot be opened.
        """
        self._core = core
        self._core_stats: Callable[[], dict[str, Any]] = getattr(core, "stats", dict)
        self._core_peers_gone: _PeersGone | None = getattr(core, "peers_gone", None)
        self._clock = clock
        self._journal = journal
        self._name = name
        self._drain_ms = drain_ms
        self._exchange = Exchange(sockets)
        self._jobs = JobThread(self._exchange.wake) if journal is not None else None
        self._job_from_ms = 0.0
        self._durable = journal.durable if journal is not None else 0
        self._stats = LoopStats(clock.now().mono_ms)
        self._stop_requested = False
        self._stopping_until_ms: float | None = None

    def request_stop(self) -> None:
        """Asks for an orderly stop; `run` returns once it is done. May be called again."""
        self._stop_requested = True
        self._exchange.wake()

    def run(self) -> None:
        """Serves until a stop was requested and done. Whatever is raised here (by the core, by the
        disk) has left the sockets closed and the journal as after a crash."""
        try:
            if self._jobs is not None:
                self._jobs.start()
            now = self._clock.now()
            while not self._is_over(now):
                now = self._turn(now)
            self._finish()
            self._exchange.close(LINGER_MS)
        finally:
            self._exchange.close(0)

    @property
    def choked(self) -> Container[bytes]:
        """Peers that take nothing just now; a view that stays true."""
        return self._exchange.choked

    def figures(self) -> dict[str, Any]:
        """Figures of the loop and its sockets, without the core's."""
        figures = self._stats.figures(self._clock.now().mono_ms)
        figures.update(self._exchange.figures())
        figures["rss_bytes"] = _rss_bytes()
        return figures

    # --- one turn ----------------------------------------------------------------------------

    def _turn(self, now: Now) -> Now:
        exchange = self._exchange
        core = self._core
        sleep_ms = self._sleep_ms(now)
        self._stats.sleeps(now.mono_ms)
        exchange.wait(sleep_ms)
        now = self._clock.now()
        if self._jobs is not None:
            self._take_job_back(now)
        letters: list[Letter] = []
        calls: list[Letter] = []
        exchange.collect(letters, calls)
        self._stats.woke(now.mono_ms, len(letters))
        effects = core.handle(letters, now) if letters else []
        gone = exchange.peers_gone()
        if gone and self._core_peers_gone is not None:
            effects += self._core_peers_gone(gone, now)
        wake_at_ms = core.wake_at_ms
        if wake_at_ms is not None and wake_at_ms <= now.mono_ms:
            effects += core.handle([], now)
        for link, up in exchange.link_changes():
            effects += core.link_changed(link, up, now)
        if self._stop_requested and self._stopping_until_ms is None:
            self._stopping_until_ms = now.mono_ms + self._drain_ms
            effects += core.stop(now)
        if self._journal is not None:
            self._write(self._journal, now)
            effects += self._released(now)
        if calls:
            effects += [self._answer(call) for call in calls]
        if effects:
            self._send(effects, now)
        if self._journal is not None:
            self._next_job(self._journal, now)
        return self._clock.now()

    def _sleep_ms(self, now: Now) -> float:
        wake_at_ms = self._core.wake_at_ms
        if self._journal is not None:
            journal_at_ms = self._journal.wake_at_ms
            if journal_at_ms is not None and (wake_at_ms is None or journal_at_ms < wake_at_ms):
                wake_at_ms = journal_at_ms
        if self._stopping_until_ms is not None:
            until_ms = self._stopping_until_ms
            wake_at_ms = until_ms if wake_at_ms is None else min(wake_at_ms, until_ms)
        return FOREVER_MS if wake_at_ms is None else wake_at_ms - now.mono_ms

    def _send(self, effects: list[Letter], now: Now) -> None:
        """Sends, and what the core makes of links that failed, too; ends because a link that is
        reported down is not reported again."""
        failed = self._exchange.send(effects)
        while failed:
            effects = []
            for link in failed:
                effects += self._core.link_changed(link, False, now)
            failed = self._exchange.send(effects)

    # --- disk --------------------------------------------------------------------------------

    def _write(self, journal: Journal, now: Now) -> None:
        """Writes what the turn appended."""
        due_ms = journal.wake_at_ms
        if due_ms is not None and due_ms <= now.mono_ms:
            journal.tick(now)
        journal.write()

    def _next_job(self, journal: Journal, now: Now) -> None:
        """Gets the next sync going."""
        assert self._jobs is not None
        if not self._jobs.busy:
            job = journal.begin_job(now)
            if job is not None:
                self._job_from_ms = now.mono_ms
                self._jobs.submit(job)

    def _take_job_back(self, now: Now) -> None:
        """Answers what a finished sync made durable at once, ahead of the turn's new letters."""
        assert self._jobs is not None
        assert self._journal is not None
        job = self._jobs.finished()
        if job is None:
            return
        self._journal.finish_job(job, now)
        self._stats.job_ended(now.mono_ms - self._job_from_ms)
        effects = self._released(now)
        if effects:
            self._send(effects, now)

    def _released(self, now: Now) -> list[Letter]:
        assert self._journal is not None
        durable = self._journal.durable
        if durable == self._durable:
            return []
        self._durable = durable
        return cast(JournaledCore, self._core).durable_advanced(now)

    # --- stop --------------------------------------------------------------------------------

    def _is_over(self, now: Now) -> bool:
        until_ms = self._stopping_until_ms
        return until_ms is not None and (self._core.drained() or now.mono_ms >= until_ms)

    def _finish(self) -> None:
        """The journal's orderly end. Closing syncs, which may release the last answers."""
        if self._journal is None or self._jobs is None:
            return
        job = self._jobs.wait()
        now = self._clock.now()
        if job is not None:
            self._journal.finish_job(job, now)
        self._jobs.stop()
        self._journal.close(now)
        self._send(self._released(now), now)

    # --- PING and STATS ----------------------------------------------------------------------

    def _answer(self, call: Letter) -> Letter:
        link, peer, frames = call
        request = unpack_route(frames[1])
        header: Pong | StatsReply
        if request.verb == Verb.PING:
            header = Pong(state="serving" if self._stopping_until_ms is None else "stopping")
        else:
            figures = {**self.figures(), **self._core_stats()}
            header = StatsReply(actor=self._name, pid=os.getpid(), figures=figures)
        reply = [frames[0], pack_reply(request, Code.OK), encode_header(header, request.flags)]
        return link, peer, reply


def _rss_bytes() -> int:
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
