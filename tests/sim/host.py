"""Host: one broker process in virtual time, with the shell's order of a turn.

Owns the inbox, the turn, the timer, the one disk job, and the ways in which a process ends: killed
between two events, killed at a call to the disk, ended by itself after a disk error, stopped in
order. Must not know what its core does. What it performs is what `actors.kernel.shell` performs:

    finished job -> letters -> core.handle -> peers that are gone -> links -> journal.write
    -> next job -> send

A job does its work at a random moment between its start and its return, so that bytes written
while a sync runs may or may not be covered by it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from shardmq.shards.log.errors import LogError

from .disk import Disk, Killed
from .network import Link, Network
from .world import World

TURN_LETTERS_MAX = 256
JOB_MS_MAX = 1_300.0
"""Of either half of a job: longer than a client's first attempt."""
POWER_CUT = "power cut"
"""Why a process ends, when the page cache goes with it."""


class State(Enum):
    """Of the process."""

    DOWN = "no process"
    STARTING = "recovering"
    SERVING = "turning"


class Actor:
    """What a process consists of: made anew at every start."""

    def __init__(self, core: Any, journal: Any = None, links: tuple[str, ...] = ()) -> None:
        self.core = core
        self.journal = journal
        self.links = links


class Host:
    """One process slot: whoever runs in it has the same name, disk and address."""

    def __init__(
        self,
        world: World,
        network: Network,
        name: str,
        build: Callable[[], Actor],
        dial: Callable[[Host, str], Link],
        disk: Disk | None = None,
    ) -> None:
        self.world = world
        self.network = network
        self.name = name
        self.disk = disk
        self.state = State.DOWN
        self.incarnation = 0
        self.actor: Actor | None = None
        self.dies_after_send: str | None = None
        """Why it ends as soon as the next answers have left, in the moment when a promise that
        was made too early shows."""
        self.error: OSError | None = None
        """Why the process ended itself."""
        self.starts = self.turns = 0
        self.paused_until_ms = 0.0
        self.turn_ms = 0.05
        self.job_ms = 1.0
        self.restart_ms = 20.0
        self.on_started: list[Callable[[Host], None]] = []
        self.on_letters: list[Callable[[Host, list[Any]], None]] = []
        self.on_effects: list[Callable[[Host, list[Any]], None]] = []
        """Who reads along: what a turn takes in, and what leaves."""
        self.on_turned: list[Callable[[Host], None]] = []
        self.on_ended: list[Callable[[Host, str], None]] = []
        self._build = build
        self._dial = dial
        self._links: dict[str, Link] = {}
        self._up: dict[str, bool] = {}
        self._inbox: list[tuple[str, bytes, list[bytes]]] = []
        self._gone: list[bytes] = []
        self._news: list[tuple[str, bool]] = []
        self._finished: Any = None
        self._job: Any = None
        self._job_ran = False
        self._answered = False
        self._durable = 0
        self._turn_at_ms: float | None = None
        self._timer: Any = None
        self._stopping = self._told_to_stop = False

    @property
    def listening(self) -> bool:
        return self.state is State.SERVING

    @property
    def idle(self) -> bool:
        """Nothing is waiting to be handled here."""
        return not self._inbox and self._job is None

    # --- starting and ending -----------------------------------------------------------------

    def start(self) -> None:
        """Recovers and serves; a start that is killed or meets a full disk is tried again."""
        assert self.state is State.DOWN
        self.state = State.STARTING
        self.incarnation += 1
        self.starts += 1
        self.world.note(self.name, "starts", self.starts)
        try:
            actor = self._build()
        except Killed:
            self.end("killed while it recovered")
            return
        except (LogError, OSError) as error:
            self.end(f"could not start: {error!r}", error)
            return
        self.actor = actor
        self.state = State.SERVING
        self._stopping = self._told_to_stop = False
        self._durable = actor.journal.durable if actor.journal is not None else 0
        for name in actor.links:
            self._up[name] = False
            self._links[name] = self._dial(self, name)
        for hook in self.on_started:
            hook(self)
        self.turn_soon()

    def end(self, why: str, error: Exception | None = None) -> None:
        """The process is gone, what it had in memory with it; another one starts a little later."""
        self.error = error if isinstance(error, OSError) else None
        self.world.note(self.name, "ends", why)
        for hook in self.on_ended:
            hook(self, why)
        if self.disk is not None:
            if why == POWER_CUT:
                self.disk.power_cut()
            else:
                self.disk.process_died()
        self.state = State.DOWN
        self.incarnation += 1
        self.actor = None
        self._inbox, self._news, self._gone = [], [], []
        self._job = self._finished = None
        self._turn_at_ms = None
        self.paused_until_ms = 0.0
        self.dies_after_send = None
        self.network.cut(self)
        for link in self._links.values():
            link.close()
        self._links, self._up = {}, {}
        self.world.after(self.world.chance.uniform(0.2, 1.8) * self.restart_ms, self._restart)

    def power_cut(self) -> None:
        """The machine loses its power, whether the process runs just now or not."""
        if self.state is State.SERVING:
            self.end(POWER_CUT)
        elif self.disk is not None:
            self.world.note(self.name, POWER_CUT, "while it was down")
            for hook in self.on_ended:
                hook(self, POWER_CUT)
            self.disk.power_cut()

    def _restart(self) -> None:
        if self.state is State.DOWN:
            self.start()

    def stop(self) -> None:
        """SIGTERM: the core answers everybody, the journal is closed, the process exits."""
        if self.state is State.SERVING and not self._stopping:
            self._stopping = True
            self.turn_soon()

    def pause(self, pause_ms: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        self.world.note(self.name, "paused", f"{pause_ms:.0f} ms")
        self.paused_until_ms = max(self.paused_until_ms, self.world.mono_ms + pause_ms)

    # --- what wakes it -----------------------------------------------------------------------

    def arrived(self, link: str, peer: bytes, frames: list[bytes]) -> None:
        """A message came in on a bound socket."""
        self.world.stamp(frames)
        self._inbox.append((link, peer, frames))
        self.turn_soon()

    def peer_gone(self, peer: bytes) -> None:
        """A connection of a bound socket has closed, behind the last message of it."""
        if hasattr(self.actor.core if self.actor else None, "peers_gone"):
            self._gone.append(peer)
            self.turn_soon()

    def took(self, link: str) -> Callable[[list[bytes]], None]:
        """Where a link of this process delivers."""
        incarnation = self.incarnation

        def take(frames: list[bytes]) -> None:
            if self.incarnation == incarnation:
                self.arrived(link, b"", frames)

        return take

    def told(self, link: str) -> Callable[[bool], None]:
        """Where a link of this process reports that it is up or lost."""
        incarnation = self.incarnation

        def tell(up: bool) -> None:
            if self.incarnation == incarnation:
                self._news.append((link, up))
                self.turn_soon()

        return tell

    def turn_soon(self) -> None:
        """A turn begins shortly, or when the process is continued."""
        self._turn_at(self.world.mono_ms + self.world.chance.expovariate(1.0) * self.turn_ms)

    def _turn_at(self, at_ms: float) -> None:
        at_ms = max(at_ms, self.paused_until_ms)
        if self._turn_at_ms is not None and self._turn_at_ms <= at_ms:
            return
        self._turn_at_ms = at_ms
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.world.at(at_ms, self._turn_guarded)

    # --- a turn ------------------------------------------------------------------------------

    def _turn_guarded(self) -> None:
        self._turn_at_ms = None
        if self.state is not State.SERVING:
            return
        if self.world.mono_ms < self.paused_until_ms:
            self._turn_at(self.paused_until_ms)
            return
        try:
            over = self._turn()
        except Killed:
            self.end("killed at a call to the disk")
            return
        except OSError as error:
            self.end(f"disk: {error!r}", error)
            return
        if over:
            self.end("stopped in order")
            return
        if self.dies_after_send is not None and self._answered:
            if self.dies_after_send == POWER_CUT:
                self.power_cut()
            else:
                self.end(self.dies_after_send)
            return
        for hook in self.on_turned:
            hook(self)
        self._sleep()

    def _turn(self) -> bool:
        actor, now = self.actor, self.world.now()
        assert actor is not None
        core, journal = actor.core, actor.journal
        self.turns += 1
        self._answered = False
        if self._finished is not None:
            job, self._finished, self._job = self._finished, None, None
            journal.finish_job(job, now)
            self._send(self._released(now))
        letters, self._inbox = self._inbox[:TURN_LETTERS_MAX], self._inbox[TURN_LETTERS_MAX:]
        for hook in self.on_letters:
            hook(self, letters)
        effects = core.handle(letters, now) if letters else []
        if self._gone and not self._inbox:
            gone, self._gone = self._gone, []
            effects += core.peers_gone(gone, now)
        if core.wake_at_ms is not None and core.wake_at_ms <= now.mono_ms:
            effects += core.handle([], now)
        news, self._news = self._news, []
        for link, up in news:
            if self._up[link] != up:
                self._up[link] = up
                effects += core.link_changed(link, up, now)
        if self._stopping and not self._told_to_stop:
            self._told_to_stop = True
            effects += core.stop(now)
        if journal is not None:
            effects += self._to_disk(journal, now)
        self._send(effects)
        if self._stopping and core.drained():
            self._close(now)
            return True
        return False

    def _to_disk(self, journal: Any, now: Any) -> list[Any]:
        if journal.wake_at_ms is not None and journal.wake_at_ms <= now.mono_ms:
            journal.tick(now)
        journal.write()
        if self._job is None:
            job = journal.begin_job(now)
            if job is not None:
                self._begin(job)
        return self._released(now)

    def _begin(self, job: Any) -> None:
        self._job, self._job_ran = job, False
        chance, incarnation = self.world.chance, self.incarnation
        work_ms = 0.0 if chance.random() < 0.5 else chance.expovariate(2.0 / self.job_ms)
        work_ms = min(work_ms, JOB_MS_MAX)
        return_ms = work_ms + min(chance.expovariate(1.0 / self.job_ms), JOB_MS_MAX)

        def work() -> None:
            if self.incarnation != incarnation:
                return
            self._job_ran = True
            try:
                job.run()
            except Killed:
                self.end("killed in a job")
                return
            except OSError as error:
                self.end(f"disk, in a job: {error!r}", error)
                return
            self.world.after(return_ms - work_ms, done)

        def done() -> None:
            if self.incarnation == incarnation:
                self._finished = job
                self.turn_soon()

        self.world.after(work_ms, work)

    def _released(self, now: Any) -> list[Any]:
        assert self.actor is not None
        journal = self.actor.journal
        if journal is None or journal.durable == self._durable:
            return []
        self._durable = journal.durable
        released: list[Any] = self.actor.core.durable_advanced(now)
        return released

    def _send(self, effects: list[Any]) -> None:
        assert self.actor is not None
        for hook in self.on_effects:
            hook(self, effects)
        failed: list[str] = []
        for link, peer, frames in effects:
            if peer:
                self._answered = True
                self.network.reply(peer, frames)
            elif not self._links[link].send(frames) and self._up[link]:
                self._up[link] = False
                failed.append(link)
        for link in failed:
            self._send(self.actor.core.link_changed(link, False, self.world.now()))

    def _close(self, now: Any) -> None:
        """As the shell's end: the job that is out returns, the journal closes, answers leave."""
        assert self.actor is not None
        journal = self.actor.journal
        if journal is None:
            return
        if self._job is not None:
            if not self._job_ran:
                self._job.run()
            journal.finish_job(self._job, now)
            self._job = None
        journal.close(now)
        self._send(self._released(now))

    def _sleep(self) -> None:
        actor = self.actor
        assert actor is not None
        if self._inbox or self._news or self._finished is not None:
            self.turn_soon()
            return
        wakes = [actor.core.wake_at_ms]
        if actor.journal is not None:
            wakes.append(actor.journal.wake_at_ms)
        due = [one for one in wakes if one is not None]
        if due:
            self._turn_at(max(min(due), self.world.mono_ms + 0.01))
