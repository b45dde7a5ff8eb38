"""Group load: the consumer groups of one run, and what becomes of their members.

Owns which groups and members there are: members join, leave, are killed (some come back under their
name), and are stopped for longer than their lease; an operator looks at cursors. Must not know how
the broker works.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.verbs import Verb
from shardmq.client.link.asking import Flow, Request

from .cluster import Cluster, ShardActor
from .consumers import FlowRunner
from .group_history import Group, GroupHistory
from .load import Load
from .members import Member, seen_at
from .membership import Membership
from .swarm import Plan
from .upheaval import Upheaval
from .work_history import WorkHistory
from .workers import Worker
from .world import World

EXPRESSIONS = ("*", "*", "a", "a || b", "b||c ", "none")
MEMBERS_MAX = 5


class GroupLoad:
    """All groups, their members and one who looks at them."""

    def __init__(
        self, world: World, plan: Plan, cluster: Cluster, load: Load, groups: GroupHistory
    ) -> None:
        self.world = world
        self.plan = plan
        self.cluster = cluster
        self.load = load
        self.groups = groups
        self.work = WorkHistory()
        self.upheaval = Upheaval(world, plan, cluster, load, groups)
        self.members: list[Membership] = []
        self.operator: FlowRunner | None = None
        self.counts = {"joins": 0, "leaves": 0, "member_kills": 0, "stops": 0, "looks": 0}
        self.descriptions: dict[str, g.GroupDescription] = {}
        self._names = 0
        self._over = False

    # --- the storm ---------------------------------------------------------------------------

    def begin(self) -> None:
        plan, chance = self.plan, self.world.chance
        if not plan.groups:
            return
        self.operator = FlowRunner(self.load.client("operator"))
        for number in range(plan.groups):
            topics = self.load.topics[: chance.randint(1, len(self.load.topics))]
            group = Group(
                f"group-{number}",
                {topic: chance.choice(EXPRESSIONS) for topic in topics},
                start=chance.choice(("earliest", "earliest", "earliest", "latest")),
                strategy=chance.choice(("sticky", "sticky", "average", "circle", "hash")),
                lease_ms=plan.lease_ms,
                retries=plan.retries,
            )
            self._found(group)
        if plan.work:
            self._found(self._work_group())
        for number in range(plan.broadcast):
            self._found(self._listener(f"fan-{number}"))
        self._each(plan.member_every_ms, self._change)
        self._each(plan.look_every_ms, self.look)
        self.upheaval.begin()

    def _work_group(self) -> Group:
        chance = self.world.chance
        return Group(
            "workers",
            {topic: chance.choice(EXPRESSIONS) for topic in self.load.topics},
            start=chance.choice(("earliest", "earliest", "latest")),
            lease_ms=self.plan.lease_ms,
            model=self.plan.work,
        )

    def _listener(self, name: str) -> Group:
        """A member of a broadcasting group; all wish for the same."""
        topics = self.load.topics
        return Group(
            f"fans/{name}",
            {topic: EXPRESSIONS[self.world.seed % len(EXPRESSIONS)] for topic in topics},
            start="latest" if self.world.seed % 3 == 0 else "earliest",
            lease_ms=self.plan.lease_ms,
            model="broadcasting",
            of="fans",
            alone=name,
        )

    def _found(self, group: Group) -> None:
        """A group comes to be: its first members join."""
        self.groups.groups[group.name] = group
        for _ in range(1 if group.alone else self.plan.members):
            self._soon(lambda: self._join(group))

    def _each(self, every_ms: float, act: Callable[[], None]) -> None:
        if not every_ms:
            return

        def again() -> None:
            if not self._over:
                act()
                self.world.after(self.world.chance.expovariate(1.0 / every_ms), again)

        self.world.after(self.world.chance.expovariate(1.0 / every_ms), again)

    def _soon(self, act: Callable[[], None]) -> None:
        def unless_over() -> None:
            if not self._over:
                act()

        self.world.after(self.world.chance.choice((0.0, 5.0, 200.0)), unless_over)

    def _join(self, group: Group, name: str = "") -> None:
        if group.alone and self.of(group):
            return
        self._names += 1
        self.counts["joins"] += 1
        client = self.load.client("member")
        if group.is_work:
            worker = Worker(
                client, group, name or client.name, self.groups, self.work, self.plan.slow
            )
            worker.is_calm = self._over
            self.members.append(worker)
        else:
            name = group.alone or name or client.name
            self.members.append(Member(client, group, name, self.groups, self.plan.slow))

    def _change(self) -> None:
        """One member comes, goes, is killed, or is stopped for longer than its lease."""
        chance = self.world.chance
        self.members = [one for one in self.members if not one.client.gone]
        kind = chance.random()
        if kind < 0.3 or not self.members:
            if len(self.members) < MEMBERS_MAX:
                self._join(chance.choice(list(self.groups.groups.values())))
            return
        member = chance.choice(self.members)
        if kind < 0.5:
            self.counts["leaves"] += 1
            self.world.note(member.process, "leaves")
            member.leave()
        elif kind < 0.75:
            self.kill_one()
        else:
            self.counts["stops"] += 1
            stop_ms = member.group.lease_ms * chance.uniform(0.5, 2.5)
            self.world.note(member.process, "stopped", f"{stop_ms:.0f} ms")
            member.client.pause(stop_ms)

    def kill_one(self) -> None:
        """Without a word; half of them come back, some under their old name."""
        chance = self.world.chance
        living = [one for one in self.members if not one.client.gone]
        if not living:
            return
        member = chance.choice(living)
        self.counts["member_kills"] += 1
        self.world.note(member.process, "killed")
        member.kill()
        fate = chance.random()
        if fate < 0.6:
            name = member.name if fate < 0.3 else ""
            self._soon(lambda: self._join(member.group, name))

    # --- the operator ------------------------------------------------------------------------

    def look(self) -> None:
        """Asks where a group is; the next time only when this was answered."""
        operator, chance = self.operator, self.world.chance
        known = [one for one in self.groups.groups.values() if one.group_id]
        if operator is None or not operator.idle or not known:
            return
        self.counts["looks"] += 1
        operator.run(self._look_at(chance.choice(known)), self._looked)

    def look_at_all(self) -> bool:
        """Every group once; False if the broker does not answer."""
        assert self.operator is not None
        for group in self.groups.groups.values():
            self.operator.run(self._look_at(group), self._looked)
        return self.world.run_while(lambda: not self.idle, 20_000.0)

    @property
    def idle(self) -> bool:
        return self.operator is None or self.operator.idle

    def _look_at(self, group: Group) -> Flow[None]:
        (description,) = yield [
            Request(Verb.GROUP_DESCRIBE, g.GroupDescribe(group=group.wire_name))
        ]
        by_shard: dict[int, list[int]] = {}
        for one in description.queues:
            by_shard.setdefault(one.shard, []).append(one.queue)
        if by_shard:
            asked_ms = self.world.mono_ms
            group_id = group.group_id if group.alone else description.group_id
            replies = yield [
                Request(Verb.CURSORS, g.Cursors(group_id=group_id, queues=queues), shard)
                for shard, queues in sorted(by_shard.items())
            ]
            for reply in replies:
                seen_at(self.groups, group.name, reply, asked_ms, self.world.mono_ms)
        self.descriptions[group.name] = description

    def _looked(self, result: Any, error: Exception | None) -> None:
        if error is not None:
            self.world.note("operator", "refused", str(error))

    # --- after the storm ---------------------------------------------------------------------

    def end(self) -> None:
        """Nobody comes or goes any more; every group has a member, and nobody is stopped."""
        self._over = True
        self.upheaval.end()
        for member in self.members:
            member.client.paused_until_ms = 0.0
            member.client.turn_soon()
            if isinstance(member, Worker):
                member.is_calm = True
        for group in self.groups.groups.values():
            if not self.of(group):
                self._join(group)

    def pause_one(self, pause_ms: float) -> None:
        living = [one for one in self.members if not one.client.gone]
        if living:
            self.world.chance.choice(living).client.pause(pause_ms)

    def of(self, group: Group) -> list[Membership]:
        """Who lives and means to stay."""
        return [one for one in self.members if one.group is group and not one.leaving]

    def behind(self) -> list[str]:
        """What is still to be done: queues without a holder, or with messages that are not done."""
        found = []
        catalogue = self.cluster.catalogue
        assert catalogue is not None
        for group in self.groups.groups.values():
            members = self.of(group)
            found += [f"{one.name} is out of {group.name}" for one in members if not one.joined]
            for topic in group.topics:
                known = catalogue.named(topic)
                for place in known.places if known is not None else ():
                    actor = self.cluster.shard(place.shard)
                    # What is written and not synced yet is shown in a moment.
                    end = actor.offsets(place.number).next if actor is not None else 0
                    if not group.is_work:
                        found += _behind(group, members, place.number, end)
                    elif actor is None or not _is_done(actor, group, place.number, end):
                        found.append(f"{group.name} queue {place.number} is not done to {end}")
        return found


def _behind(group: Group, members: list[Membership], queue: int, end: int) -> list[str]:
    holders = [one for one in members if queue in one.holdings]
    if len(holders) != 1:
        return [f"{group.name} queue {queue}: held by {[one.name for one in holders]}"]
    held = holders[0].holdings[queue]
    is_over = held.state == "reading" and held.position >= end and held.is_settled
    if is_over and held.revoked_ms is None:
        return []
    state = f"{held.state} at {held.position} of {end}, {len(held.open)} open"
    return [f"{group.name} queue {queue}: {holders[0].name} {state}, generation {held.generation}"]


def _is_done(actor: ShardActor, group: Group, queue: int, end: int) -> bool:
    """All messages of a queue of a work group are done."""
    cursor = actor.state.cursors.get(group.group_id, queue)
    return cursor is not None and cursor.floor >= end
