"""Schedule: entries made and ended by records, periods, snapshots, memory, the watermark."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest

from shardmq.shards.log.record import BATCH, STATE, LogRecord
from shardmq.shards.state import schedule as module
from shardmq.shards.state.records import (
    Carried,
    CarriedPlace,
    EntriesEnded,
    EntryName,
    ProducersForgotten,
    QueuesDropped,
    Scheduled,
    ScheduledEntry,
    StateRecord,
    WatermarkRaised,
    encode_state,
)
from shardmq.shards.state.schedule import NEVER, RETRY, WATERMARK_BUCKET, Period, Schedule, key_of
from support.shards import batch

NOW_MS = 1_700_000_000_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
SOURCE = 3
RETRIES = 70  # of bucket 6


def state(one: StateRecord, queue: int = SOURCE, lsn: int = 0, at_ms: int = NOW_MS) -> LogRecord:
    return LogRecord(lsn, STATE, queue, 0, at_ms, 0, encode_state(one), 100, 0, 0)


def scheduled(
    *due_ms: int, lsn: int = 500, queue: int = RETRIES, source_lsn: int = 100, at_ms: int = NOW_MS
) -> LogRecord:
    entries = [ScheduledEntry(at, source_lsn, NOW_MS + due, 2) for at, due in enumerate(due_ms)]
    one = Scheduled(queue & 63, queue, RETRY, False, 7, "orders", 0, entries)
    return state(one, lsn=lsn, at_ms=at_ms)


def copied(*names: EntryName, queue: int = RETRIES) -> LogRecord:
    count = max(1, len(names))
    columns: dict[str, Any] = {"message_ids": ["f" * 32] * count, "entries": names or None}
    payload = batch([b"x"] * count, **columns)
    return LogRecord(900, BATCH, queue, 0, NOW_MS, 0, payload, 64 + len(payload), count, 0)


def applied(*records: LogRecord) -> Schedule:
    schedule = Schedule()
    for record in records:
        assert schedule.bucket_of(record) >= 0
        schedule.apply(record)
    return schedule


def period_of(schedule: Schedule, due_ms: int, queue: int = RETRIES) -> Period:
    period = schedule.period(queue, key_of(NOW_MS + due_ms, NOW_MS))
    assert period is not None
    return period


def test_entries_that_are_due_in_one_minute_share_a_period() -> None:
    start = -NOW_MS % MINUTE_MS
    schedule = applied(
        scheduled(start + 5, start + 59_999, start + MINUTE_MS, lsn=500, source_lsn=90),
        scheduled(start + 3, lsn=600, source_lsn=80),
    )
    assert len(schedule) == 4
    assert schedule.periods == 2
    period = period_of(schedule, start)
    assert list(period.lsns) == [500, 500, 600]
    assert (period.live, period.due_ms, period.source_lsn) == (3, NOW_MS + start + 3, 80)
    assert [period.name(at)[1:] for at in range(3)] == [(500, 0), (500, 1), (600, 0)]
    assert [period.place(*period.name(at)[1:]) for at in range(3)] == [0, 1, 2]
    assert period.place(500, 2) == period.place(550, 0) == period.place(700, 0) == -1


@pytest.mark.parametrize(
    ("ahead_ms", "span_ms"),
    [(0, MINUTE_MS), (4 * HOUR_MS, MINUTE_MS), (4 * HOUR_MS + 1, HOUR_MS),
     (60 * DAY_MS, HOUR_MS), (60 * DAY_MS + 1, DAY_MS), (4_000 * DAY_MS, DAY_MS)],
)  # fmt: skip
def test_periods_are_the_longer_the_further_away(ahead_ms: int, span_ms: int) -> None:
    key = key_of(NOW_MS + ahead_ms, NOW_MS)
    assert key >> 2 == (NOW_MS + ahead_ms) // span_ms


def test_what_is_overdue_lies_in_a_period_of_the_present() -> None:
    assert key_of(0, NOW_MS) == key_of(NOW_MS, NOW_MS)
    assert period_of(applied(scheduled(-NOW_MS)), 0).due_ms == 0


def test_the_batch_with_the_copy_ends_an_entry_once() -> None:
    schedule = applied(scheduled(10, 20, 30))
    period = period_of(schedule, 10)
    second = period.name(1)
    for _ in range(2):
        schedule.apply(copied(second))
        assert len(schedule) == 2
    assert [period.has_ended(at) for at in range(3)] == [False, True, False]
    schedule.apply(copied(period.name(0), period.name(2)))
    assert len(schedule) == schedule.periods == 0
    assert period.live == 0
    assert not schedule.unread
    schedule.apply(copied(second))  # of a period that is gone


def test_an_entry_ends_in_its_own_queue_only() -> None:
    schedule = applied(scheduled(10, queue=RETRIES), scheduled(10, queue=RETRIES + 64))
    name = period_of(schedule, 10).name(0)
    schedule.apply(copied(name))
    assert schedule.period(RETRIES, name[0]) is None
    assert schedule.period(RETRIES + 64, name[0]) is not None


def test_entries_end_without_a_copy_or_with_their_queue() -> None:
    schedule = applied(scheduled(10, 20), scheduled(10, queue=RETRIES + 64))
    schedule.apply(state(EntriesEnded([period_of(schedule, 10).name(0)], "lost"), queue=RETRIES))
    assert len(schedule) == 2
    schedule.apply(state(QueuesDropped([RETRIES]), queue=RETRIES & 63))
    assert len(schedule) == schedule.periods == 1


def test_a_name_whose_record_is_lost_ends_nothing_else() -> None:
    schedule = applied(scheduled(10, lsn=500), scheduled(20, lsn=700))
    key = period_of(schedule, 10).key
    schedule.apply(copied((key, 600, 0), (key, 500, 1)))
    assert len(schedule) == 2


def test_only_its_records_concern_it() -> None:
    schedule = Schedule()
    plain = batch([b"x"])
    assert schedule.bucket_of(LogRecord(0, BATCH, 1, 0, 0, 0, plain, 200, 1, 0)) == -1
    assert schedule.bucket_of(state(ProducersForgotten(1))) == -1
    assert schedule.bucket_of(scheduled(10)) == RETRIES & 63
    assert schedule.bucket_of(copied()) == RETRIES & 63
    assert schedule.bucket_of(state(WatermarkRaised(5))) == WATERMARK_BUCKET
    schedule.apply(copied())  # copies that end nothing
    assert len(schedule) == 0


def test_the_watermark_never_goes_back() -> None:
    schedule = applied(state(WatermarkRaised(500)), state(WatermarkRaised(300)))
    assert schedule.watermark_ms == 500
    again = Schedule()
    again.restore(WATERMARK_BUCKET, schedule.snapshot(WATERMARK_BUCKET))
    assert again.watermark_ms == 500
    assert Schedule().snapshot(WATERMARK_BUCKET) is None


def test_the_lowest_source_rises_when_periods_go() -> None:
    schedule = Schedule()
    assert schedule.source_lsn() == NEVER
    schedule.apply(scheduled(10, source_lsn=100, lsn=500))
    schedule.apply(scheduled(HOUR_MS, source_lsn=200, lsn=600))
    assert schedule.source_lsn() == 100
    schedule.apply(copied(period_of(schedule, 10).name(0)))
    assert schedule.source_lsn() == 200
    schedule.apply(scheduled(10, source_lsn=150, lsn=700))
    assert schedule.source_lsn() == 150
    schedule.apply(state(QueuesDropped([RETRIES]), queue=RETRIES & 63))
    assert schedule.source_lsn() == NEVER


def carried(
    ended: Sequence[EntryName], *due_ms: int, lsn: int, source_lsn: int, cut_lsn: int
) -> LogRecord:
    entries = [ScheduledEntry(at, source_lsn, NOW_MS + due, 2) for at, due in enumerate(due_ms)]
    one = Scheduled(RETRIES & 63, RETRIES, RETRY, False, 7, "orders", 0, entries)
    places = [CarriedPlace(at, NOW_MS) for at in range(len(due_ms))]
    return state(Carried(RETRIES & 63, cut_lsn, list(ended), one, places), queue=RETRIES, lsn=lsn)


def test_a_period_takes_so_many_and_the_next_one_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PERIOD_ENTRIES", 3)
    schedule = applied(
        scheduled(10, 11, lsn=500), scheduled(12, 13, 14, lsn=600), scheduled(15, lsn=700),
        scheduled(16, 17, lsn=800),
    )  # fmt: skip
    assert (len(schedule), schedule.periods) == (8, 2)
    first, second = schedule.periods_in(RETRIES & 63)
    assert list(first.lsns) == [500, 500, 600, 600, 600]
    assert list(second.lsns) == [700, 800, 800]
    assert schedule.period(RETRIES, first.key) is second
    found = [schedule.period(RETRIES, first.key, lsn) for lsn in (499, 500, 600, 700, 900)]
    assert found == [None, first, first, second, second]
    schedule.apply(copied(first.name(4), second.name(1)))
    assert (first.live, second.live) == (4, 2)
    again = restored(schedule)
    assert again.digest() == schedule.digest()
    for one in (schedule, again):
        one.apply(copied(*map(first.name, range(5))))
        one.apply(scheduled(18, lsn=900))
        assert (len(one), one.periods) == (3, 2)
    assert again.digest() == schedule.digest()


def test_a_longer_period_of_an_older_log_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schedule = applied(*[scheduled(10 + at, lsn=500 + at) for at in range(7)])
    monkeypatch.setattr(module, "PERIOD_ENTRIES", 3)
    again = restored(schedule)
    assert (len(again), again.periods) == (7, 1)
    again.apply(scheduled(20, lsn=600))
    assert (len(again), again.periods) == (8, 2)
    names = [period_of(schedule, 10).name(at) for at in range(7)]
    again.apply(copied(*names))
    assert (len(again), again.periods) == (1, 1)


def test_entries_that_are_carried_end_and_others_begin_in_one_record() -> None:
    schedule = applied(scheduled(10, 20, lsn=500), scheduled(30, lsn=600, source_lsn=150))
    period = period_of(schedule, 10)
    record = carried([period.name(0)], 10, lsn=900, source_lsn=800, cut_lsn=120)
    assert schedule.bucket_of(record) == RETRIES & 63
    schedule.apply(record)
    assert (len(schedule), schedule.periods, schedule.source_lsn()) == (3, 2, 100)
    rest = [period.name(1), period.name(2)]
    schedule.apply(carried(rest, 20, 30, lsn=1_000, source_lsn=950, cut_lsn=120))
    assert (len(schedule), schedule.periods, schedule.source_lsn()) == (3, 1, 800)
    again = restored(schedule)
    for one in (schedule, again):
        one.apply(scheduled(40, lsn=1_100, source_lsn=700))  # in the same period
        assert (len(one), one.periods, one.source_lsn()) == (4, 1, 700)
    assert again.digest() == schedule.digest()


def test_it_tells_the_lowest_source_that_was_added_since_somebody_looked() -> None:
    schedule = applied(scheduled(10, source_lsn=100))
    schedule.added_lsn = NEVER
    schedule.apply(copied(period_of(schedule, 10).name(0)))
    assert schedule.added_lsn == NEVER
    schedule.apply(scheduled(10, lsn=600, source_lsn=90))
    schedule.apply(scheduled(10, lsn=700, source_lsn=95))
    assert schedule.added_lsn == 90


def restored(schedule: Schedule) -> Schedule:
    again = Schedule()
    for bucket in range(schedule.buckets):
        found = schedule.snapshot(bucket)
        if found is not None:
            again.restore(bucket, found)
    return again


def test_a_restored_schedule_goes_on_like_the_live_one() -> None:
    schedule = applied(scheduled(10, 20, HOUR_MS), scheduled(10, queue=8, lsn=600, source_lsn=50))
    first = period_of(schedule, 10)
    schedule.apply(copied(first.name(1)))
    again = restored(schedule)
    assert again.digest() == schedule.digest()
    assert len(again) == len(schedule) == 3
    assert again.source_lsn() == 50
    assert {(one.queue, one.key, one.unread_due_ms) for one in again.unread} == {
        (one.queue, one.key, one.due_ms) for one in schedule.unread
    }
    for one in (schedule, again):
        one.apply(copied(first.name(0)))
        one.apply(scheduled(30, lsn=800))
    assert again.digest() == schedule.digest()
    again.restore(RETRIES & 63, schedule.snapshot(RETRIES & 63))
    assert again.digest() == schedule.digest()
    assert len(again) == len(schedule)


def many(due_ms: Sequence[int], records: int) -> Schedule:
    schedule = Schedule()
    for at in range(records):
        schedule.apply(scheduled(*due_ms, lsn=500 + 1_000 * at))
    return schedule


@pytest.mark.parametrize("ahead_ms", [HOUR_MS, DAY_MS, 300 * DAY_MS])
def test_a_far_entry_costs_a_few_bytes(ahead_ms: int) -> None:
    due_ms = [ahead_ms + at * 977 for at in range(4_000)]
    tracemalloc.start()
    try:
        schedule = many(due_ms, 5)
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(schedule) == 20_000
    assert used < 12 * 20_000
