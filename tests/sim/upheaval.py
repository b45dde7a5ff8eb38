"""Upheaval: the operator who resets groups while their members work.

Owns what is asked of which group, and when, by a chance of its own: seeds in which nobody does this
are as they were before. Must not know how the broker works.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.verbs import Verb
from shardmq.client.link.asking import Flow, Request

from .cluster import Cluster
from .consumers import FlowRunner
from .cursor_log import Reset
from .group_history import GroupHistory
from .load import Load
from .swarm import Plan
from .world import World


class Upheaval:
    """One operator of groups."""

    def __init__(
        self, world: World, plan: Plan, cluster: Cluster, load: Load, groups: GroupHistory
    ) -> None:
        self.world = world
        self.plan = plan
        self.cluster = cluster
        self.load = load
        self.groups = groups
        self.chance = random.Random(f"upheaval {world.seed}")
        self.counts = {"resets": 0, "resets_done": 0}
        self._operator: FlowRunner | None = None
        self._over = False

    def begin(self) -> None:
        if self.plan.reset_every_ms:
            self._operator = FlowRunner(self.load.client("resetter"))
        self._each(self.plan.reset_every_ms, self._reset_one)

    def end(self) -> None:
        """Nothing new is asked."""
        self._over = True

    @property
    def idle(self) -> bool:
        """Everything was answered."""
        return self._operator is None or self._operator.idle

    def _each(self, every_ms: float, act: Callable[[], None]) -> None:
        if not every_ms:
            return

        def again() -> None:
            if not self._over:
                act()
                self.world.after(self.chance.expovariate(1.0 / every_ms), again)

        self.world.after(self.chance.expovariate(1.0 / every_ms), again)

    # --- resets ------------------------------------------------------------------------------

    def _reset_one(self) -> None:
        """One reset; the next one begins only when this one was answered."""
        known = [one for one in self.groups.groups.values() if one.group_id and not one.is_work]
        operator, chance = self._operator, self.chance
        if operator is None or not operator.idle or not known:
            return
        group = chance.choice(known)
        wish = g.GroupReset(
            group=group.wire_name,
            topic=chance.choice(group.topics),
            to=self._position(),
            queues=self._queues() if chance.random() < 0.3 else [],
            dry_run=chance.random() < 0.15,
        )
        self.counts["resets"] += 1
        self.world.note("operator", "reset", wish)
        operator.run(self._reset(wish), self._answered)

    def _position(self) -> g.Start:
        chance = self.chance
        kind = chance.random()
        if kind < 0.35:
            return g.Start(at="earliest")
        if kind < 0.5:
            return g.Start(at="latest")
        if kind < 0.75:
            return g.Start(at="offset", offset=chance.choice((0, 3, 10, 40, 100_000)))
        ago_ms = chance.choice((0, 200, 1_000, 60_000))
        return g.Start(at="time", time_ms=max(0, self.world.now().wall_ms - ago_ms))

    def _queues(self) -> list[g.ResetQueue]:
        queue_ids = self.chance.sample(range(3), self.chance.choice((1, 1, 2)))
        return [
            g.ResetQueue(queue_id=one, offset=self.chance.choice((0, 5, 25, 100_000)))
            for one in queue_ids
        ]

    def _reset(self, wish: g.GroupReset) -> Flow[None]:
        asked = Reset(wish, self.world.mono_ms)
        self.groups.resets.append(asked)
        (reply,) = yield [Request(Verb.GROUP_RESET, wish)]
        asked.answered_ms = self.world.mono_ms
        asked.results = reply.queues
        self.counts["resets_done"] += 1

    def _answered(self, result: None, error: Exception | None) -> None:
        self.world.note("operator", "reset done", str(error or ""))
