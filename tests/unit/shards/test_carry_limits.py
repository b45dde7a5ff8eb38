"""Carry, its limits: what cannot be carried holds the log back, and nothing is copied in vain."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.kernel.ports import Refusal
from shardmq.shards import carry_copies
from shardmq.shards.copies import same_of
from support.carrying import KIB, OTHER, YEAR_MS, CarryingShard
from support.shards import batch


@pytest.fixture
def shard() -> CarryingShard:
    return CarryingShard()


@pytest.mark.parametrize("refusal", [Refusal.BUSY, Refusal.DISK_FULL])
def test_what_cannot_be_carried_holds_the_log_back(
    shard: CarryingShard, monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    lsn = shard.schedule_one(b"k" * 5 * KIB)

    def refused(size: int) -> Refusal | None:
        return refusal if size > 4 * KIB else None

    with monkeypatch.context() as without:
        without.setattr(shard.journal, "refusal_to_finish", refused)
        shard.write(60)
        assert shard.journal.oldest <= lsn
        assert shard.figure("schedule_keeps_bytes") > 512 * KIB
    shard.write_past(lsn + 1)
    assert shard.journal.stats().segments < 6


def test_a_bug_in_one_message_holds_the_log_back(
    shard: CarryingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    lsn = shard.schedule_one()
    shard.schedule_one(b"other")

    def failing(stored: Any, scheduled: Any, name: Any, at_offset: int) -> Any:
        if at_offset == 0:
            raise RuntimeError("a bug")
        return same_of(stored, scheduled, name, at_offset)

    with monkeypatch.context() as without:
        without.setattr(carry_copies, "same_of", failing)
        shard.write(60)
        assert shard.journal.oldest <= lsn
        assert shard.figure("internal_errors") >= 1
        assert shard.figure("schedule_carried") >= 1
    shard.pass_time(60_000)
    shard.write_past(lsn + 1)
    shard.clock.advance(YEAR_MS)
    shard.release()
    assert sorted(shard.bodies()) == [b"kept", b"other"]


def test_a_log_of_what_is_scheduled_is_not_copied_round_and_round(shard: CarryingShard) -> None:
    """Carrying makes it no smaller, so it grows beyond its retention, and rests."""
    for _ in range(40):
        shard.schedule_one(b"k" * 10 * KIB)
    for _ in range(200):
        shard.pass_time(1_000)
    end = shard.journal.end
    assert end < 4 * 40 * 10 * KIB
    for _ in range(100):
        shard.pass_time(1_000)
    assert shard.journal.end == end
    shard.write(300, span_ms=100)
    assert shard.journal.end - shard.journal.oldest < 4 * 40 * 10 * KIB
    assert shard.journal.end - end < 3 * 300 * 10 * KIB
    shard.clock.advance(YEAR_MS)
    shard.release()
    assert (shard.figure("schedule_released"), shard.figure("schedule_lost")) == (40, 0)


def test_a_disk_that_is_getting_full_gets_free_again() -> None:
    """Producers are refused; what is scheduled is still carried, so that the log can go."""
    small = 64 * KIB
    shard = CarryingShard(
        retention_bytes=None, housekeeping_every_ms=10, free_bytes_min=4 * small,
        free_bytes_retain=6 * small,
    )  # fmt: skip
    shard.disk.capacity_bytes = 24 * small
    for _ in range(3):
        shard.schedule_one()
    for at in range(1_000):
        frame = batch([b"x" * 10 * KIB], producer_id=5, sequence=at)
        shard.produce(OTHER, frame)
        shard.pass_time(20)
    assert shard.journal.oldest > 40 * small
    shard.clock.advance(YEAR_MS)
    shard.release()
    assert shard.bodies() == [b"kept"] * 3
