"""RELEASE: the watermark, the parked answer, a bounded piece a turn, refusals, what cannot be
copied, a full disk."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.kernel.ports import Refusal
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import NackMessage
from shardmq.actors.protocol.verbs import Verb
from shardmq.shards import carry, release_copies, sources
from shardmq.shards import release as module
from shardmq.shards.append import NoRoom
from shardmq.shards.copies import copy_of
from shardmq.shards.state.records import Scheduled, ScheduledEntry, encode_state
from shardmq.shards.state.schedule import DELIVER
from support.manual import WALL_MS
from support.retrying import QUEUE, RETRIES, RetryingShard
from support.shards import batch, topic

LEVEL_MS = 10_000
KIB = 1024


@pytest.fixture
def shard() -> RetryingShard:
    under_test = RetryingShard()
    under_test.prepare()
    under_test.fill(QUEUE, *[b"%d" % at for at in range(10)])
    return under_test


def bodies(shard: RetryingShard, queue: int = RETRIES) -> list[bytes]:
    return [one.body for one in shard.seen(queue)]


def stats(shard: RetryingShard, name: str) -> Any:
    return shard.core.stats()[name]


# ------------------------------------------------------------------ the answer


def test_the_answer_waits_until_the_next_due_time_is_another(shard: RetryingShard) -> None:
    parked = shard.release_letter(wait_ms=5_000)
    assert shard.turn([parked]) == []
    (reply,) = (one for one in shard.turn([shard.nack_letter(1)]) if one.header is not None)
    due_ms = shard.due_told(reply)
    assert due_ms == shard.clock.now().wall_ms + LEVEL_MS
    shard.settle()
    parked = shard.release_letter(known_due_ms=due_ms, wait_ms=5_000)
    assert shard.turn([parked]) == []
    later = NackMessage(offset=2, delay_ms=2 * LEVEL_MS)
    assert [one.code for one in shard.turn([shard.nack_letter(later)])] == []
    sooner = NackMessage(offset=3, delay_ms=100)
    (reply,) = shard.turn([shard.nack_letter(sooner)])
    assert shard.due_told(reply) == shard.clock.now().wall_ms + 100


def test_it_is_given_at_the_end_of_the_wait_too(shard: RetryingShard) -> None:
    assert shard.turn([shard.release_letter(wait_ms=5_000)]) == []
    assert shard.core.wake_at_ms == shard.clock.now().mono_ms + 5_000
    assert shard.pass_time(4_999) == []
    (reply,) = shard.pass_time(1)
    assert shard.due_told(reply) == 0


def test_a_later_one_replaces_it_and_a_stop_answers_it(shard: RetryingShard) -> None:
    assert shard.turn([shard.release_letter(wait_ms=5_000, request_id=11)]) == []
    (reply,) = shard.turn([shard.release_letter(wait_ms=5_000, request_id=12)])
    assert reply.request_id == 11
    out = shard.core.stop(shard.clock.now())
    assert len(out) == 1
    assert shard.core.drained()


def test_the_answer_comes_after_what_was_due(shard: RetryingShard) -> None:
    shard.nack(1, NackMessage(offset=2, delay_ms=LEVEL_MS + 7))
    shard.clock.advance(LEVEL_MS)
    assert shard.release() == 7
    assert bodies(shard) == [b"1"]


# ------------------------------------------------------------------ the watermark


def test_the_watermark_never_goes_back_and_survives(shard: RetryingShard) -> None:
    shard.nack(NackMessage(offset=1, delay_ms=100))
    shard.release(in_ms=1_000)
    watermark_ms = shard.clock.now().wall_ms + 1_000
    assert shard.state.schedule.watermark_ms == watermark_ms
    shard.release(in_ms=-500)
    shard.restart(power_cut=True)
    assert shard.state.schedule.watermark_ms == watermark_ms
    shard.nack(NackMessage(offset=2, delay_ms=900))  # due below it, so at once
    shard.settle()
    assert bodies(shard) == [b"1", b"2"]


def test_a_watermark_under_which_nothing_is_due_writes_nothing(shard: RetryingShard) -> None:
    shard.nack(1)
    shard.settle()
    end = shard.journal.end
    for step in range(5):
        shard.release(in_ms=step * 1_000)
    assert shard.journal.end == end
    shard.nack(NackMessage(offset=2, delay_ms=3_999))  # below the last one
    shard.settle()
    assert bodies(shard) == [b"2"]


def test_entries_come_in_the_order_in_which_they_were_due(shard: RetryingShard) -> None:
    for offset, delay_ms in enumerate((300, 100, 200)):
        shard.nack(NackMessage(offset=offset, delay_ms=delay_ms))
    shard.clock.advance(1_000)
    shard.release()
    assert bodies(shard) == [b"1", b"2", b"0"]


# ------------------------------------------------------------------ pieces


def test_a_turn_releases_a_piece_and_the_next_one_goes_on(
    shard: RetryingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TURN_ENTRIES", 3)
    shard.nack(*range(10))
    now = shard.clock.advance(LEVEL_MS)
    counts = []
    letters = [shard.release_letter(wait_ms=1_000)]
    while True:
        shard.core.handle(letters, now)
        letters = []
        counts.append(shard.state.queues.at(RETRIES).next)
        if shard.core.wake_at_ms != 0.0:
            break
    assert counts == [3, 6, 9, 10]
    shard.settle()
    assert bodies(shard) == [b"%d" % at for at in range(10)]
    assert stats(shard, "schedule_released") == 10


@pytest.mark.parametrize("bound", ["TURN_COPIED_BYTES", "TURN_SOURCE_BYTES"])
def test_bytes_bound_a_turn_too(
    shard: RetryingShard, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(sources, bound, 1)
    for at in range(4):
        shard.nack(shard.fill(QUEUE, b"x" * 10 + b"%d" % at).base_offset)
    now = shard.clock.advance(LEVEL_MS)
    shard.core.handle([shard.release_letter()], now)
    assert shard.state.queues.at(RETRIES).next == 1
    shard.settle()
    assert len(bodies(shard)) == 4


def test_large_parcels_are_cut(shard: RetryingShard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_copies, "PARCEL_BYTES", 500)
    first = shard.fill(QUEUE, *[b"x" * 100] * 10).base_offset
    shard.nack(*range(first, first + 10))
    shard.clock.advance(LEVEL_MS)
    shard.release()
    spans = shard.journal.spans(RETRIES, 0, 1 << 30, shard.journal.durable)
    assert len(spans) > 3
    assert len(bodies(shard)) == 10


def test_copies_keep_the_born_time_of_their_message(shard: RetryingShard) -> None:
    for at in range(2):
        shard.nack(shard.fill(QUEUE, b"a%d" % at, b"b", producer_id=at + 5).base_offset)
    shard.clock.advance(LEVEL_MS)
    shard.release()
    assert bodies(shard) == [b"a0", b"a1"]


def test_who_waits_for_a_retry_is_woken(shard: RetryingShard) -> None:
    shard.nack(1)
    shard.turn([shard.fetch_letter((RETRIES, 0), wait_ms=20_000)])
    shard.clock.advance(LEVEL_MS)
    replies = [*shard.turn([shard.release_letter()]), *shard.settle()]
    (frame,) = (one.payload[0] for one in replies if one.payload)
    assert frame.endswith(b"1")


# ------------------------------------------------------------------ refusals and losses


@pytest.mark.parametrize("refusal", [Refusal.BUSY, Refusal.DISK_FULL, Refusal.READ_ONLY])
def test_what_is_refused_stays_due_and_is_tried_again(
    shard: RetryingShard, monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    shard.nack(1, 2)
    shard.clock.advance(LEVEL_MS)
    monkeypatch.setattr(shard.journal, "refusal_to_finish", lambda size: refusal)
    assert shard.turn([shard.release_letter(known_due_ms=1, wait_ms=20_000)]) == []
    assert len(shard.state.schedule) == 2
    wake_at_ms = shard.core.wake_at_ms
    assert wake_at_ms is not None
    assert wake_at_ms > shard.clock.now().mono_ms
    monkeypatch.undo()
    replies = shard.pass_time(10_000) + shard.settle()
    assert [shard.due_told(one) for one in replies] == [0]
    assert bodies(shard) == [b"1", b"2"]


def test_a_message_that_the_disk_lost_ends_loudly_and_alone(
    shard: RetryingShard, caplog: pytest.LogCaptureFixture
) -> None:
    offset = shard.fill(QUEUE, b"rotten").base_offset
    shard.nack(1, offset)
    (span,) = shard.journal.spans(QUEUE, offset, 1, shard.journal.durable)
    shard.disk.rot(f"/data/shard/{0:020d}.log", span.lsn + 130, b"\xee\xee")
    shard.clock.advance(LEVEL_MS)
    assert shard.release() == 0
    assert bodies(shard) == [b"1"]
    assert len(shard.state.schedule) == 0
    assert stats(shard, "schedule_lost") == 1
    assert "scheduled messages are lost" in caplog.text


def test_a_decision_that_the_disk_lost_ends_loudly(shard: RetryingShard) -> None:
    lsn = shard.journal.end
    shard.nack(NackMessage(offset=1, delay_ms=3_600_000))
    shard.nack(2)
    shard.disk.rot(f"/data/shard/{0:020d}.log", lsn + 70, b"\xee\xee")
    shard.clock.advance(3_600_000)
    assert shard.release() == 0
    assert bodies(shard) == [b"2"]
    assert stats(shard, "schedule_lost") == 1


def test_entries_go_with_the_queue_that_they_are_for(shard: RetryingShard) -> None:
    shard.nack(1, NackMessage(offset=2, delay_ms=3_600_000))
    shard.define(live=[1, 3])
    assert len(shard.state.schedule) == 0
    shard.clock.advance(LEVEL_MS)
    assert shard.release() == 0
    assert stats(shard, "schedule_lost") == 0


def test_a_deleted_topics_messages_still_come_again(shard: RetryingShard) -> None:
    shard.nack(1)
    shard.define(live=[2, 3])
    shard.clock.advance(LEVEL_MS)
    shard.release()
    (seen,) = shard.seen(RETRIES)
    assert (seen.body, seen.properties["%TOPIC"]) == (b"1", "orders")


def test_a_bug_in_one_copy_does_not_stop_the_others(
    shard: RetryingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(stored: Any, scheduled: Any, entry: Any, *rest: Any) -> Any:
        if entry.offset == 1:
            raise RuntimeError("a bug")
        return copy_of(stored, scheduled, entry, *rest)

    monkeypatch.setattr(release_copies, "copy_of", failing)
    shard.nack(1, 2)
    shard.clock.advance(LEVEL_MS)
    shard.release()
    assert bodies(shard) == [b"2"]
    assert stats(shard, "internal_errors") == 1
    monkeypatch.undo()
    shard.restart()
    shard.settle()
    assert bodies(shard) == [b"2", b"1"]


# ------------------------------------------------------------------ other kinds


def test_what_is_to_be_delivered_late_needs_no_group(shard: RetryingShard) -> None:
    (span,) = shard.journal.spans(QUEUE, 4, 1, shard.journal.durable)
    now = shard.clock.now()
    entry = ScheduledEntry(4, span.lsn, now.wall_ms + 500, 1)
    one = Scheduled(2, 2, DELIVER, False, 0, "orders", 0, [entry])
    shard.journal.append_state(encode_state(one), now, queue=QUEUE)
    shard.settle()
    assert shard.cursor(QUEUE).ranges == []
    shard.clock.advance(500)
    shard.release()
    (seen,) = shard.seen(2)
    assert (seen.body, seen.properties) == (b"4", {})


# ------------------------------------------------------------------ a full disk


def test_a_disk_that_is_full_of_what_is_scheduled_gets_free_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Producers are refused; copies are what frees the disk, so they are still taken."""
    no_room = NoRoom(Code.DISK_FULL, "", 1_000)
    monkeypatch.setattr(carry, "no_room_to_finish", lambda journal, size: no_room)
    small = 64 * KIB
    shard = RetryingShard(
        segment_bytes=small, reserve_bytes=KIB, slice_every_ms=0, housekeeping_every_ms=10,
        free_bytes_min=4 * small, free_bytes_retain=6 * small,
    )  # fmt: skip
    shard.prepare()
    shard.disk.capacity_bytes = 24 * small
    shard.fill(QUEUE, b"kept")
    shard.nack(NackMessage(offset=0, delay_ms=3_600_000))
    sequence = 0
    while True:
        frame = batch([b"x" * 10 * KIB], producer_id=5, sequence=(sequence := sequence + 1))
        if shard.produce(2, frame).code == Code.DISK_FULL:
            break
        shard.pass_time(20)
    assert shard.journal.oldest == 0
    shard.pass_time(3_600_000)
    shard.release()
    assert bodies(shard) == [b"kept"]
    for _ in range(100):
        shard.pass_time(20)
    assert shard.journal.oldest > 0
    assert shard.produce(2, frame).code == Code.OK


# ------------------------------------------------------------------ figures


def test_the_figures_tell_what_is_scheduled(shard: RetryingShard) -> None:
    shard.nack(1, NackMessage(offset=2, delay_ms=86_400_000))
    shard.settle()
    figures = shard.core.stats()
    assert (figures["schedule_entries"], figures["schedule_periods"]) == (2, 2)
    assert figures["schedule_near"] == 1
    assert figures["schedule_next_due_ms"] == WALL_MS + shard.clock.now().mono_ms + LEVEL_MS
    assert figures["schedule_watermark_ms"] == 0


def test_a_release_from_outside_the_rules_is_refused(shard: RetryingShard) -> None:
    assert shard.ask(Verb.RELEASE, b"\xc0").code == Code.BAD_REQUEST


def test_many_entries_from_a_snapshot_come_once_each() -> None:
    shard = RetryingShard(slice_every_ms=0)
    shard.prepare()
    shard.define(topic("%RETRY%other", 9, (RETRIES + 64,)))
    for _ in range(20):
        first = shard.fill(QUEUE, *[b"y"] * 100).base_offset
        shard.nack(*range(first, first + 100))
    assert shard.produce(2, batch([b"z"])).code == Code.OK
    shard.clock.advance(LEVEL_MS)
    shard.release()
    assert len(bodies(shard)) == 2_000
    assert len({one.message_id for one in shard.seen(RETRIES)}) == 2_000
