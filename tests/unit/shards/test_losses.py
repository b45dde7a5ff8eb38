"""Losses: entries end without a copy, once, one record for a queue and a reason."""

from __future__ import annotations

import pytest

from shardmq.shards.losses import Failed, Losses
from shardmq.shards.near import NearEntry
from support.schedules import NOW, RETRIES, ScheduleUnderTest


def entries(log: ScheduleUnderTest, queue: int = RETRIES) -> list[NearEntry]:
    return [
        NearEntry(period, at, 0)
        for period in log.schedule.periods_in(queue & 63)
        if period.queue == queue
        for at in range(len(period.lsns))
    ]


def test_they_end_and_are_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    log = ScheduleUnderTest()
    log.add(10, 20, 30)
    log.add(10, queue=RETRIES + 1)
    losses = Losses(log.journal)
    first, second, third = entries(log)
    (other,) = entries(log, RETRIES + 1)
    failed = [Failed(first, "rot"), Failed(other, "rot"), Failed(third, "rot")]
    losses.end(failed, NOW)
    assert (len(log.schedule), losses.count) == (1, 3)
    assert len(caplog.records) == 2
    log.sync()
    log.disk.kill()
    log.open()
    assert len(log.schedule) == 1
    assert not second.period.has_ended(second.at)


def test_what_has_ended_meanwhile_is_not_lost() -> None:
    log = ScheduleUnderTest()
    log.add(10, 20)
    losses = Losses(log.journal)
    first, second = entries(log)
    log.end(first.period, first.at)
    losses.end([Failed(first, "rot")], NOW)
    assert losses.count == 0
    log.drop()
    end = log.journal.end
    losses.end([Failed(second, "rot")], NOW)
    assert (losses.count, log.journal.end) == (0, end)
