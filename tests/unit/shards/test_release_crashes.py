"""RELEASE and crashes: whatever record or sync is the last one, no message is lost or doubled."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from shardmq.actors.protocol.group_messages import NackMessage
from shardmq.shards import near, release
from shardmq.shards.log.reader import iterate
from shardmq.shards.log.record import LogRecord
from shardmq.shards.shard import ShardState
from shardmq.shards.state.ranges import holds
from support.grouped import GROUP
from support.retrying import DEAD, QUEUE, RETRIES, RetryingShard

LEVEL_MS = 10_000


@pytest.fixture
def shard() -> RetryingShard:
    under_test = RetryingShard()
    under_test.prepare()
    under_test.fill(QUEUE, *[b"%d" % at for at in range(10)])
    return under_test


def records_of(shard: RetryingShard) -> list[LogRecord]:
    io = shard.disk.io()
    file = io.open(f"/data/shard/{0:020d}.log")
    return list(iterate(io, file, 0, 0, shard.journal.durable))


def test_at_every_record_each_message_is_in_one_place(shard: RetryingShard) -> None:
    shard.nack(1, 2, NackMessage(offset=3, dead=True), NackMessage(offset=4, delay_ms=700))
    shard.settle()
    shard.clock.advance(LEVEL_MS)
    shard.release()
    for seen in shard.seen(RETRIES):
        shard.nack(seen.offset, queue=RETRIES, max_attempts=2 if seen.offset % 2 else 3)
    shard.settle()
    shard.clock.advance(6 * LEVEL_MS)
    shard.release()
    assert len(shard.seen(DEAD)) == 2
    records = records_of(shard)
    state = ShardState()
    places = set()
    for record in records:
        for projection in state.projections:
            if projection.bucket_of(record) >= 0:
                projection.apply(record)
        if state.cursors.get(GROUP, RETRIES) is not None and state.queues.at(QUEUE).next:
            places.add(in_one_place(state))
    assert len(places) > 4  # the walk did pass through many states


def in_one_place(state: ShardState) -> tuple[int, ...]:
    """Each of the ten messages is unacked somewhere, or scheduled, or dead."""

    untried, tried = unacked_in(state, QUEUE), unacked_in(state, RETRIES)
    counts = (untried, tried, len(state.schedule), state.queues.at(DEAD).next)
    assert sum(counts) == 10, counts
    return counts


STEPS: list[Callable[[RetryingShard], Any]] = [
    lambda shard: shard.turn([shard.nack_letter(0, NackMessage(offset=1, dead=True))]),
    lambda shard: shard.sync(),
    lambda shard: shard.turn(),
    lambda shard: shard.sync(),
    lambda shard: shard.clock.advance(LEVEL_MS),
    lambda shard: shard.turn([shard.release_letter()]),
    lambda shard: shard.turn(),
    lambda shard: shard.sync(),
]


@pytest.mark.parametrize("cut_after", range(len(STEPS)))
@pytest.mark.parametrize("power_cut", [False, True])
def test_a_crash_after_any_step_neither_loses_nor_doubles(
    shard: RetryingShard, cut_after: int, power_cut: bool
) -> None:
    for step in STEPS[: cut_after + 1]:
        step(shard)
    shard.restart(power_cut=power_cut)
    shard.nack(0, NackMessage(offset=1, dead=True))  # the member had no answer, or has it twice
    shard.settle()
    shard.clock.advance(LEVEL_MS)
    shard.release()
    assert [one.body for one in shard.seen(RETRIES)] == [b"0"]
    assert [one.body for one in shard.seen(DEAD)] == [b"1"]
    digests = shard.digests()
    shard.restart(power_cut=True)
    assert shard.digests() == digests


class Walk:
    """Random NACKs, clocks, syncs and crashes over small bounds, and what must hold then."""

    def __init__(self, seed: int, *, retention: bool) -> None:
        self.random = Random(seed)
        self.retention = retention
        self.shard = RetryingShard(
            segment_bytes=32 * 1024, reserve_bytes=1024, slice_every_ms=0, slice_buckets=16,
            retention_bytes=64 * 1024 if retention else None,
        )  # fmt: skip
        self.shard.prepare()
        self.stored = 0

    def step(self) -> None:
        shard, chance = self.shard, self.random.random()
        if chance < 0.15:
            count = self.random.randrange(1, 6)
            shard.fill(QUEUE, *[b"%d" % (self.stored + at) for at in range(count)])
            self.stored += count
        elif chance < 0.5:
            self.nack(self.random.choice((QUEUE, RETRIES)))
        elif chance < 0.7:
            shard.clock.advance(self.random.choice((1, 500, LEVEL_MS, 20 * LEVEL_MS)))
            shard.turn([shard.release_letter()])
        elif chance < 0.9:
            shard.turn()
            shard.sync()
        else:
            shard.fill(2, b"x" * 8_000)  # so that segments are rolled and dropped
            if chance > 0.95:
                shard.restart(power_cut=self.random.random() < 0.5)

    def nack(self, queue: int) -> None:
        end = self.shard.state.queues.at(queue).visible
        if end:
            messages = [
                NackMessage(
                    offset=self.random.randrange(end),
                    delay_ms=self.random.choice((None, 0, 700, 3 * LEVEL_MS)),
                    dead=self.random.random() < 0.1,
                )
                for _ in range(self.random.randrange(1, 8))
            ]
            self.shard.turn([self.shard.nack_letter(*messages, queue=queue, max_attempts=4)])

    def check(self) -> None:
        """Every message is in exactly one place, and every attempt was made once."""
        shard = self.shard
        shard.settle()
        while len(shard.state.schedule):
            shard.clock.advance(20 * LEVEL_MS)
            shard.release()
        assert shard.core.stats()["schedule_lost"] == 0
        seen = [
            (int(one.properties["%OFFSET"]), int(one.properties["%ATTEMPT"]), queue)
            for queue in (RETRIES, DEAD)
            for one in shard.seen(queue)
        ]
        assert len(set(seen)) == len(seen)
        dead = [offset for offset, _, queue in seen if queue == DEAD]
        assert len(set(dead)) == len(dead)
        if not self.retention:
            untried = unacked_in(shard.state, QUEUE)
            assert untried + unacked_in(shard.state, RETRIES) + len(dead) == self.stored
        digests = shard.digests()
        shard.restart(power_cut=True)
        assert shard.digests() == digests


def unacked_in(state: ShardState, queue: int) -> int:
    cursor = state.cursors.get(GROUP, queue)
    assert cursor is not None
    end = state.queues.at(queue).next
    return sum(not holds(cursor.acked, one) for one in range(cursor.floor, end))


@pytest.mark.parametrize("seed", range(12))
def test_a_random_walk_keeps_every_message_in_one_place(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "TURN_ENTRIES", 2)
    monkeypatch.setattr(near, "READ_RECORDS", 2)
    walk = Walk(seed, retention=seed % 2 == 1)
    for _ in range(250):
        walk.step()
    assert (walk.shard.journal.oldest > 0) == walk.retention
    walk.check()
