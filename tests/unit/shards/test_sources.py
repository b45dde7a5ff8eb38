"""Sources: as many messages as a turn copies, and what can be wrong with one."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.protocol.batch import BatchUnopened
from shardmq.actors.protocol.group_messages import NackMessage
from shardmq.shards import sources as module
from shardmq.shards.copies import same_of
from shardmq.shards.near import NearEntry
from shardmq.shards.sources import Found, copied_with
from support.retrying import QUEUE, RETRIES, RetryingShard

LATER_MS = 3_600_000


@pytest.fixture
def shard() -> RetryingShard:
    under_test = RetryingShard()
    under_test.prepare()
    for at in range(4):
        offset = under_test.fill(QUEUE, b"%d" % at * 100).base_offset
        under_test.nack(NackMessage(offset=offset, delay_ms=LATER_MS))
    return under_test


def copy(due: Any, stored: Any, name: Any) -> Any:
    return same_of(stored, due.scheduled, name, due.offset)


def entries(shard: RetryingShard) -> list[NearEntry]:
    (period,) = shard.state.schedule.periods_in(RETRIES & 63)
    return [NearEntry(period, at, 0) for at in range(4)]


def found(shard: RetryingShard, make: Any = copy) -> Found:
    return copied_with(make, shard.journal, entries(shard))


def test_each_entry_leads_to_its_message(shard: RetryingShard) -> None:
    result = found(shard)
    assert [row.copy.body for row in result.rows] == [b"%d" % at * 100 for at in range(4)]
    assert [row.due.entry.offset for row in result.rows] == [0, 1, 2, 3]
    assert [row.entry for row in result.rows] == entries(shard)
    assert (result.failed, result.left, result.faults) == ([], [], 0)


@pytest.mark.parametrize(("bound", "count"), [("TURN_COPIED_BYTES", 2), ("TURN_SOURCE_BYTES", 1)])
def test_bytes_bound_a_turn(
    shard: RetryingShard, monkeypatch: pytest.MonkeyPatch, bound: str, count: int
) -> None:
    monkeypatch.setattr(module, bound, 200)
    result = found(shard)
    assert (len(result.rows), result.left) == (count, entries(shard)[count:])


def test_what_is_damaged_fails_and_what_is_a_fault_stays(shard: RetryingShard) -> None:
    (span,) = shard.journal.spans(QUEUE, 1, 1, shard.journal.durable)
    shard.disk.rot(f"/data/shard/{0:020d}.log", span.lsn + 130, b"\xee")
    record = entries(shard)[2].period.lsns[2]
    shard.disk.rot(f"/data/shard/{0:020d}.log", record + 70, b"\xee")

    def failing(due: Any, stored: Any, name: Any) -> Any:
        if due.offset == 0:
            raise RuntimeError("a bug")
        raise BatchUnopened("no codec")

    result = found(shard, failing)
    assert [one.entry.at for one in result.failed] == [1, 2]
    assert result.failed[1].reason == f"the record at log position {record} is damaged"
    assert (result.rows, result.faults) == ([], 2)


def test_a_broken_invariant_is_no_fault_of_a_message(shard: RetryingShard) -> None:
    def failing(due: Any, stored: Any, name: Any) -> Any:
        raise AssertionError("broken")

    with pytest.raises(AssertionError, match="broken"):
        found(shard, failing)
