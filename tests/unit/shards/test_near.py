"""Near: entries are read back when they come near, in order, each once, a piece at a time."""

from __future__ import annotations

import tracemalloc

import pytest
from msgspec.structs import replace

from shardmq.shards import near as module
from shardmq.shards.near import Near, NearEntry, read_entries
from shardmq.shards.state.queues import CARRIED_QUEUE
from shardmq.shards.state.records import Carried, CarriedPlace, encode_state
from shardmq.shards.state.schedule import NEVER, key_of
from support.schedules import NOW, RETRIES, ScheduleUnderTest

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


@pytest.fixture
def log() -> ScheduleUnderTest:
    return ScheduleUnderTest()


def near_of(log: ScheduleUnderTest) -> Near:
    return Near(log.journal, log.schedule)


def in_ms(entries: list[NearEntry]) -> list[int]:
    return [one.due_ms - NOW.wall_ms for one in entries]


def taken(near: Near, until_ms: int, count_max: int = 1_000) -> list[int]:
    return in_ms(near.take(NOW.wall_ms + until_ms, count_max))


def read(near: Near, until_ms: int) -> list[NearEntry]:
    return near.read(NOW.wall_ms + until_ms)


def test_entries_come_in_the_order_of_their_due_times(log: ScheduleUnderTest) -> None:
    log.add(300, 100)
    log.add(200, queue=RETRIES + 1)
    near = near_of(log)
    assert near.next_due_ms() == NOW.wall_ms + 100
    assert taken(near, 1_000) == []  # nothing was read yet
    assert read(near, 1_000) == []
    assert taken(near, 250) == [100, 200]
    assert near.next_due_ms() == NOW.wall_ms + 300
    assert taken(near, 1_000, count_max=1) == [300]
    assert (near.next_due_ms(), len(near)) == (NEVER, 0)


def test_only_what_is_near_is_read(log: ScheduleUnderTest) -> None:
    log.add(100, 10 * MINUTE_MS, DAY_MS, 300 * DAY_MS)
    near = near_of(log)
    read(near, MINUTE_MS)
    assert len(near) == 1
    assert taken(near, MINUTE_MS) == [100]
    assert near.next_due_ms() == NOW.wall_ms + 10 * MINUTE_MS
    read(near, 301 * DAY_MS)
    assert taken(near, 301 * DAY_MS) == [10 * MINUTE_MS, DAY_MS, 300 * DAY_MS]


def test_what_the_disk_does_not_have_yet_waits_for_it(log: ScheduleUnderTest) -> None:
    near = near_of(log)
    log.add(100, sync=False)
    assert near.next_due_ms() == NOW.wall_ms + 100
    assert read(near, 1_000) == []
    assert (near.blocked, near.more, taken(near, 1_000)) == (True, False, [])
    log.sync()
    read(near, 1_000)
    assert (near.blocked, taken(near, 1_000)) == (False, [100])


def test_entries_that_come_to_a_period_which_was_read_are_read_too(log: ScheduleUnderTest) -> None:
    log.add(300)
    near = near_of(log)
    read(near, 1_000)
    log.add(200)
    assert near.next_due_ms() == NOW.wall_ms + 200
    read(near, 1_000)
    assert taken(near, 1_000) == [200, 300]


def test_a_piece_is_read_at_a_time(log: ScheduleUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_RECORDS", 3)
    for at in range(8):
        log.add(at, at + 20)
    near, seen = near_of(log), []
    while True:
        read(near, 1_000)
        seen.append(len(near))
        if not near.more:
            break
    assert seen == [6, 12, 16]
    assert taken(near, 1_000) == [*range(8), *range(20, 28)]


def test_a_long_stretch_of_ended_entries_is_passed_over_in_pieces(
    log: ScheduleUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_PLACES", 100)
    log.add(*range(1_000))
    log.add(5_000)
    (period,) = log.schedule.unread
    log.end(period, *range(1_000))
    near, turns = near_of(log), 0
    while not len(near):
        read(near, MINUTE_MS)
        turns += 1
        assert near.more or len(near)
    assert turns == 2  # a record is passed over as a whole
    assert taken(near, MINUTE_MS) == [5_000]


def test_what_was_given_back_comes_again(log: ScheduleUnderTest) -> None:
    log.add(100, 200)
    near = near_of(log)
    read(near, 1_000)
    entries = near.take(NOW.wall_ms + 1_000, 10)
    assert near.next_due_ms() == NEVER
    near.give_back(entries)
    assert taken(near, 1_000) == [100, 200]


def test_what_has_ended_is_passed_over_read_or_not(log: ScheduleUnderTest) -> None:
    log.add(100, 200, 300)
    near = near_of(log)
    read(near, 1_000)
    (period,) = {one.period for one in near.take(NOW.wall_ms + 100, 1)}
    log.end(period, 1)
    log.add(400, queue=9)
    log.drop(9)
    read(near, 1_000)
    assert taken(near, 1_000) == [300]
    again = near_of(log)
    log.schedule.unread[period] = None
    period.read, period.unread_due_ms = 0, period.due_ms
    read(again, 1_000)
    assert taken(again, 1_000) == [100, 300]


def test_what_went_with_its_queue_is_cleared_away_in_pieces(
    log: ScheduleUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.add(*range(100))
    log.add(500, queue=9)
    near = near_of(log)
    read(near, 1_000)
    log.drop()
    monkeypatch.setattr(module, "READ_PLACES", 30)
    assert taken(near, 1_000) == []
    assert len(near) == 71
    assert near.due(NOW.wall_ms + 1_000)
    monkeypatch.undo()
    assert taken(near, 1_000) == [500]


def test_a_restart_reads_the_same_again(log: ScheduleUnderTest) -> None:
    log.add(100, 200)
    log.add(50)
    near = near_of(log)
    read(near, 1_000)
    first = near.take(NOW.wall_ms + 60, 10)
    log.end(first[0].period, first[0].at)
    log.sync()
    log.disk.kill()
    log.open()
    near = near_of(log)
    read(near, 1_000)
    assert taken(near, 1_000) == [100, 200]


def test_a_damaged_record_is_told_with_its_entries(log: ScheduleUnderTest) -> None:
    lsn = log.add(100, 200)
    log.add(150)
    log.disk.rot(f"/log/{0:020d}.log", lsn + 70, b"\xee\xee")
    near = near_of(log)
    damaged = read(near, 1_000)
    assert [one.at for one in damaged] == [0, 1]
    assert read_entries(log.journal, damaged[0].period, lsn) == []
    assert taken(near, 1_000) == [150]


def test_an_entry_that_was_carried_tells_where_its_message_lies_now(
    log: ScheduleUnderTest,
) -> None:
    log.add(100, 2 * DAY_MS)
    log.add(200)
    near = near_of(log)
    read(near, 1_000)
    period = log.schedule.period(RETRIES, key_of(NOW.wall_ms + 100, NOW.wall_ms))
    assert period is not None
    (due,), (other,) = (read_entries(log.journal, period, one) for one in period.lsns)
    entries = [replace(due.entry, lsn=900), replace(other.entry, lsn=900)]
    places = [CarriedPlace(5, 77), CarriedPlace(6, 78)]
    scheduled = replace(due.scheduled, entries=entries)
    names = [period.name(0), period.name(1)]
    carried = Carried(RETRIES & 63, 0, names, scheduled, places)
    lsn = log.journal.append_state(encode_state(carried), NOW, queue=RETRIES).lsn
    log.sync()
    read(near, 1_000)
    assert taken(near, 1_000) == [100, 200]  # each once, though both were read before
    again = read_entries(log.journal, period, lsn)
    assert [(one.source, one.offset, one.decided_at_ms) for one in again] == [
        (CARRIED_QUEUE, 5, 77), (CARRIED_QUEUE, 6, 78),
    ]  # fmt: skip
    assert [one.entry for one in again] == entries
    assert (due.source, due.offset, due.decided_at_ms) == (3, 0, NOW.wall_ms)


def test_a_far_period_is_listed_once_however_many_entries_it_gets(log: ScheduleUnderTest) -> None:
    near = near_of(log)
    for at in range(200):
        log.add(DAY_MS - at, sync=False)
        near.next_due_ms()
    for _ in range(200):
        log.add(DAY_MS, sync=False)
        near.next_due_ms()
    assert len(near._far) < 100
    assert len(near._listed) == 1


def test_a_near_entry_costs_tens_of_bytes(log: ScheduleUnderTest) -> None:
    for _ in range(10):
        log.add(*range(1_000, 3_000))
    near = near_of(log)
    tracemalloc.start()
    try:
        while len(near) < 20_000:
            read(near, MINUTE_MS)
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used < 70 * 20_000
