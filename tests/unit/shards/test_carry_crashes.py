"""Carry and crashes: wherever the power goes, each message comes, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from shardmq.actors.protocol.group_messages import NackMessage
from shardmq.shards import carry, near, release
from shardmq.shards.log.record import BATCH, STATE, LogRecord
from shardmq.shards.shard import ShardState
from shardmq.shards.state import schedule as schedule_module
from shardmq.shards.state.buckets import BUCKETS
from shardmq.shards.state.records import Scheduled, decode_state
from support.carrying import HOUR_MS, KIB, OTHER, YEAR_MS, CarryingShard
from support.retrying import DEAD, QUEUE, RETRIES
from support.shards import batch

BODIES = [b"%d" % at for at in range(12)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carry, "TURN_ENTRIES", 2)
    monkeypatch.setattr(release, "TURN_ENTRIES", 3)
    monkeypatch.setattr(near, "READ_RECORDS", 2)
    monkeypatch.setattr(schedule_module, "PERIOD_ENTRIES", 3)


# ------------------------------------------------------------------ every record


def test_at_every_record_each_message_is_scheduled_once_and_can_be_found() -> None:
    shard = CarryingShard()
    records: dict[int, LogRecord] = {}
    for body in BODIES:
        offset = shard.fill(QUEUE, body).base_offset
        shard.nack(NackMessage(offset=offset, delay_ms=YEAR_MS))
        shard.write(2)
        records.update((one.lsn, one) for one in shard.records())
    nacked = shard.journal.end
    for _ in range(80):
        shard.write(1)
        records.update((one.lsn, one) for one in shard.records())
    assert shard.core.stats()["schedule_carried"] > 2 * len(BODIES)
    state, batches = ShardState(), set()
    for lsn in sorted(records):
        record = records[lsn]
        batches |= {lsn} if record.kind == BATCH else set()
        for projection in state.projections:
            if projection.bucket_of(record) >= 0:
                projection.apply(record)
        assert lsn < nacked or len(state.schedule) == len(BODIES)
        for period in periods(state):
            assert period.source_lsn in batches
            assert set(period.lsns) <= set(records)
    assert [one.digest() for one in state.projections][-1] == shard.state.schedule.digest()


def periods(state: ShardState) -> list[schedule_module.Period]:
    return [one for bucket in range(BUCKETS) for one in state.schedule.periods_in(bucket)]


# ------------------------------------------------------------------ every step


def steps(shard: CarryingShard) -> Iterator[None]:
    """What a shard does while retention goes on, one act at a time."""
    for sequence in range(1_000):
        frame = batch([b"x" * 10 * KIB], producer_id=5, sequence=sequence)
        shard.turn([shard.produce_letter((OTHER, frame))])
        yield
        while (job := shard.journal.begin_job(shard.clock.now())) is not None:
            yield
            job.run()
            yield
            now = shard.clock.advance(25)  # so that syncs and housekeeping take turns
            shard.journal.finish_job(job, now)
            shard.core.durable_advanced(now)
            shard.turn()
            yield
        shard.clock.advance(25)


def stepped(count: int) -> CarryingShard:
    shard = CarryingShard()
    shard.fill(QUEUE, *BODIES[:6])
    shard.nack(*[NackMessage(offset=at, delay_ms=YEAR_MS) for at in range(6)])
    running = steps(shard)
    for _ in range(count):
        next(running)
    return shard


def interesting_steps() -> tuple[int, int]:
    """From just before the first message is carried to just after its segment is gone."""
    shard = stepped(0)
    running, first = steps(shard), 0
    for count in range(1, 2_000):
        next(running)
        if not first and shard.core.stats()["schedule_carried"]:
            first = count
        if shard.journal.oldest > 0:
            return first - 3, count + 8
    raise AssertionError("nothing was dropped")


def test_a_crash_at_any_step_neither_loses_nor_doubles() -> None:
    begin, end = interesting_steps()
    assert end - begin > 15
    random = Random(5)
    for count in range(begin, end):
        for how in ("kill", "nothing kept", "names kept", "some kept", "some kept"):
            shard = stepped(count)
            unsynced = shard.disk.unsynced()
            writes = shard.disk.write_sizes()
            if how == "kill":
                shard.disk.kill()
            else:
                keep = {
                    "nothing kept": [],
                    "names kept": [one for one in unsynced if one not in writes],
                    "some kept": [one for one in unsynced if random.random() < 0.5],
                }[how]
                shard.disk = shard.disk.power_cut(keep=keep)
            shard.open()
            assert_all_come(shard, f"step {count}, {how}")


def assert_all_come(shard: CarryingShard, what: str) -> None:
    shard.write(12)
    digests = shard.digests()
    shard.restart(power_cut=True)
    assert shard.digests() == digests, what
    assert len(shard.state.schedule) == 6, what
    shard.clock.advance(YEAR_MS)
    shard.release()
    assert Counter(one.body for one in shard.seen(RETRIES)) == Counter(BODIES[:6]), what
    assert shard.core.stats()["schedule_lost"] == 0, what


# ------------------------------------------------------------------ any walk


class Walk:
    """Random NACKs, clocks, crashes and a short retention; who reads along sees all that becomes
    durable before it goes."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.shard = CarryingShard(
            segment_bytes=16 * KIB, reserve_bytes=KIB, slice_buckets=16, retention_bytes=48 * KIB
        )
        self.read_to = 0
        self.bodies: dict[tuple[int, int], bytes] = {}
        self.expected: Counter[tuple[bytes, int, bool]] = Counter()
        self.got: Counter[tuple[bytes, int, bool]] = Counter()
        self.carried = 0
        self.stored = 0

    def step(self) -> None:
        shard, random = self.shard, self.random
        chance = random.random()
        if chance < 0.15:
            count = random.randrange(1, 4)
            shard.fill(QUEUE, *[b"%d" % (self.stored + at) for at in range(count)])
            self.stored += count
        elif chance < 0.4:
            self.nack(random.choice((QUEUE, RETRIES)))
        elif chance < 0.5:
            shard.clock.advance(random.choice((1, 500, HOUR_MS)))
            shard.turn([shard.release_letter()])
        elif chance < 0.7:
            shard.clock.advance(random.choice((1, 20, 2_000)))
            shard.turn()
            shard.sync()
        elif chance < 0.96:
            shard.fill(OTHER, b"x" * 3_000)
        else:
            self.crash()
        self.read_along()

    def nack(self, queue: int) -> None:
        shard, random = self.shard, self.random
        end = shard.state.queues.at(queue).visible
        if end:
            messages = [
                NackMessage(
                    offset=random.randrange(max(0, end - 20), end),
                    delay_ms=random.choice((0, 700, HOUR_MS, 24 * HOUR_MS, 100 * 24 * HOUR_MS)),
                    dead=random.random() < 0.1,
                )
                for _ in range(random.randrange(1, 6))
            ]
            shard.turn([shard.nack_letter(*messages, queue=queue)])

    def crash(self) -> None:
        shard = self.shard
        self.carried += shard.core.stats()["schedule_carried"]
        if self.random.random() < 0.3:
            shard.restart()
        else:
            keep = [one for one in shard.disk.unsynced() if self.random.random() < 0.5]
            shard.disk = shard.disk.power_cut(keep=keep)
            shard.open()

    def read_along(self) -> None:
        shard = self.shard
        assert self.read_to >= shard.journal.oldest, "it goes too fast to be read along"
        for record in shard.records():
            if record.lsn < self.read_to:
                continue
            if record.kind == BATCH and record.queue in (QUEUE, RETRIES, DEAD):
                self.read_batch(record)
            elif record.kind == STATE:
                self.read_state(decode_state(record.payload), record.queue)
        self.read_to = shard.journal.durable

    def read_batch(self, record: LogRecord) -> None:
        for seen in self.shard.seen(record.queue):
            if record.base_offset <= seen.offset < record.base_offset + record.count:
                self.bodies[record.queue, seen.offset] = seen.body
                if "%ATTEMPT" in seen.properties:
                    attempt = int(seen.properties["%ATTEMPT"])
                    self.got[seen.body, attempt, record.queue == DEAD] += 1

    def read_state(self, state: Any, queue: int) -> None:
        if isinstance(state, Scheduled):
            for entry in state.entries:
                self.expected[self.bodies[queue, entry.offset], entry.attempt, state.dead] += 1

    def check(self) -> None:
        """All that was ever decided has come, once."""
        shard = self.shard
        shard.settle()
        while len(shard.state.schedule):
            shard.clock.advance(10 * 24 * HOUR_MS)
            shard.turn([shard.release_letter()])
            shard.sync()
            self.read_along()
        assert self.got == self.expected
        assert self.carried + shard.core.stats()["schedule_carried"] > 0
        digests = shard.digests()
        shard.restart(power_cut=True)
        assert shard.digests() == digests


@pytest.mark.parametrize("seed", range(10))
def test_a_random_walk_loses_and_doubles_nothing(seed: int) -> None:
    walk = Walk(seed)
    for _ in range(300):
        walk.step()
    walk.check()
