"""Filters: which batches a search finds, how far it goes, and what it does at damages."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.protocol.batch import BatchError
from shardmq.shards.filters import BATCH_COST, Found, Search, read_sound, tags_of, view_of
from shardmq.shards.log.errors import DamagedRecord
from support.shards import ShardUnderTest, topic

PAID = frozenset({"paid"})
NO_END = 1 << 40


@pytest.fixture
def shard() -> ShardUnderTest:
    under_test = ShardUnderTest()
    under_test.define(topic(numbers=(1,)))
    return under_test


def fill(shard: ShardUnderTest, *tags: str | None) -> None:
    """One batch for each letter: p is paid, o is open, m is both."""
    for tag in tags:
        names = {"m": ["open", "paid"], "p": ["paid", "paid"], "o": ["open", "open"]}
        shard.fill(1, b"a", b"b", tags=None if tag is None else names[tag])


def run(
    shard: ShardUnderTest, offset: int = 0, *, bytes_max: int = NO_END, cost_max: int = NO_END
) -> Found:
    search = Search(shard.journal)
    spans = search.first(1, offset, shard.journal.durable)
    return search.run(1, spans, PAID, bytes_max, cost_max, shard.journal.durable)


def test_expressions_are_read_once() -> None:
    assert tags_of("*") is None
    assert tags_of("a || b") == {"a", "b"}
    assert tags_of("a || b") is tags_of("a || b")


def test_batches_with_a_selected_message_are_found(shard: ShardUnderTest) -> None:
    fill(shard, "o", "p", None, "m", "o")
    found = run(shard)
    assert [span.base_offset for span in found.spans] == [2, 6]
    assert set(found.records) == {span.lsn for span in found.spans}
    assert found.behind == 10


def test_a_search_stops_at_its_price(shard: ShardUnderTest) -> None:
    fill(shard, *"oooop")
    found = run(shard, cost_max=2 * BATCH_COST)
    assert (found.spans, found.behind) == ([], 4)
    assert 2 * BATCH_COST <= found.cost < 3 * BATCH_COST
    assert [span.base_offset for span in run(shard, found.behind).spans] == [8]


def test_a_search_goes_on_behind_one_piece(
    shard: ShardUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shardmq.shards.filters.PIECE_BYTES", 1)
    fill(shard, *"oopom")
    assert [span.base_offset for span in run(shard).spans] == [4, 8]


def test_the_credit_ends_in_front_of_a_batch_that_is_too_much(shard: ShardUnderTest) -> None:
    fill(shard, *"opop")
    size = run(shard).spans[0].length
    found = run(shard, bytes_max=size + 1)
    assert ([span.base_offset for span in found.spans], found.behind) == ([2], 6)
    assert len(run(shard, bytes_max=1).spans) == 1


def test_a_malformed_batch_is_for_the_reader_to_complain(
    shard: ShardUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def malformed(record: bytes) -> Any:
        raise BatchError("nonsense")

    fill(shard, *"oo")
    monkeypatch.setattr("shardmq.shards.filters.view_of", malformed)
    assert len(run(shard).spans) == 2


def damage(shard: ShardUnderTest, monkeypatch: pytest.MonkeyPatch, base_offset: int) -> None:
    read = shard.journal.read

    def fails(spans: Any) -> Any:
        if any(span.base_offset == base_offset for span in spans):
            raise DamagedRecord(1, base_offset, 2, 0)
        return read(spans)

    monkeypatch.setattr(shard.journal, "read", fails)


def test_a_damage_is_told_only_when_it_comes_first(
    shard: ShardUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(shard, *"opop")
    damage(shard, monkeypatch, 4)
    found = run(shard)
    assert ([span.base_offset for span in found.spans], found.behind) == ([2], 4)
    found = run(shard, 4)
    assert ([span.base_offset for span in found.spans], found.behind) == ([4], 6)
    assert found.records == {}


def test_sound_records_are_read_around_a_damaged_one(
    shard: ShardUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(shard, *"opo")
    spans = shard.journal.spans(1, 0, NO_END, shard.journal.durable)
    damage(shard, monkeypatch, 2)
    records = read_sound(shard.journal, spans)
    assert set(records) == {spans[0].lsn, spans[2].lsn}
    assert view_of(records[spans[0].lsn]).tags() == ["open", "open"]
