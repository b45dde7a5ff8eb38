"""Swarm: what one seed is made of. Each seed draws its own cluster, its own load and its own rates.

Owns the ranges. Must not know how a fault is done. A rate is zero in about half of the seeds: a
fault that is always there hides the bugs that need its absence, and two faults that never meet
hide those that need both.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from .network import Weather

WORK_SHARE = 0.25
"""Of the seeds with groups."""
GROUPS_SHARE = 0.6
"""Of the seeds; in the others every processor second goes to what lies below."""


@dataclass
class Plan:
    """One seed's world. Times in ms; `*_every_ms` is the mean time between two, 0 for never."""

    # the cluster
    shards: int = 1
    routers: int = 1
    segment_bytes: int = 8_192
    segment_records: int = 64
    reserve_bytes: int = 1_024
    unsynced_bytes_max: int = 1 << 20
    slice_every_ms: float = 1.0
    retention_ms: int | None = None
    retention_bytes: int | None = None
    job_ms: float = 1.0
    restart_ms: float = 20.0
    # the load
    storm_ms: float = 3_000.0
    producers: int = 2
    consumers: int = 1
    topics: int = 1
    sends: int = 120
    body_bytes_max: int = 60
    keyed: float = 0.4
    explicit: float = 0.1
    burst: int = 4
    producer_timeout_ms: float = 2_000.0
    linger_ms: float = 2.0
    compression: bool = False
    admin_every_ms: float = 0.0
    shrink: bool = False
    recreate: bool = False
    seek_every_ms: float = 0.0
    # the groups
    groups: int = 0
    members: int = 2
    lease_ms: int = 1_000
    member_every_ms: float = 0.0
    """A member comes, goes, is killed, or is stopped."""
    look_every_ms: float = 0.0
    """The operator asks for cursors."""
    slow: float = 0.0
    """Share of messages that are worked on for long."""
    retries: bool = False
    work: str = ""
    """The model of one group more, whose members are workers; none if empty."""
    reset_every_ms: float = 0.0
    """The operator resets a group."""
    broadcast: int = 0
    """Members of a broadcasting group, by name."""
    returns: bool = False
    """After the storm the coordinator is killed once more, and its members return."""
    # the faults
    outer: Weather = field(default_factory=Weather)
    """Between clients and routers."""
    inner: Weather = field(default_factory=Weather)
    """Between processes of the broker."""
    cut_every_ms: float = 0.0
    """A connection is reset."""
    kill_every_ms: dict[str, float] = field(default_factory=dict)
    """Of each kind: router, shard, coordinator, producer, consumer."""
    kill_in_call: float = 0.0
    """Share of kills of journaled processes that strike at one of their next calls to the disk."""
    kill_after_send: float = 0.0
    """Share of the other kills that strike when the next answers have just left."""
    power: float = 0.0
    """Share of kills that take the page cache with them."""
    blackout_every_ms: float = 0.0
    """The whole machine loses its power."""
    stop_every_ms: float = 0.0
    """An orderly stop and a start."""
    pause_every_ms: float = 0.0
    pause_ms: float = 500.0
    slow_disk: float = 1.0
    """Factor on the time of disk jobs, drawn anew for each episode."""
    sync_fails_every_ms: float = 0.0
    full_every_ms: float = 0.0
    full_ms: float = 400.0
    wall_every_ms: float = 0.0
    digest_every_ms: float = 500.0


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    chance = random.Random(f"plan {seed}")
    plan = Plan()
    _cluster(plan, chance)
    _load(plan, chance)
    _faults(plan, chance)
    _groups(plan, random.Random(f"groups {seed}"))
    _work(plan, random.Random(f"work {seed}"))
    _upheaval(plan, random.Random(f"upheaval plan {seed}"))
    return plan


def _maybe(chance: random.Random, share: float, low: float, high: float) -> float:
    """A value between `low` and `high` in `share` of the seeds, else 0."""
    value = chance.uniform(low, high)
    return value if chance.random() < share else 0.0


def _cluster(plan: Plan, chance: random.Random) -> None:
    plan.shards = chance.choice((1, 1, 2, 3))
    plan.routers = chance.choice((1, 1, 1, 2))
    plan.segment_bytes = chance.choice((4_096, 8_192, 16_384, 65_536))
    plan.segment_records = chance.choice((16, 40, 100, 1_000))
    plan.reserve_bytes = plan.segment_bytes // chance.choice((4, 8))
    plan.unsynced_bytes_max = chance.choice((2_048, 16_384, 1 << 20, 1 << 20))
    plan.slice_every_ms = chance.choice((0.5, 5.0, 40.0))
    if chance.random() < 0.4:
        plan.retention_bytes = plan.segment_bytes * chance.choice((2, 3, 6))
    if chance.random() < 0.15:
        plan.retention_ms = chance.choice((300, 1_500))
    plan.job_ms = chance.choice((0.2, 1.0, 5.0, 20.0, 60.0))
    plan.restart_ms = chance.choice((5.0, 30.0, 150.0))


def _load(plan: Plan, chance: random.Random) -> None:
    plan.storm_ms = chance.choice((1_500.0, 3_000.0, 5_000.0))
    plan.producers = chance.choice((1, 2, 2, 3))
    plan.consumers = chance.choice((1, 1, 2))
    plan.topics = chance.choice((1, 1, 2))
    plan.sends = chance.choice((60, 120, 200))
    plan.body_bytes_max = chance.choice((20, 60, 300))
    plan.keyed = chance.choice((0.0, 0.4, 0.8))
    plan.explicit = chance.choice((0.0, 0.0, 0.2))
    plan.burst = chance.choice((1, 4, 12))
    plan.producer_timeout_ms = chance.choice((400.0, 2_000.0, 5_000.0))
    plan.linger_ms = chance.choice((0.0, 2.0, 10.0))
    plan.compression = chance.random() < 0.1
    plan.admin_every_ms = _maybe(chance, 0.5, 150.0, 1_200.0)
    plan.shrink = chance.random() < 0.5
    plan.recreate = chance.random() < 0.4
    plan.seek_every_ms = _maybe(chance, 0.3, 200.0, 1_500.0)


def _weather(chance: random.Random, share: float) -> Weather:
    return Weather(
        drop=_maybe(chance, share, 0.0, 0.1),
        duplicate=_maybe(chance, share, 0.0, 0.2),
        reorder=_maybe(chance, share, 0.0, 0.3),
        delay_ms=chance.choice((0.05, 0.2, 2.0, 10.0)),
        stall=_maybe(chance, share, 0.0, 0.02),
        stall_ms=chance.choice((50.0, 500.0, 2_500.0)),
        silent=_maybe(chance, share, 0.0, 0.5),
    )


def _faults(plan: Plan, chance: random.Random) -> None:
    plan.outer = _weather(chance, 0.5)
    plan.inner = _weather(chance, 0.4)
    plan.inner.reorder = plan.inner.silent = 0.0
    plan.cut_every_ms = _maybe(chance, 0.4, 100.0, 1_500.0)
    for kind in ("router", "shard", "coordinator", "producer", "consumer"):
        plan.kill_every_ms[kind] = _maybe(chance, 0.45, 250.0, 3_000.0)
    plan.kill_in_call = chance.choice((0.0, 0.3, 0.8))
    plan.kill_after_send = chance.choice((0.0, 0.5, 0.9))
    plan.power = chance.choice((0.0, 0.5, 0.9))
    plan.blackout_every_ms = _maybe(chance, 0.25, 400.0, 3_000.0)
    plan.stop_every_ms = _maybe(chance, 0.2, 400.0, 3_000.0)
    plan.pause_every_ms = _maybe(chance, 0.35, 200.0, 2_000.0)
    plan.pause_ms = chance.choice((20.0, 300.0, 1_500.0))
    plan.slow_disk = chance.choice((1.0, 1.0, 10.0, 100.0))
    plan.sync_fails_every_ms = _maybe(chance, 0.2, 400.0, 3_000.0)
    plan.full_every_ms = _maybe(chance, 0.25, 300.0, 2_000.0)
    plan.full_ms = chance.choice((50.0, 400.0, 1_000.0))
    plan.wall_every_ms = _maybe(chance, 0.3, 100.0, 1_500.0)


def _groups(plan: Plan, chance: random.Random) -> None:
    plan.groups = chance.choice((1, 1, 2)) if chance.random() < GROUPS_SHARE else 0
    plan.members = chance.choice((1, 2, 3))
    plan.lease_ms = chance.choice((1_000, 1_000, 1_800))
    plan.member_every_ms = _maybe(chance, 0.8, 150.0, 1_500.0)
    plan.look_every_ms = _maybe(chance, 0.5, 100.0, 800.0)
    plan.slow = chance.choice((0.0, 0.02, 0.1))
    plan.retries = chance.random() < 0.5
    plan.returns = chance.random() < 0.3
    plan.kill_every_ms["member"] = _maybe(chance, 0.4, 250.0, 3_000.0) if plan.groups else 0.0


def _work(plan: Plan, chance: random.Random) -> None:
    if plan.groups and chance.random() < WORK_SHARE:
        plan.work = chance.choice(("work", "work_fifo"))


def _upheaval(plan: Plan, chance: random.Random) -> None:
    reset_every_ms = _maybe(chance, 0.4, 200.0, 2_000.0)
    plan.reset_every_ms = reset_every_ms if plan.groups else 0.0
    broadcast = chance.choice((1, 2, 3)) if chance.random() < 0.2 else 0
    plan.broadcast = broadcast if plan.groups else 0
