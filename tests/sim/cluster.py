"""Cluster: the broker's processes of one run, wired as `router.broker` wires them.

Owns the composition: which core with which journal, which links. Must not know clients or faults.
"""

from __future__ import annotations

from typing import Any

from shardmq.actors.coordinator.catalogue import Catalogue
from shardmq.actors.coordinator.coordinator import Coordinator
from shardmq.actors.coordinator.decisions import Policy
from shardmq.actors.coordinator.groups import Groups
from shardmq.router.router import Router
from shardmq.shards.log.journal import Journal
from shardmq.shards.log.options import JournalOptions
from shardmq.shards.shard import Shard, ShardState
from shardmq.shards.state.queues import QueueOffsets

from .disk import Disk
from .host import Actor, Host
from .network import Link, Listener, Network
from .swarm import Plan
from .world import SimRandomness, World

WATERMARK_SEGMENTS = 12
"""Free space below which user data is refused. What is kept serves state records, snapshots, and
the copies that each restart makes; segments are so small here that some restarts use several."""


class ShardActor(Actor):
    """A shard with what the checks look at."""

    def __init__(self, number: int, plan: Plan, disk: Disk, world: World) -> None:
        state = ShardState()
        options = journal_options(plan, f"shard-{number}")
        journal = Journal.open(disk.io(), options, state.projections, world.now())
        shard = Shard(number, journal, state, SimRandomness(world))
        super().__init__(shard, journal)
        self.number = number
        self.state = state
        self.projections = state.projections

    def offsets(self, queue: int) -> QueueOffsets:
        """Of a queue, looked at without making it known."""
        known = queue in self.state.queues.stored()
        return self.state.queues.at(queue) if known else QueueOffsets()


class CoordinatorActor(Actor):
    """The coordinator, likewise."""

    def __init__(self, plan: Plan, disk: Disk, world: World) -> None:
        self.catalogue = Catalogue()
        self.groups = Groups()
        self.projections = (self.catalogue, self.groups)
        options = journal_options(plan, "coordinator")
        journal = Journal.open(disk.io(), options, self.projections, world.now())
        core = Coordinator(journal, self.catalogue, self.groups, Policy(shards=plan.shards))
        super().__init__(core, journal, tuple(f"shard-{n}" for n in range(plan.shards)))


def journal_options(plan: Plan, name: str) -> JournalOptions:
    """Small segments and slices, so that a run of seconds rolls, snapshots and drops often.
    The coordinator's journal keeps everything."""
    is_shard = name.startswith("shard")
    return JournalOptions(
        directory=f"/{name}",
        owner=name,
        segment_bytes=plan.segment_bytes,
        segment_records=plan.segment_records,
        reserve_bytes=plan.reserve_bytes,
        unsynced_bytes_max=plan.unsynced_bytes_max,
        free_bytes_min=WATERMARK_SEGMENTS * plan.segment_bytes,
        free_bytes_retain=0,
        retention_ms=plan.retention_ms if is_shard else None,
        retention_bytes=plan.retention_bytes if is_shard else None,
        mark_after_ms=20.0,
        slice_bytes=600,
        slice_buckets=24,
        slice_every_ms=plan.slice_every_ms,
        housekeeping_every_ms=150.0,
        scrub_bytes=8_192,
        scrub_every_ms=400.0,
        indexes_cached=2,
        files_open_max=3,
    )


class Cluster:
    """All broker processes of one run."""

    def __init__(self, world: World, plan: Plan) -> None:
        self.world = world
        self.plan = plan
        self.network = Network(world)
        self._by_name: dict[str, Host] = {}
        for number in range(plan.shards):
            disk = Disk(world.chance)
            self._add(f"shard-{number}", disk, lambda n=number, d=disk: self._shard(n, d))
        disk = Disk(world.chance)
        self._add("coordinator", disk, lambda: CoordinatorActor(plan, disk, world))
        for number in range(plan.routers):
            self._add(f"router-{number}", None, self._router)
        self.hosts = list(self._by_name.values())
        self.journaled = [host for host in self.hosts if host.disk is not None]

    def _add(self, name: str, disk: Disk | None, build: Any) -> None:
        host = Host(self.world, self.network, name, build, self._dial, disk)
        host.job_ms = self.plan.job_ms
        host.restart_ms = self.plan.restart_ms
        self._by_name[name] = host

    def _shard(self, number: int, disk: Disk) -> Actor:
        return ShardActor(number, self.plan, disk, self.world)

    def _router(self) -> Actor:
        core = Router(shards=self.plan.shards, randomness=SimRandomness(self.world))
        links = (*(f"shard-{n}" for n in range(self.plan.shards)), "coordinator")
        return Actor(core, None, links)

    def _dial(self, host: Host, link: str) -> Link:
        return Link(
            self.network,
            f"{host.name}>{link}",
            self.plan.inner,
            lambda: self._by_name[link],
            "mailbox",
            host.took(link),
            host.told(link),
        )

    # --- looking at it -----------------------------------------------------------------------

    def start(self) -> None:
        for host in self.hosts:
            host.start()

    def of_kind(self, kind: str) -> list[Host]:
        """router, shard or coordinator."""
        return [host for host in self.hosts if host.name.partition("-")[0] == kind]

    def choose_router(self) -> Listener:
        """Routers share the port: the system deals connections among those that are there."""
        routers = self.of_kind("router")
        there = [host for host in routers if host.listening]
        return self.world.chance.choice(there or routers)

    @property
    def catalogue(self) -> Catalogue | None:
        """The coordinator's, None while there is none."""
        actor = self._by_name["coordinator"].actor
        return actor.catalogue if isinstance(actor, CoordinatorActor) else None

    def shard(self, number: int) -> ShardActor | None:
        """The running shard of that number."""
        actor = self._by_name[f"shard-{number}"].actor
        return actor if isinstance(actor, ShardActor) else None
