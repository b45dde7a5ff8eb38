"""Release, copying: groups, pieces, and what becomes of entries that cannot be copied."""

from __future__ import annotations

import sys

import pytest

from shardmq.actors.protocol.batch import BatchView, Columns, check_batch, encode_batch
from shardmq.actors.protocol.compress import Compression
from shardmq.actors.protocol.group_messages import NackMessage
from shardmq.actors.protocol.limits import BATCH_BYTES_MAX, META_BYTES_MAX
from shardmq.shards import sources
from shardmq.shards.near import Near, NearEntry
from shardmq.shards.release_copies import Copied, copied
from shardmq.shards.state.buckets import BUCKETS
from support.retrying import DEAD, QUEUE, RETRIES, RetryingShard
from support.shards import batch


@pytest.fixture
def shard() -> RetryingShard:
    under_test = RetryingShard(segment_bytes=32 << 20)
    under_test.prepare()
    return under_test


def due(shard: RetryingShard) -> list[NearEntry]:
    """All entries, read anew."""
    schedule = shard.state.schedule
    for period in (one for bucket in range(BUCKETS) for one in schedule.periods_in(bucket)):
        period.read, period.unread_due_ms = 0, period.due_ms
        shard.state.schedule.unread[period] = None
    near = Near(shard.journal, shard.state.schedule)
    near.read(1 << 62)
    return near.take(1 << 62, 1_000)


def made(shard: RetryingShard) -> Copied:
    return copied(shard.journal, due(shard))


def bodies(frame: bytes) -> list[bytes]:
    return BatchView(frame, check_batch(frame)).bodies()


def test_a_parcel_is_for_one_queue_and_one_born_time(shard: RetryingShard) -> None:
    offset = shard.fill(QUEUE, b"a", b"b", b"c").base_offset
    late = batch([b"late"], producer_id=8)
    late = shard.produce(QUEUE, late).base_offset.to_bytes(1, "little")  # born at the same time
    shard.nack(offset, offset + 1, NackMessage(offset=offset + 2, dead=True), late[0])
    found = made(shard)
    assert {(one.queue, tuple(bodies(one.frame))) for one in found.parcels} == {
        (DEAD, (b"c",)), (RETRIES, (b"a", b"b", b"late")),
    }  # fmt: skip
    assert (found.failed, found.left, found.faults) == ([], [], 0)


def test_what_a_turn_does_not_do_is_left(
    shard: RetryingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "TURN_COPIED_BYTES", 2_000)
    offset = shard.fill(QUEUE, *[b"x" * 900] * 5).base_offset
    shard.nack(*range(offset, offset + 5))
    found = made(shard)
    assert [len(one.entries) for one in found.parcels] == [2]
    assert len(found.left) == 3


def test_a_message_that_fills_a_batch_goes_without_its_story(shard: RetryingShard) -> None:
    offset = shard.fill(QUEUE, bytes(BATCH_BYTES_MAX - 1_000)).base_offset
    shard.nack(NackMessage(offset=offset, dead=True, cause="c" * 2_000))
    shard.settle()
    (seen,) = shard.seen(DEAD)
    assert "%CAUSE" not in seen.properties
    assert seen.properties["%OFFSET"] == str(offset)


def test_a_message_that_no_batch_can_hold_ends_without_a_copy(shard: RetryingShard) -> None:
    # Only a producer that ignores the limits can have stored it.
    properties = [{"p": "x" * (META_BYTES_MAX - 50)}]
    offset = shard.produce(QUEUE, batch([b"x"], properties=properties)).base_offset
    shard.nack(NackMessage(offset=offset, dead=True))
    shard.settle()
    assert shard.seen(DEAD) == []
    assert len(shard.state.schedule) == 0
    assert shard.core.stats()["schedule_lost"] == 1


def test_an_offset_that_is_gone_fails_with_the_reason(
    shard: RetryingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard.nack(shard.fill(QUEUE, b"x").base_offset)
    entries = due(shard)
    monkeypatch.setattr(shard.journal, "spans", lambda *of: [])
    (failed,) = copied(shard.journal, entries).failed
    assert failed.reason == f"queue {QUEUE} has no message at offset 0 any more"


def test_a_message_whose_codec_is_not_installed_any_more_is_not_lost(
    shard: RetryingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = encode_batch(
        Columns([b"x" * 900]), producer_id=9, first_sequence=0, first_born_ms=1, last_born_ms=1,
        compression=Compression.LZ4,
    )  # fmt: skip
    shard.nack(NackMessage(offset=shard.produce(QUEUE, frame).base_offset, dead=True))
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "lz4", None)
        without.setitem(sys.modules, "lz4.block", None)
        shard.settle()
        assert len(shard.state.schedule) == 1
        assert shard.core.stats()["schedule_lost"] == 0
        shard.restart()
        shard.settle()
    shard.restart()
    shard.settle()
    assert [one.body for one in shard.seen(DEAD)] == [b"x" * 900]
    assert len(shard.state.schedule) == 0
