"""One seed: a calm start, a storm, a calm end, and the verdict.

Owns the phases and what a run returns. Whatever a core raises is a violation, too: an actor that
meets a broken invariant dies, and so does the run.

    start     the cluster comes up, topics are created
    storm     clients work while the nemesis does its own
    calm      faults end; within bounded virtual time every send is answered and every consumer
              reaches the end
    verdict   all checks, an orderly stop of everything, a restart, the checks of places once more
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import NamedTuple

from .checkers import check_all, misplaced, renumbered, unread
from .cluster import Cluster
from .group_history import GroupHistory
from .group_judge import GroupJudge
from .group_load import GroupLoad
from .history import Fate, History, Violation
from .host import State
from .load import Load
from .nemesis import Nemesis
from .oracle import Oracle
from .swarm import Plan, draw
from .world import World, shown

EVENTS_MAX = 150_000
"""A run has some thousands; more means that somebody runs in circles."""
ANSWERS_MS = 60_000.0
SETTLING_MS = 3_000.0
"""A disk that was full is asked again after a second, a lost answer after one, too."""
WAITING_MS = 1_000.0
"""Before the last sends: who waits for messages then, waits in calm weather."""
READING_MS = 90_000.0
READING_STEP_MS = 50.0
LEFTOVER_MS = 30_000.0
"""Longer than a FETCH that nobody waits for any more."""
LEFTOVER_EVERY = 4
"""Seeds; half a minute of idling is dear."""
NOTHING_LEFT = (
    "requests_in_flight", "bytes_in_flight", "replies_held", "polls_parked", "polls_ready",
    "waiting_for_disk", "waiting_for_shards", "malformed_requests", "requests_dropped",
    "internal_errors",
)  # fmt: skip


class Outcome(NamedTuple):
    """What became of one seed."""

    seed: int
    violations: list[Violation]
    fingerprint: int
    events: int
    acknowledged: int
    counts: dict[str, int]
    tail: list[str]


class Run:
    """One seed's world."""

    def __init__(
        self, seed: int, plan: Plan | None = None, echo: Callable[[str], None] | None = None
    ) -> None:
        self.plan = plan or draw(seed)
        self.world = World(seed, echo)
        copies = self.plan.outer.duplicate + self.plan.inner.duplicate > 0
        self.history = History(copies=copies)
        self.cluster = Cluster(self.world, self.plan)
        self.load = Load(self.world, self.plan, self.cluster, self.history)
        self.oracle = Oracle(self.world, self.plan, self.cluster, self.history, self.load)
        self.groups = GroupHistory()
        self.group_load = GroupLoad(self.world, self.plan, self.cluster, self.load, self.groups)
        self.group_judge = GroupJudge(self.cluster, self.oracle, self.groups, self.group_load)
        self.nemesis = Nemesis(self.world, self.plan, self.cluster, self.load, self.group_load)

    def outcome(self) -> Outcome:
        """Runs to the end, or to the first violation."""
        try:
            self._run()
        except Exception:
            self.oracle.violate("crashed", traceback.format_exc())
        history, world = self.history, self.world
        counts = {
            **self.load.counts(),
            "reads": len(history.reads),
            "starts": sum(host.starts for host in self.cluster.hosts),
            "faults": self.nemesis.done,
            **self.oracle.counts,
            **self.group_judge.counts(),
        }
        violations = self.oracle.violations
        tail = [shown(line) for line in world.tail] if violations else []
        acknowledged = history.count(Fate.OK)
        return Outcome(
            world.seed, violations, world.fingerprint, world.events, acknowledged, counts, tail
        )

    # --- phases ------------------------------------------------------------------------------

    def _run(self) -> None:
        for phase in (self._start, self._storm, self._calm, self._calm_groups, self._verdict):
            phase()
            if self.oracle.violations:
                return

    def _start(self) -> None:
        self.cluster.start()
        if not self.load.create_topics():
            self.oracle.violate("stuck", "topics could not be created in calm weather")

    def _storm(self) -> None:
        self.load.begin()
        self.group_load.begin()
        self.nemesis.begin()
        self.oracle.begin()
        self._while(lambda: True, self.plan.storm_ms)

    def _calm(self) -> None:
        self.nemesis.end()
        self.load.end()
        self.group_load.end()
        world, load, hosts = self.world, self.load, self.cluster.hosts
        up = self._while(lambda: any(host.state is not State.SERVING for host in hosts), ANSWERS_MS)
        if not up:
            names = [host.name for host in hosts if host.state is not State.SERVING]
            self.oracle.violate("stuck", f"{names} did not come back")
            return
        upheaval = self.group_load.upheaval
        if not self._while(lambda: not (load.settled and upheaval.idle), ANSWERS_MS):
            self.oracle.violate("stuck", "sends or changes are still unanswered")
            return
        world.run_until(world.mono_ms + SETTLING_MS - WAITING_MS)
        self.group_load.work.calm_ms = world.mono_ms
        world.run_until(world.mono_ms + WAITING_MS)
        before = len(self.history.sends)
        if not (load.restore_topics() and load.last_sends()):
            self.oracle.violate("stuck", "the broker does not answer in calm weather")
            return
        for send in self.history.sends[before:]:
            if send.fate is not Fate.OK and send.queue_id is None:
                text = f"{send.body[:24]!r} in calm weather: {send.fate.value}, {send.fault}"
                self.oracle.violate("stuck", text)
        until_ms = world.mono_ms + READING_MS
        while (behind := self._behind() or self.group_judge.behind()) and world.mono_ms < until_ms:
            self._while(lambda: True, READING_STEP_MS)
            if self.oracle.violations:
                return
        if behind:
            self.oracle.violate("unread", f"after {READING_MS:.0f} ms of calm: {behind[:4]}")
        world.run_until(world.mono_ms + 50.0)

    def _calm_groups(self) -> None:
        if self.plan.groups:
            self.group_judge.calm(self.plan)

    def _while(self, condition: Callable[[], bool], limit_ms: float) -> bool:
        oracle, world = self.oracle, self.world

        def go_on() -> bool:
            if world.events > EVENTS_MAX:
                oracle.violate("circles", f"{world.events} events, and no end")
            return not oracle.violations and condition()

        return world.run_while(go_on, limit_ms)

    def _behind(self) -> list[str]:
        """Consumers that have not read a queue to its end."""
        catalogue = self.cluster.catalogue
        assert catalogue is not None
        found = []
        for consumer in self.load.consumers:
            reached = consumer.reached()
            for topic in catalogue.all():
                for place in topic.places if topic.name in self.load.topics else ():
                    actor = self.cluster.shard(place.shard)
                    end = actor.offsets(place.number).next if actor is not None else None
                    at = reached.get((consumer.name, place.number))
                    if at is None or end is None or at < end:
                        found.append(f"{consumer.name} at {at} of {end} in queue {place.number}")
        return found

    def _verdict(self) -> None:
        oracle, load = self.oracle, self.load
        oracle.look()
        every = oracle.logs()
        logs = oracle.of_users(every)
        found = check_all(self.history, logs)
        found += misplaced(self.history, logs, load.slots_moved)
        found += renumbered(self.history)
        reached = {}
        for consumer in load.consumers:
            reached.update(consumer.reached())
        found += unread(self.history, logs, reached)
        found += self.group_judge.verdict(every)
        oracle.violations += found
        if self.world.seed % LEFTOVER_EVERY == 0:
            self._bounds()
        if oracle.violations:
            return
        for host in self.cluster.hosts:
            host.stop()
        self.world.run_until(self.world.mono_ms + 8_000.0)
        for host in self.cluster.journaled:
            if host.state is not State.SERVING:
                oracle.violate("stuck", f"{host.name} did not come back from an orderly stop")
        oracle.look()

    def _bounds(self) -> None:
        """Once every consumer has gone and every deadline has passed, nothing is left over."""
        for consumer in self.load.consumers:
            consumer.kill()
        for member in self.group_load.members:
            member.kill()
        self.world.run_until(self.world.mono_ms + LEFTOVER_MS)
        for host in self.cluster.hosts:
            if host.actor is None:
                continue
            figures = host.actor.core.stats()
            for name in NOTHING_LEFT:
                if figures.get(name, 0):
                    self.oracle.violate("bounds", f"{host.name}: {name} is {figures[name]}")


def run_seed(seed: int, echo: Callable[[str], None] | None = None) -> Outcome:
    """The outcome of one seed."""
    return Run(seed, echo=echo).outcome()
