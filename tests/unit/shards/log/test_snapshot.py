"""Cutting, finding and restoring snapshot series."""

from __future__ import annotations

from typing import Any

from shardmq.shards.log.record import LAST_SLICE, STATE, LogRecord
from shardmq.shards.log.scan import Slice
from shardmq.shards.log.snapshot import Gate, SeriesWriter, newest_whole_series, read_slice
from support.journals import Ledger, options


def _state(lsn: int, queue: int) -> LogRecord:
    return LogRecord(lsn, STATE, queue, 0, 0, 0, b"x%d" % lsn, 70, 0, 0)


def _cut_all(series: SeriesWriter) -> list[Any]:
    slices, lsn = [], 1_000
    series.start()
    while series.running:
        payload, last = series.cut()
        slices.append((lsn, read_slice(payload), last))
        series.wrote(lsn, last=last)
        lsn += 100
    return slices


def test_a_series_holds_every_bucket_of_every_projection_once() -> None:
    one, two = Ledger("one"), Ledger("two")
    for lsn in range(40):
        one.apply(_state(lsn, lsn))
    slices = _cut_all(SeriesWriter([one, two], options(slice_bytes=1)))
    seen = [(body.projection, bucket) for _, body, _ in slices for bucket in
            range(body.first, body.stop)]  # fmt: skip
    assert sorted(seen) == [(name, bucket) for name in ("one", "two") for bucket in range(4)]
    assert [last for _, _, last in slices] == [False] * (len(slices) - 1) + [True]
    assert sum(len(body.states) for _, body, _ in slices) == 4, "empty buckets take no room"


def test_small_buckets_share_a_slice_and_the_work_of_a_tick_is_bounded() -> None:
    ledger = Ledger()
    for lsn in range(40):
        ledger.apply(_state(lsn, lsn))
    assert len(_cut_all(SeriesWriter([ledger], options(slice_bytes=1 << 16)))) == 1
    assert len(_cut_all(SeriesWriter([ledger], options(slice_bytes=1)))) == 4
    assert len(_cut_all(SeriesWriter([ledger], options(slice_bytes=1 << 16, slice_buckets=2)))) == 2


def test_a_journal_without_projections_has_snapshots_too() -> None:
    ((_, body, last),) = _cut_all(SeriesWriter([], options()))
    assert last
    assert body.states == {}


def test_only_a_whole_series_counts_and_the_newest_one_of_them() -> None:
    def series(start: int, numbers: list[int], last: int) -> list[Slice]:
        return [Slice(start, one, one == last, start + 100 * one, 80) for one in numbers]

    old, new = series(100, [0, 1, 2], 2), series(1_000, [0, 1, 2], 2)
    assert newest_whole_series([*old, *new], 1 << 60) == new
    assert newest_whole_series([*old, *new], 1_200) == old
    assert newest_whole_series([*old, *series(1_000, [0, 2], 2)], 1 << 60) == old
    assert newest_whole_series([*old, *series(1_000, [0, 1], 2)], 1 << 60) == old
    assert newest_whole_series([*old, *series(1_000, [1, 2], 2)], 1 << 60) == old
    assert newest_whole_series([], 1 << 60) is None
    assert LAST_SLICE == 1


def test_each_bucket_takes_records_from_its_own_slice_on() -> None:
    live = Ledger()
    for lsn in range(0, 1_000, 100):
        live.apply(_state(lsn, lsn // 100))
    slices, lsn, records = [], 1_000, []
    series = SeriesWriter([live], options(slice_bytes=1))
    series.start()
    while series.running:
        payload, last = series.cut()
        slices.append((lsn, read_slice(payload)))
        series.wrote(lsn, last=last)
        for queue in range(4):  # the state goes on between the slices
            lsn += 100
            records.append(_state(lsn, queue))
            live.apply(records[-1])
        lsn += 100
    copy = Ledger()
    gate = Gate(copy, slices[0][0])
    for at, body in slices:
        gate.restore(body, at)
    for record in records:
        gate.apply(record)
    assert copy.digest() == live.digest()


def test_a_bucket_that_no_slice_names_takes_everything_from_the_first_slice_on() -> None:
    copy = Ledger()
    gate = Gate(copy, 500)
    gate.apply(_state(499, 1))
    gate.apply(_state(500, 1))
    assert copy.counts[1] == 1
