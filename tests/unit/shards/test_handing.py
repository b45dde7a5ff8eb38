"""Handing out: which messages, in which order, what is passed over, what holds a queue up."""

from __future__ import annotations

import pytest

from shardmq.actors.kernel.ports import Refusal
from shardmq.actors.protocol.batch import check_batch
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_JSON
from shardmq.actors.protocol.group_messages import Ack, AckQueue
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.work_messages import EVERYBODY
from shardmq.shards import handing, receive
from support.grouped import GROUP
from support.retrying import DEAD, QUEUE
from support.work_shard import INVISIBLE_MS, OTHER, WorkingShard, got, ids


@pytest.fixture
def shard() -> WorkingShard:
    under_test = WorkingShard()
    under_test.prepare()
    return under_test


def fill(shard: WorkingShard, count: int, *, queue: int = QUEUE, **columns: object) -> None:
    shard.fill(queue, *[b"%d" % at for at in range(count)], **columns)
    shard.turn()


def test_messages_keep_their_ids_wherever_they_are_cut(shard: WorkingShard) -> None:
    for count in (3, 1, 4):
        fill(shard, count)
    (whole,) = shard.turn([shard.receive_letter(8)])
    assert [part.offset for part in whole.header.parts] == [0, 3, 4]
    shard.clock.advance(INVISIBLE_MS)
    found = []
    for _ in range(4):
        (reply,) = shard.turn([shard.receive_letter(2)])
        found += ids(reply)
    assert found == ids(whole)
    assert len(set(found)) == 8


def test_all_of_a_stored_batch_leaves_as_it_is_stored(shard: WorkingShard) -> None:
    fill(shard, 3)
    (span,) = shard.journal.spans(QUEUE, 0, 1, shard.journal.durable)
    (record,) = shard.journal.read([span])
    (reply,) = shard.turn([shard.receive_letter(9)])
    assert reply.payload == [record[64:]]


# ------------------------------------------------------------------ filters


def tagged(shard: WorkingShard, expression: str = "a") -> None:
    shard.grant(QUEUE, 2, member=EVERYBODY, expression=expression)


def test_what_the_group_does_not_select_is_done_with_on_the_way(shard: WorkingShard) -> None:
    tagged(shard)
    fill(shard, 6, tags=["b", "a", "a", None, "a", "b"])
    fill(shard, 2, tags=["b", "b"])
    fill(shard, 2)
    fill(shard, 1, tags=["a"])
    assert shard.offsets(3) == [1, 2, 4]
    assert shard.rows() == [(1, 3, 1, 1, True), (4, 5, 1, 1, True)]
    assert shard.cursor(QUEUE).floor == 1
    assert shard.offsets(3) == [10]
    assert shard.receive() == []
    shard.codes(*[shard.item(at, receipt=1, generation=2) for at in (1, 2, 4)])
    assert (shard.cursor(QUEUE).floor, shard.cursor(QUEUE).lag) == (10, 1)
    shard.clock.advance(INVISIBLE_MS)
    assert [(one.offset, one.attempt) for one in shard.receive()] == [(10, 2)]


def test_a_search_goes_on_in_the_next_turn(
    shard: WorkingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handing, "LOOK_COST_MAX", 10)
    monkeypatch.setattr(receive, "LOOK_COST_MAX", 10)
    tagged(shard)
    for _ in range(6):
        fill(shard, 2, tags=["b", "b"])
    fill(shard, 1, tags=["a"])
    now = shard.clock.now()
    assert shard.core.handle([shard.receive_letter(wait_ms=500)], now) == []
    assert shard.core.wake_at_ms == 0
    assert 0 < shard.cursor(QUEUE).floor < 12
    turns = 0
    replies: list[object] = []
    while not replies and turns < 20:
        replies = list(shard.core.handle([], now))
        turns += 1
    assert turns > 3
    assert shard.rows() == [(12, 13, 1, 1, True)]


def test_an_expression_that_changes_leaves_out_what_it_does_not_select(
    shard: WorkingShard,
) -> None:
    fill(shard, 3, tags=["a", "b", "a"])
    shard.receive(3)
    tagged(shard)
    shard.clock.advance(INVISIBLE_MS)
    assert shard.offsets() == [0, 2]
    assert shard.cursor(QUEUE).ranges == [(1, 2)]


# ------------------------------------------------------------------ fifo


def test_fifo_gives_nothing_while_anything_is_out_and_goes_on_in_order(
    shard: WorkingShard,
) -> None:
    fill(shard, 8)
    assert shard.offsets(3, fifo=True) == [0, 1, 2]
    assert shard.receive(fifo=True) == []
    shard.codes(shard.item(0, receipt=1), shard.item(2, receipt=1))
    assert shard.receive(fifo=True) == []
    shard.clock.advance(INVISIBLE_MS)
    again = shard.receive(3, fifo=True)
    assert [(one.offset, one.attempt) for one in again] == [(1, 2), (3, 1), (4, 1)]
    shard.codes(shard.item(1), shard.item(3, 5))
    assert shard.offsets(3, fifo=True) == [5, 6, 7]


def test_fifo_gives_some_of_what_is_visible_again_before_what_is_new(shard: WorkingShard) -> None:
    fill(shard, 6)
    shard.receive(4, fifo=True)
    shard.clock.advance(INVISIBLE_MS)
    assert shard.offsets(2, fifo=True) == [0, 1]
    assert shard.receive(fifo=True) == []
    shard.codes(shard.item(0, 2, receipt=2))
    assert [(one.offset, one.attempt) for one in shard.receive(3, fifo=True)] == [
        (2, 2), (3, 2), (4, 1),
    ]  # fmt: skip


def test_fifo_gives_what_came_back_last_before_what_lies_behind_it(shard: WorkingShard) -> None:
    fill(shard, 4)
    shard.receive(4, fifo=True)
    shard.clock.advance(INVISIBLE_MS)
    assert shard.offsets(2, fifo=True) == [0, 1]  # 2 and 3 are known to be visible, too
    shard.codes(shard.item(0, act="nack", delay_ms=0), shard.item(1))
    assert [(one.offset, one.attempt) for one in shard.receive(fifo=True)] == [
        (0, 3), (2, 2), (3, 2),
    ]  # fmt: skip


def test_fifo_wakes_who_waits_when_the_last_one_is_settled(shard: WorkingShard) -> None:
    fill(shard, 4)
    shard.receive(2, fifo=True)
    shard.turn([shard.receive_letter(2, fifo=True, wait_ms=9_000, receipt=50)])
    assert shard.turn([shard.settle_letter(shard.item(0))]) == []
    (reply,) = shard.turn([shard.settle_letter(shard.item(1, act="nack", dead=True))])
    assert [one.offset for one in got(reply)] == [2, 3]


def test_fifo_waits_for_what_failed(shard: WorkingShard) -> None:
    fill(shard, 4)
    shard.receive(2, fifo=True)
    shard.codes(shard.item(0, act="nack", delay_ms=5_000), shard.item(1))
    shard.turn([shard.receive_letter(2, fifo=True, wait_ms=9_000, receipt=50)])
    assert shard.pass_time(INVISIBLE_MS) == []
    (reply,) = shard.pass_time(4_000)
    assert [(one.offset, one.attempt) for one in got(reply)] == [(0, 2), (2, 1)]


# ------------------------------------------------------------------ what cannot be given


def damage(shard: WorkingShard, offset: int) -> None:
    """Let a byte of the batch at `offset` rot."""
    (span,) = shard.journal.spans(QUEUE, offset, 1, shard.journal.durable)
    file = shard.io.open(f"/data/shard/{0:020d}.log")
    shard.io.writev(file, [b"~"], span.lsn + span.length - 1)


def test_damaged_batches_are_passed_over_and_it_is_said(shard: WorkingShard) -> None:
    for _ in range(3):
        fill(shard, 2)
    damage(shard, 2)
    shard.sync()
    (reply,) = shard.turn([shard.receive_letter()])
    assert [one.offset for one in got(reply)] == [0, 1, 4, 5]
    (fault,) = reply.header.faults
    assert (fault.queue, fault.code, fault.offset, fault.next_offset) == (
        QUEUE, Code.DAMAGED, 2, 4,
    )  # fmt: skip
    assert shard.cursor(QUEUE).ranges == [(2, 4)]
    assert shard.core.stats()["work_stretches_passed"] == 1


def test_who_only_looks_leaves_damage_to_who_comes_for_it(shard: WorkingShard) -> None:
    fill(shard, 2)
    damage(shard, 0)
    assert len(shard.turn([shard.receive_letter(0)])) == 1
    (reply,) = shard.turn([shard.receive_letter()])
    assert [fault.offset for fault in reply.header.faults] == [0]
    assert shard.cursor(QUEUE).floor == 2


def test_what_retention_took_is_done_with(shard: WorkingShard) -> None:
    fill(shard, 4)
    fill(shard, 2)
    shard.receive(5)
    shard.core._serving.by_number[QUEUE].offsets.earliest = 4
    shard.clock.advance(INVISIBLE_MS)
    assert [(one.offset, one.attempt) for one in shard.receive()] == [(4, 2), (5, 1)]
    assert shard.rows() == [(4, 5, 2, 2, True), (5, 6, 1, 2, True)]


def test_queues_that_are_gone_or_forgotten_give_nothing(shard: WorkingShard) -> None:
    fill(shard, 2)
    fill(shard, 2, queue=OTHER)
    shard.core._serving.by_number[QUEUE].readable = False
    assert {one.queue for one in shard.receive()} == {OTHER}
    shard.define(live=[3])
    assert shard.core.stats()["work_queues"] == 0
    assert shard.receive() == []
    assert shard.state.cursors.rows == 0


# ------------------------------------------------------------------ bounds


def test_too_many_rows_or_ranges_give_nothing_new(
    shard: WorkingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(shard, 9)
    monkeypatch.setattr(handing, "HANDOUTS_MAX", 2)
    assert [shard.offsets(1), shard.offsets(1), shard.offsets(1)] == [[0], [1], []]
    shard.turn([shard.receive_letter(1, wait_ms=9_000, receipt=50)])
    (reply,) = shard.turn([shard.settle_letter(shard.item(0, receipt=1))])
    assert [one.offset for one in got(reply)] == [2]
    monkeypatch.undo()
    monkeypatch.setattr(handing, "ACK_RANGES_MAX", 1)
    shard.codes(shard.item(2, receipt=50))
    assert shard.receive(1) == []
    shard.clock.advance(INVISIBLE_MS)
    assert [(one.offset, one.attempt) for one in shard.receive(1)] == [(1, 2)]
    shard.codes(shard.item(1))
    assert shard.offsets(1) == [3]


def test_a_row_too_many_to_be_cut_waits_for_who_takes_all_of_it(
    shard: WorkingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(shard, 4)
    assert [shard.offsets(1), shard.offsets(2)] == [[0], [1, 2]]
    monkeypatch.setattr(handing, "HANDOUTS_MAX", 1)
    shard.clock.advance(INVISIBLE_MS)
    assert [shard.offsets(1), shard.offsets(1)] == [[0], []]
    shard.clock.advance(handing.RETRY_MS)
    assert shard.offsets(2) == [1, 2]


def test_the_rows_of_all_queues_are_bounded(
    shard: WorkingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(shard, 3)
    fill(shard, 3, queue=OTHER)
    acked = AckQueue(queue=QUEUE, generation=1, floor=1)  # of which no work queue hears
    monkeypatch.setattr(handing, "ROWS_MAX", 2)
    assert len(shard.receive(1) + shard.receive(1) + shard.receive(1)) == 2
    shard.turn([shard.receive_letter(1, wait_ms=9_000)])
    assert shard.turn([shard.letter(Verb.ACK, Ack(group_id=GROUP, queues=[acked]))]) == []
    assert shard.state.cursors.rows == 1
    shard.sync()
    (reply,) = shard.pass_time(handing.RETRY_MS)
    assert len(got(reply)) == 1


def test_ranges_that_others_made_do_not_end_a_queue(
    shard: WorkingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(shard, 6)
    shard.ack(QUEUE, 0, [(1, 2), (3, 4)])
    monkeypatch.setattr(handing, "ACK_RANGES_MAX", 1)
    assert shard.offsets(1) == [0]
    shard.codes(shard.item(0))
    assert shard.offsets(1) == [2]


# ------------------------------------------------------------------ dead letters


def test_what_no_dead_letter_can_be_made_of_comes_later(
    shard: WorkingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(shard, 3)
    shard.receive(1, max_attempts=1)
    shard.clock.advance(INVISIBLE_MS)
    monkeypatch.setattr(shard.journal, "refusal", lambda size: Refusal.DISK_FULL)
    assert shard.offsets(1, max_attempts=1) == [1]
    assert shard.receive(1, max_attempts=1, fifo=True) == []
    monkeypatch.undo()
    shard.turn([shard.receive_letter(1, max_attempts=1, wait_ms=9_000)])
    shard.pass_time(handing.RETRY_MS)
    shard.settle()
    assert b"0" in [one.body for one in shard.seen(DEAD)]


def test_without_a_place_for_dead_letters_it_comes_once_more(shard: WorkingShard) -> None:
    fill(shard, 1)
    shard.define(live=[1])
    for attempt in (1, 2, 3):
        assert [one.attempt for one in shard.receive(max_attempts=1)] == [attempt]
        shard.clock.advance(INVISIBLE_MS)


def test_what_failed_with_fewer_attempts_left_is_dead(shard: WorkingShard) -> None:
    fill(shard, 1)
    shard.receive()
    shard.codes(shard.item(0, act="nack", delay_ms=0))
    assert shard.receive(max_attempts=1) == []
    shard.sync()
    shard.settle()
    assert shard.seen(DEAD)[0].properties["%CAUSE"].startswith("failed")


# ------------------------------------------------------------------ JSON


def test_json_clients_get_plain_messages(shard: WorkingShard) -> None:
    fill(shard, 3, tags=["x", None, "y"])
    (reply,) = shard.turn([shard.receive_letter(2, flags=FLAG_JSON)])
    (part,) = reply.header.parts
    assert reply.payload == []
    assert [(one.body, one.tag, one.offset, one.queue_id) for one in part.messages] == [
        ("0", "x", 0, 0), ("1", None, 1, 0),
    ]  # fmt: skip
    assert (part.count, part.attempt) == (2, 1)


def test_a_credit_in_bytes_is_kept(shard: WorkingShard) -> None:
    shard.fill(QUEUE, *[b"x" * 1_000] * 10)
    shard.turn()
    (reply,) = shard.turn([shard.receive_letter(9, bytes_max=3_500)])
    assert sum(map(len, reply.payload)) <= 3_500
    assert [check_batch(one).count for one in reply.payload] == [3]
    assert shard.state.cursors.get(GROUP, QUEUE) is not None
    assert shard.rows() == [(0, 3, 1, 1, True)]
