"""Group judge: what is asked of groups in calm weather, and the verdict over them.

Owns when the group checkers are asked, and the one experiment of the calm: the coordinator is
killed and its members return, so nothing may move. Must not know how a promise is checked.
"""

from __future__ import annotations

from .cluster import Cluster, ShardActor
from .group_checkers import check_groups, lopsided, strange
from .group_history import GroupHistory
from .group_load import GroupLoad
from .group_wire import GroupWire
from .history import QueueLog, Violation
from .host import Host, State
from .oracle import Oracle
from .reset_checkers import check_resets
from .retry_checkers import check_retries, waiting
from .swarm import Plan
from .work_checkers import check_work
from .work_wire import WorkWire

SETTLES_MS = 40_000.0
STEP_MS = 50.0
Holders = dict[tuple[str, int], tuple[str, int]]


class GroupJudge:
    """Judges the groups of one run."""

    def __init__(
        self, cluster: Cluster, oracle: Oracle, groups: GroupHistory, load: GroupLoad
    ) -> None:
        self.cluster = cluster
        self.oracle = oracle
        self.world = oracle.world
        self.groups = groups
        self.load = load
        self.wire: GroupWire | None = None
        if oracle.plan.groups:
            self.wire = GroupWire(self.world, cluster, oracle.violate, groups)
            if oracle.plan.work:
                WorkWire(self.world, cluster, load.work)
            for host in cluster.of_kind("shard"):
                host.on_ended.append(self._ended)

    def _ended(self, host: Host, why: str) -> None:
        self.groups.ends_of_shards.append(self.world.mono_ms)

    def counts(self) -> dict[str, int]:
        groups = self.groups
        return {
            **self.load.counts,
            **self.load.upheaval.counts,
            "deliveries": len(groups.deliveries),
            "grants": self.wire.grants if self.wire else 0,
            "moves": self.wire.moves if self.wire else 0,
            "failures": len(groups.nacked),
            "fenced": self.wire.fenced if self.wire else 0,
            **self.load.work.counts(),
        }

    # --- calm --------------------------------------------------------------------------------

    def calm(self, plan: Plan) -> None:
        """Every group has settled: is it balanced, and does it stay as it is?"""
        if not self._look():
            return
        if plan.returns and not self.oracle.violations:
            self._returns(plan)

    def _look(self) -> bool:
        if not self.load.look_at_all():
            self.oracle.violate("stuck", "nobody says in calm weather where the groups are")
            return False
        live = self._live()
        for group in self.groups.groups.values():
            description = self.load.descriptions.get(group.name)
            if description is None:
                self.oracle.violate("stuck", f"{group.name} cannot be described")
                return False
            self.oracle.violations += lopsided(group, description, live)
        return not self.oracle.violations

    def _live(self) -> dict[int, str]:
        catalogue = self.cluster.catalogue
        assert catalogue is not None
        topics = set(self.load.load.topics)
        for group in self.groups.groups.values():
            topics.update(group.topics)
        return {
            place.number: topic.name
            for topic in catalogue.all()
            for place in topic.places
            if topic.name in topics
        }

    def _holders(self) -> Holders:
        return {
            (member.group.name, held.queue): (member.name, held.generation)
            for member in self.load.members
            if not member.client.gone
            for held in member.holdings.values()
        }

    def _returns(self, plan: Plan) -> None:
        """The coordinator is killed, with routers or shards at times, and comes back."""
        chance, world = self.world.chance, self.world
        before = self._holders()
        (coordinator,) = self.cluster.of_kind("coordinator")
        killed = [coordinator]
        if chance.random() < 0.3:
            killed += self.cluster.of_kind("shard")
        if chance.random() < 0.3:
            killed += self.cluster.of_kind("router")[:1]
        world.note("machine", "return", [host.name for host in killed])
        for host in killed:
            if host.disk is not None and chance.random() < plan.power:
                host.power_cut()
            else:
                host.end("killed")
        world.run_until(world.mono_ms + 2.5 * plan.lease_ms)
        if any(host.state is not State.SERVING for host in killed):
            return
        until_ms = world.mono_ms + SETTLES_MS
        while self.behind() and world.mono_ms < until_ms and not self.oracle.violations:
            world.run_until(world.mono_ms + STEP_MS)
        if behind := self.behind():
            self.oracle.violate("stuck", f"after the coordinator's return: {behind[:4]}")
        elif (after := self._holders()) != before:
            moved = {place: (was, after.get(place)) for place, was in before.items()
                     if after.get(place) != was}  # fmt: skip
            self.oracle.violate("moved", f"the coordinator came back: {moved}")
        else:
            self._look()

    # --- verdict -----------------------------------------------------------------------------

    def verdict(self, logs: dict[int, QueueLog]) -> list[Violation]:
        """All promises, over the queues that exist."""
        if not self.groups.groups:
            return []
        live = self._live()
        there = {queue: log for queue, log in logs.items() if queue in live}
        steady = not self.oracle.plan.wall_every_ms
        found = check_groups(self.groups, there, live)
        found += check_resets(self.groups, self.oracle.history, there, live, steady=steady)
        found += strange(self.load.work.deliveries, self.groups, there)
        oracle = self.oracle
        found += check_work(
            self.load.work, self.groups, oracle.history, oracle.of_system(logs) | there,
            oracle.history.topic_of, steady=steady,
        )  # fmt: skip
        return found + check_retries(
            self.groups, oracle.history, logs, oracle.history.topic_of, steady=steady
        )

    def behind(self) -> list[str]:
        """What the groups have still to do."""
        found = self.load.behind()
        plan = self.oracle.plan
        if found or not (plan.retries or plan.work):
            return found
        found = waiting(self.groups, self.oracle.logs(), self.oracle.history.topic_of)
        return found or self._scheduled()

    def _scheduled(self) -> list[str]:
        """What shards have still to copy. `waiting` cannot say that once retention has taken any
        copy: the one that it looks for may be among those."""
        found = []
        for host in self.cluster.of_kind("shard"):
            actor = host.actor
            if not isinstance(actor, ShardActor):
                found.append(f"{host.name} is down")
            elif len(actor.state.schedule):
                found.append(f"{host.name} has {len(actor.state.schedule)} messages to copy")
        return found
