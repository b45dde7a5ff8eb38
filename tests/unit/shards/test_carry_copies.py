"""Carry, copying: what shares a batch, what shares a record, and what a record says."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.batch import BatchView, Columns, check_batch, encode_batch
from shardmq.actors.protocol.compress import Compression
from shardmq.actors.protocol.group_messages import NackMessage
from shardmq.actors.protocol.limits import META_BYTES_MAX
from shardmq.shards import release_copies
from shardmq.shards.carry_copies import Carriage, Moved, carried, records_of
from shardmq.shards.near import NearEntry
from shardmq.shards.state.buckets import BUCKETS
from shardmq.shards.state.records import CarriedPlace
from support.retrying import DEAD, QUEUE, RETRIES, RetryingShard
from support.shards import batch

LATER_MS = 3_600_000


@pytest.fixture
def shard() -> RetryingShard:
    under_test = RetryingShard(segment_bytes=32 << 20)
    under_test.prepare()
    return under_test


def later(*offsets: int) -> list[NackMessage]:
    return [NackMessage(offset=one, delay_ms=LATER_MS, cause="c") for one in offsets]


def made(shard: RetryingShard) -> Carriage:
    schedule = shard.state.schedule
    periods = [one for bucket in range(BUCKETS) for one in schedule.periods_in(bucket)]
    entries = [NearEntry(one, at, 0) for one in periods for at in range(len(one.lsns))]
    return carried(shard.journal, entries)


def bodies(found: Carriage) -> list[list[bytes]]:
    return [BatchView(one.frame, check_batch(one.frame)).bodies() for one in found.parcels]


def test_messages_of_one_born_time_and_codec_share_a_batch(shard: RetryingShard) -> None:
    shard.fill(QUEUE, b"a", b"b")
    for producer_id, born_ms, codec in ((8, 1, Compression.ZSTD), (9, 77, Compression.NONE)):
        frame = encode_batch(
            Columns([b"c" * 900]), producer_id=producer_id, first_sequence=0,
            first_born_ms=born_ms, last_born_ms=born_ms, compression=codec,
        )  # fmt: skip
        shard.produce(QUEUE, frame)
    shard.produce(QUEUE, batch([b"e"], producer_id=10))
    shard.nack(*later(0, 1, 2, 3, 4))
    assert bodies(made(shard)) == [[b"a", b"b", b"e"], [b"c" * 900], [b"c" * 900]]


def test_a_large_batch_is_cut(shard: RetryingShard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_copies, "PARCEL_BYTES", 500)
    shard.fill(QUEUE, *[b"x" * 100] * 10)
    shard.nack(*later(*range(10)))
    assert 2 < len(made(shard).parcels) < 10


def test_a_message_that_no_batch_can_hold_fails(shard: RetryingShard) -> None:
    properties = [{"p": "x" * (META_BYTES_MAX - 20)}]
    shard.produce(QUEUE, batch([b"x"], properties=properties))
    shard.nack(*later(0))
    found = made(shard)
    assert (found.parcels, len(found.failed)) == ([], 1)


def test_a_record_is_for_what_was_decided_alike(shard: RetryingShard) -> None:
    shard.fill(QUEUE, b"a", b"b", b"c")
    shard.fill(2, b"d")
    shard.grant(2)
    shard.turn([shard.nack_letter(*later(0, 2))])
    at_ms = int(shard.clock.now().wall_ms)
    shard.clock.advance(10)
    shard.turn([shard.nack_letter(*later(1))])
    shard.turn([shard.nack_letter(*later(0), queue=2)])
    shard.turn([shard.nack_letter(NackMessage(offset=0, dead=True), queue=RETRIES)])
    shard.sync()
    (parcel,) = made(shard).parcels
    moved = [Moved(row, 50 + at, 9_000) for at, row in enumerate(parcel.rows)]
    first, second = records_of(moved, 4_000)
    assert (first.bucket, first.cut_lsn) == (RETRIES & 63, 4_000)
    assert first.scheduled.destination == RETRIES != DEAD
    assert [(one.offset, one.lsn, one.cause) for one in first.scheduled.entries] == [
        (0, 9_000, "c"), (2, 9_000, "c"), (1, 9_000, "c"),
    ]  # fmt: skip
    assert first.places == [
        CarriedPlace(50, at_ms), CarriedPlace(51, at_ms), CarriedPlace(52, at_ms + 10),
    ]  # fmt: skip
    assert first.ended == [row.copy.entry for row in parcel.rows[:3]]
    assert [one.offset for one in second.scheduled.entries] == [0]
    assert second.scheduled.queue_id == 1
