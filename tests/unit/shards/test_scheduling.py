"""Scheduling: one record acks and schedules; what cannot be scheduled is refused as a whole."""

from __future__ import annotations

import pytest

from shardmq.actors.kernel.ports import Refusal
from shardmq.actors.protocol.codes import Code
from shardmq.shards import scheduling
from shardmq.shards.granted import Refused
from shardmq.shards.scheduling import Scheduling, Sources
from shardmq.shards.state.cursors import Cursor
from shardmq.shards.state.records import ScheduledEntry
from support.grouped import GROUP
from support.retrying import DEAD, QUEUE, RETRIES, RetryingShard

WHY = ("late", "nobody came")


@pytest.fixture
def shard() -> RetryingShard:
    under_test = RetryingShard()
    under_test.prepare()
    for bodies in ((b"0", b"1"), (b"2", b"3")):
        under_test.fill(QUEUE, *bodies)
    return under_test


def scheduling_of(shard: RetryingShard) -> Scheduling:
    return shard.core._work.receiving._handing.scheduling


def cursor_of(shard: RetryingShard) -> Cursor:
    cursor = shard.state.cursors.get(GROUP, QUEUE)
    assert cursor is not None
    return cursor


def bury(shard: RetryingShard, *stretches: tuple[int, int, int]) -> list[int]:
    served = shard.core._serving.by_number[QUEUE]
    now = shard.clock.now()
    return scheduling_of(shard).bury(GROUP, served, cursor_of(shard), stretches, WHY, now)


def test_stretches_become_dead_letters(shard: RetryingShard) -> None:
    assert bury(shard, (1, 3, 5), (3, 4, 6)) == [1, 2, 3]
    assert shard.cursor(QUEUE).ranges == [(1, 4)]
    shard.sync()
    shard.settle()
    dead = shard.seen(DEAD)
    assert [one.body for one in dead] == [b"1", b"2", b"3"]
    assert [one.properties["%ATTEMPT"] for one in dead] == ["5", "5", "6"]
    assert {(one.properties["%CAUSE"], one.properties["%DETAIL"]) for one in dead} == {WHY}


def test_what_the_log_has_lost_is_only_done_with(shard: RetryingShard) -> None:
    assert bury(shard, (3, 7, 1)) == [3]
    assert shard.cursor(QUEUE).ranges == [(3, 7)]


def test_long_texts_are_shared_out(shard: RetryingShard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "_TEXT_CHARS_MAX", 6)
    bury(shard, (0, 3, 1))
    shard.sync()
    shard.settle()
    assert {one.properties["%CAUSE"] for one in shard.seen(DEAD)} == {"la"}


def test_what_is_refused_changes_nothing(
    shard: RetryingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = shard.digests()
    monkeypatch.setattr(shard.journal, "refusal", lambda size: Refusal.DISK_FULL)
    with pytest.raises(Refused) as refused:
        bury(shard, (0, 1, 1))
    assert refused.value.code == Code.DISK_FULL
    monkeypatch.undo()
    monkeypatch.setattr(scheduling, "SCHEDULE_ENTRIES_MAX", 1)
    with pytest.raises(Refused) as refused:
        bury(shard, (0, 2, 1))
    assert refused.value.code == Code.BUSY
    assert shard.digests() == digests


def test_one_decision_may_have_both(shard: RetryingShard) -> None:
    served, one = shard.core._serving.by_number[QUEUE], scheduling_of(shard)
    retried, dead = ScheduledEntry(0, 64, 0, 2), ScheduledEntry(1, 64, 0, 1)
    lsn = Sources(shard.journal, served).lsn_of(0)
    assert lsn is not None
    retried, dead = (ScheduledEntry(at, lsn, 0, 2) for at in (0, 1))
    one.decide(GROUP, served, cursor_of(shard), [retried], [dead], shard.clock.now())
    assert (one.retried, one.dead, shard.cursor(QUEUE).floor) == (1, 1, 2)
    shard.sync()
    shard.settle()
    shard.release()
    assert ([len(shard.seen(queue)) for queue in (RETRIES, DEAD)]) == [1, 1]


def test_where_messages_lie(shard: RetryingShard) -> None:
    sources = Sources(shard.journal, shard.core._serving.by_number[QUEUE])
    spans = shard.journal.spans(QUEUE, 0, 1 << 20, shard.journal.durable)
    assert [sources.lsn_of(at) for at in (0, 1, 3, 4)] == [
        spans[0].lsn, spans[0].lsn, spans[1].lsn, None,
    ]  # fmt: skip
    assert sources.attempt_of(3) == 1
