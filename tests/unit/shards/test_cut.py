"""Cuts: a piece of a batch says of its messages what the batch said; opened ones are bounded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardmq.actors.kernel.ports import Span
from shardmq.actors.protocol.batch import BatchError, BatchView, check_batch
from shardmq.actors.protocol.compress import Compression
from shardmq.actors.protocol.messages import PlainMessage
from shardmq.actors.protocol.plain import plain_messages
from shardmq.shards import cut
from shardmq.shards.cut import OpenedBatch, OpenedBatches
from shardmq.shards.log.errors import DamagedRecord
from support.cutting import columns_of, encoded
from support.shards import ShardUnderTest, batch, topic

PREFIX = bytes(64)
BASE = 100


def opened(frame: bytes, base: int = BASE) -> OpenedBatch:
    count = check_batch(frame).count
    return OpenedBatch(PREFIX + frame, Span(base, 0, 64 + len(frame), count, 5))


def plain(frame: bytes, base: int) -> list[PlainMessage]:
    return plain_messages(BatchView(frame, check_batch(frame)), base, 5)


@given(st.data(), st.sampled_from([Compression.NONE, Compression.ZSTD]), st.booleans())
def test_a_cut_says_the_same_of_its_messages(
    data: st.DataObject, compression: Compression, is_copy: bool
) -> None:
    count = data.draw(st.integers(1, 12))
    frame = encoded(columns_of(data, count, is_copy=is_copy), compression)
    one = opened(frame)
    first = data.draw(st.integers(0, count - 1))
    behind = data.draw(st.integers(first + 1, count))
    assert plain(one.cut(first, behind), BASE + first) == plain(frame, BASE)[first:behind]


def test_all_of_a_batch_is_the_batch_as_it_is_and_a_part_is_not_compressed() -> None:
    frame = batch([b"x" * 1_000] * 4)
    packed = encoded({"bodies": [b"x" * 1_000] * 4}, Compression.ZSTD)
    assert opened(frame).cut(0, 4) == frame
    assert opened(packed).cut(0, 4) == packed
    assert len(opened(packed).cut(0, 3)) > 3_000


@given(st.lists(st.sampled_from([None, "a", "b"]), min_size=1, max_size=20), st.data())
def test_runs_are_those_of_a_naive_search(tags: list[str | None], data: st.DataObject) -> None:
    one = opened(batch([b"x"] * len(tags), tags=tags))
    at = data.draw(st.integers(0, len(tags)))
    stop = data.draw(st.integers(BASE, BASE + len(tags) + 2))
    for wanted in (None, frozenset("a"), frozenset("ab")):
        first, behind = one.run_from(at, stop, wanted)
        end = min(len(tags), stop - BASE)
        good = [i for i in range(at, end) if wanted is None or tags[i] in wanted]
        if not good:
            assert first == behind
            continue
        assert first == good[0]
        assert behind == next((i for i in range(first, end) if i not in good), end)


def test_how_many_fit() -> None:
    one = opened(batch([b"x" * 10, b"x" * 20, b"x" * 30]))
    assert [one.fitting(0, 3, size) for size in (5, 10, 29, 30, 59, 60)] == [1, 1, 1, 2, 2, 3]
    assert one.fitting(1, 3, 20) == 2
    assert [one.index_from(BASE + at) for at in (-1, 0, 2, 9)] == [0, 0, 2, 3]
    assert (one.offset(2), one.stop) == (BASE + 2, BASE + 3)


def test_offsets_with_gaps() -> None:
    one = opened(encoded({"bodies": [b"a", b"b", b"c"], "offset_deltas": [0, 2, 3]}))
    assert [one.index_from(BASE + at) for at in (0, 1, 2, 3, 4)] == [0, 1, 1, 2, 3]
    assert one.run_from(0, BASE + 9, None) == (0, 1)
    assert one.run_from(1, BASE + 9, None) == (1, 3)
    assert one.stop == BASE + 4


@pytest.fixture
def shard() -> ShardUnderTest:
    under_test = ShardUnderTest()
    under_test.define(topic())
    for body in (b"a", b"b", b"c"):
        under_test.fill(1, body * 1_000)
    return under_test


def spans_of(shard: ShardUnderTest) -> list[Span]:
    return shard.journal.spans(1, 0, 1 << 20, shard.journal.durable)


def test_opened_ones_are_kept_up_to_a_bound(
    shard: ShardUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, spans = OpenedBatches(shard.journal), spans_of(shard)
    first = batches.get(spans[0])
    assert batches.get(spans[0]) is first
    monkeypatch.setattr(cut, "OPENED_BYTES_MAX", 2 * first.weight)
    batches.get(spans[1])
    batches.get(spans[0])
    batches.get(spans[2])
    assert [span.lsn in batches for span in spans] == [True, False, True]
    assert (len(batches), batches.opened) == (2, 3)


def test_what_was_read_already_is_opened_without_reading(shard: ShardUnderTest) -> None:
    batches, spans = OpenedBatches(shard.journal), spans_of(shard)
    records = dict(zip([span.lsn for span in spans], shard.journal.read(spans), strict=True))
    records[spans[1].lsn] = records[spans[1].lsn][:-5]  # said to whoever asks for it
    batches.add(spans, records)
    assert [span.lsn in batches for span in spans] == [True, False, True]


def test_damage_is_raised(shard: ShardUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    batches, spans = OpenedBatches(shard.journal), spans_of(shard)
    monkeypatch.setattr(shard.journal, "read", lambda spans: [PREFIX + b"nonsense" * 20])
    with pytest.raises(BatchError):
        batches.get(spans[0])

    def damaged(spans: Any) -> list[bytes]:
        raise DamagedRecord(1, 0, 1, 64)

    monkeypatch.setattr(shard.journal, "read", damaged)
    with pytest.raises(DamagedRecord):
        batches.get(spans[0])
    assert len(batches) == 0
