"""Nemesis: does to the cluster what a seed's plan says, until the storm is over.

Owns when and to whom. How a process dies or a disk forgets is the host's and the disk's matter.
"""

from __future__ import annotations

from collections.abc import Callable

from .cluster import WATERMARK_SEGMENTS, Cluster
from .group_load import GroupLoad
from .host import POWER_CUT, Host, State
from .load import Load
from .swarm import Plan
from .world import World

WALL_STEPS_MS = (-86_400_000, -3_600_000, -5_000, 1_000, 60_000, 86_400_000)


class Nemesis:
    """All faults of one run."""

    def __init__(
        self, world: World, plan: Plan, cluster: Cluster, load: Load, group_load: GroupLoad
    ) -> None:
        self.world = world
        self.plan = plan
        self.cluster = cluster
        self.load = load
        self.group_load = group_load
        self.done = 0
        self._wall_step_max_ms = 0
        self._ended = False

    def begin(self) -> None:
        plan = self.plan
        for kind, every_ms in sorted(plan.kill_every_ms.items()):
            self._each(every_ms, lambda kind=kind: self._kill(kind))  # type: ignore[misc]
        self._each(plan.cut_every_ms, self._cut)
        self._each(plan.blackout_every_ms, self._blackout)
        self._each(plan.stop_every_ms, self._stop)
        self._each(plan.pause_every_ms, self._pause)
        self._each(plan.sync_fails_every_ms, self._sync_fails)
        self._each(plan.full_every_ms, self._fill)
        self._each(plan.wall_every_ms, self._step_wall)
        self._each(300.0 if plan.slow_disk > 1.0 else 0.0, self._slow_disk)

    def end(self) -> None:
        """Calm: the network is good, every disk works, every process runs."""
        self._ended = True
        plan, cluster = self.plan, self.cluster
        for weather in (plan.outer, plan.inner):
            weather.drop = weather.duplicate = weather.reorder = weather.stall = 0.0
            weather.silent, weather.delay_ms = 0.0, 0.2
        if plan.groups and (plan.retries or plan.work):
            # What was scheduled by a clock that was put back since is due only when it is right.
            self.world.wall_step_ms = self._wall_step_max_ms
        for host in cluster.hosts:
            host.paused_until_ms = 0.0
            host.job_ms = 1.0
            host.dies_after_send = None
            if host.state is State.SERVING:
                host.turn_soon()
            if host.disk is not None:
                host.disk.free()
                host.disk.sync_fails = False
                host.disk.kill_in = None

    def _each(self, every_ms: float, act: Callable[[], None]) -> None:
        """`act` again and again, at random moments, `every_ms` apart in the mean."""
        if not every_ms:
            return
        chance, world = self.world.chance, self.world

        def again() -> None:
            if self._ended:
                return
            self.done += 1
            act()
            world.after(chance.expovariate(1.0 / every_ms), again)

        world.after(chance.expovariate(1.0 / every_ms), again)

    def _one(self, hosts: list[Host]) -> Host | None:
        serving = [host for host in hosts if host.state is State.SERVING]
        return self.world.chance.choice(serving) if serving else None

    # --- processes ---------------------------------------------------------------------------

    def _kill(self, kind: str) -> None:
        chance = self.world.chance
        if kind in ("producer", "consumer"):
            self.load.kill_one(kind)
            return
        if kind == "member":
            self.group_load.kill_one()
            return
        host = self._one(self.cluster.of_kind(kind))
        if host is None:
            return
        if host.disk is not None and chance.random() < self.plan.kill_in_call:
            host.disk.kill_in = chance.randint(1, 12)
            self.world.note(host.name, "kill in call", host.disk.kill_in)
            return
        has_disk = host.disk is not None
        why = POWER_CUT if has_disk and chance.random() < self.plan.power else "killed"
        if chance.random() < self.plan.kill_after_send:
            host.dies_after_send = why
        elif why == POWER_CUT:
            host.power_cut()
        else:
            host.end(why)

    def _blackout(self) -> None:
        """Every process of the broker and the page cache under it; clients are elsewhere."""
        self.world.note("machine", "power cut")
        for host in self.cluster.hosts:
            host.power_cut()

    def _stop(self) -> None:
        host = self._one(self.cluster.hosts)
        if host is not None:
            host.stop()

    def _pause(self) -> None:
        chance = self.world.chance
        pause_ms = chance.expovariate(1.0 / self.plan.pause_ms)
        if chance.random() < 0.25:
            self.load.pause_one(pause_ms)
            return
        if self.group_load.members and chance.random() < 0.25:
            self.group_load.pause_one(pause_ms)
            return
        host = self._one(self.cluster.hosts)
        if host is not None:
            host.pause(pause_ms)

    # --- network -----------------------------------------------------------------------------

    def _cut(self) -> None:
        links = [link for link in self.cluster.network.links if link.up]
        if links:
            self.world.chance.choice(links).lost()

    # --- disks and clocks --------------------------------------------------------------------

    def _sync_fails(self) -> None:
        host = self._one(self.cluster.journaled)
        if host is not None and host.disk is not None:
            self.world.note(host.name, "sync will fail")
            host.disk.sync_fails = True

    def _fill(self) -> None:
        chance = self.world.chance
        host = chance.choice(self.cluster.journaled)
        disk = host.disk
        assert disk is not None
        # Below the watermark, with what the watermark is there to keep.
        disk.fill((WATERMARK_SEGMENTS - 1) * self.plan.segment_bytes)
        self.world.note(host.name, "disk full")

        def free() -> None:
            disk.free()
            self.world.note(host.name, "disk freed")

        self.world.after(chance.expovariate(1.0 / self.plan.full_ms), free)

    def _slow_disk(self) -> None:
        chance = self.world.chance
        for host in self.cluster.journaled:
            host.job_ms = self.plan.job_ms * chance.choice((1.0, 1.0, self.plan.slow_disk))

    def _step_wall(self) -> None:
        self.world.wall_step_ms += self.world.chance.choice(WALL_STEPS_MS)
        self._wall_step_max_ms = max(self._wall_step_max_ms, self.world.wall_step_ms)
        self.world.note("machine", "wall clock", self.world.wall_step_ms)
