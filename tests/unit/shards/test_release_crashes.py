"""RELEASE and crashes: whatever record or sync is the last one, no message is lost or doubled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shardmq.actors.protocol.group_messages import NackMessage
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

    def unacked(queue: int) -> int:
        cursor = state.cursors.get(GROUP, queue)
        assert cursor is not None
        end = state.queues.at(queue).next
        return sum(not holds(cursor.acked, one) for one in range(cursor.floor, end))

    counts = (
        unacked(QUEUE), unacked(RETRIES), len(state.schedule), state.queues.at(DEAD).next,
    )  # fmt: skip
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
