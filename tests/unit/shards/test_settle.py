"""SETTLE: what the receipt holds is settled, what it holds no more is named, item by item."""

from __future__ import annotations

import pytest

from shardmq.actors.kernel.ports import Refusal
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.limits import DELAY_MS_MAX, INVISIBLE_MS_MAX, RECEIVE_MESSAGES_MAX
from shardmq.actors.protocol.retries import RETRY_LEVELS_MS
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.work_messages import Settle
from shardmq.shards import acks, settle
from support.grouped import GROUP
from support.retrying import DEAD, QUEUE
from support.work_shard import INVISIBLE_MS, OTHER, WorkingShard, got


@pytest.fixture
def shard() -> WorkingShard:
    under_test = WorkingShard()
    under_test.prepare()
    under_test.fill(QUEUE, *[b"%d" % at for at in range(10)])
    under_test.turn()
    return under_test


def test_what_is_acked_is_done_and_the_answer_waits_for_the_disk(shard: WorkingShard) -> None:
    shard.receive(6)
    assert shard.turn([shard.settle_letter(shard.item(0, 3))]) == []
    (reply,) = shard.sync()
    assert [one.code for one in reply.header.results] == [Code.OK]
    cursor = shard.cursor(QUEUE)
    assert (cursor.floor, cursor.ranges, cursor.lag, cursor.in_flight) == (3, [], 7, 3)
    assert shard.codes(shard.item(5), shard.item(3)) == [Code.OK, Code.OK]
    assert (shard.cursor(QUEUE).floor, shard.cursor(QUEUE).ranges) == (4, [(5, 6)])
    assert shard.rows() == [(4, 5, 1, 1, True)]
    shard.clock.advance(INVISIBLE_MS)
    assert shard.cursor(QUEUE).in_flight == 0
    assert shard.offsets() == [4, 6, 7, 8, 9]


def test_what_is_done_is_settled_alike_whoever_did_it(shard: WorkingShard) -> None:
    shard.receive(4)
    item = shard.item(0, 4)
    assert shard.codes(item, item, shard.item(1, 2, receipt=99)) == [Code.OK] * 3
    assert shard.codes(item, shard.item(2, 4, act="nack")) == [Code.OK] * 2
    assert shard.cursor(QUEUE).floor == 4


def test_an_item_meets_what_those_before_it_did(shard: WorkingShard) -> None:
    shard.receive(4)
    results = shard.settled(
        shard.item(0), shard.item(0, act="nack", dead=True),
        shard.item(1, act="nack", delay_ms=0), shard.item(1),
    )  # fmt: skip
    assert [one.code for one in results] == [Code.OK, Code.OK, Code.OK, Code.RECEIPT_EXPIRED]
    assert results[1].dead == []
    shard.settle()
    assert shard.seen(DEAD) == []


def test_who_comes_too_late_hears_which_ones_and_the_others_are_settled(
    shard: WorkingShard,
) -> None:
    shard.receive(3, invisible_ms=500)
    shard.receive(3, invisible_ms=2_000)
    shard.clock.advance(500)
    (result,) = shard.settled(shard.item(1, 8))
    assert (result.code, result.expired) == (Code.RECEIPT_EXPIRED, [(1, 3), (6, 8)])
    cursor = shard.cursor(QUEUE)
    assert (cursor.floor, cursor.ranges) == (0, [(3, 6)])
    shard.receive(3)
    assert shard.codes(shard.item(0, receipt=1)) == [Code.RECEIPT_EXPIRED]
    assert shard.codes(shard.item(0)) == [Code.OK]
    stats = shard.core.stats()
    assert (stats["settled"], stats["expired"]) == (4, 5)


def test_what_failed_stays_in_its_place_and_comes_again_after_the_delay(
    shard: WorkingShard,
) -> None:
    shard.receive(4)
    nacks = shard.item(1, act="nack", delay_ms=250), shard.item(2, act="nack")
    assert shard.codes(*nacks) == [Code.OK] * 2
    assert shard.codes(nacks[0]) == [Code.OK]  # again
    assert shard.codes(shard.item(1)) == [Code.RECEIPT_EXPIRED]  # it gave it back
    assert shard.rows() == [
        (0, 1, 1, 1, True), (1, 2, 1, 1, False), (2, 3, 1, 1, False), (3, 4, 1, 1, True),
    ]  # fmt: skip
    assert shard.cursor(QUEUE).in_flight == 4
    shard.clock.advance(250)
    (again, *fresh) = shard.receive(3)
    assert (again.offset, again.attempt) == (1, 2)
    assert [one.offset for one in fresh] == [4, 5]
    shard.clock.advance(RETRY_LEVELS_MS[0] - 251)
    assert 2 not in [one.offset for one in shard.receive()]
    shard.clock.advance(1)
    assert (2, 2) in [(one.offset, one.attempt) for one in shard.receive()]


def test_a_nack_without_delay_wakes_who_waits(shard: WorkingShard) -> None:
    shard.receive(10)
    shard.turn([shard.receive_letter(1, wait_ms=5_000, receipt=50)])
    (reply,) = shard.turn([shard.settle_letter(shard.item(7, act="nack", delay_ms=0))])
    assert [(one.offset, one.attempt) for one in got(reply)] == [(7, 2)]


def test_a_nack_with_delay_wakes_who_waits_when_it_is_over(shard: WorkingShard) -> None:
    shard.receive(10)
    shard.turn([shard.receive_letter(1, wait_ms=5_000, receipt=50)])
    assert shard.codes(shard.item(7, act="nack", delay_ms=100)) == [Code.OK]
    assert shard.pass_time(99) == []
    (reply,) = shard.pass_time(1)
    assert [(one.offset, one.attempt) for one in got(reply)] == [(7, 2)]


def test_dead_letters_by_word_and_by_attempts(shard: WorkingShard) -> None:
    shard.receive(4)
    (one, other) = shard.settled(
        shard.item(0, act="nack", dead=True, cause="bad", detail="line 1"),
        shard.item(1, 3, act="nack", delay_ms=0), max_attempts=2,
    )  # fmt: skip
    assert (one.code, one.dead, other.dead) == (Code.OK, [0], [])
    shard.receive(2)
    (result,) = shard.settled(shard.item(1, 3, act="nack", cause="again"), max_attempts=2)
    assert (result.code, result.dead) == (Code.OK, [1, 2])
    shard.settle()
    dead = shard.seen(DEAD)
    assert [seen.body for seen in dead] == [b"0", b"1", b"2"]
    assert [seen.properties["%CAUSE"] for seen in dead] == ["bad", "again", "again"]
    assert [seen.properties["%ATTEMPT"] for seen in dead] == ["1", "2", "2"]
    assert shard.cursor(QUEUE).floor == 3


def test_a_longer_and_a_shorter_time(shard: WorkingShard) -> None:
    shard.receive(3)
    longer = shard.item(0, 2, act="invisible", delay_ms=5_000)
    shorter = shard.item(2, act="invisible", delay_ms=10)
    assert shard.codes(longer, shorter) == [Code.OK] * 2
    shard.clock.advance(10)
    assert shard.offsets(1) == [2]
    shard.clock.advance(INVISIBLE_MS)
    assert shard.codes(shard.item(0, receipt=1), shard.item(2, receipt=1)) == [
        Code.OK, Code.RECEIPT_EXPIRED,
    ]  # fmt: skip
    assert shard.offsets(1) == [2]
    shard.clock.advance(4_000)
    assert (1, 2) in [(one.offset, one.attempt) for one in shard.receive()]


def test_what_is_not_granted_is_fenced_and_nonsense_refused(shard: WorkingShard) -> None:
    shard.receive(3)
    results = shard.settled(
        shard.item(0, generation=2),
        shard.item(0, queue=99),
        shard.item(3, 3),
        shard.item(3, 11),
        shard.item(0, act="nack", delay_ms=DELAY_MS_MAX + 1),
        shard.item(0, act="invisible"),
        shard.item(0, act="invisible", delay_ms=INVISIBLE_MS_MAX + 1),
        shard.item(0),
    )
    assert [one.code for one in results] == [
        Code.FENCED, Code.STALE_ROUTE, *[Code.INVALID_ARGUMENT] * 5, Code.OK,
    ]  # fmt: skip
    assert "generation 2 is not in force, 1 is" in results[0].message
    for empty in (Settle(group_id=GROUP, items=[]),
                  Settle(group_id=GROUP, items=[shard.item(0)], max_attempts=0)):  # fmt: skip
        assert shard.ask(Verb.SETTLE, empty).code == Code.BAD_REQUEST
    shard.fill(QUEUE, *[b"x"] * RECEIVE_MESSAGES_MAX)
    wide = shard.item(0, RECEIVE_MESSAGES_MAX + 1)
    assert shard.codes(wide) == [Code.INVALID_ARGUMENT]


def test_a_new_grant_ends_the_receipts_of_the_old_one(shard: WorkingShard) -> None:
    shard.receive(3)
    shard.grant(QUEUE, 2, member="*")
    assert shard.codes(shard.item(0)) == [Code.FENCED]
    assert shard.codes(shard.item(0, generation=2)) == [Code.OK]  # they were kept
    assert shard.receive_reply(1).parts[0].generation == 2


def test_bounds_of_ranges_and_rows(shard: WorkingShard, monkeypatch: pytest.MonkeyPatch) -> None:
    shard.receive(10)
    monkeypatch.setattr(acks, "ACK_RANGES_MAX", 2)
    monkeypatch.setattr(settle, "ACK_RANGES_MAX", 2)
    items = [shard.item(at) for at in (1, 3, 5, 2, 0)]
    assert shard.codes(*items) == [Code.OK, Code.OK, Code.BUSY, Code.OK, Code.OK]
    assert shard.cursor(QUEUE).floor == 4
    monkeypatch.setattr(settle, "HANDOUTS_MAX", 0)
    monkeypatch.setattr(settle, "RECEIVE_MESSAGES_MAX", 2)
    assert shard.codes(shard.item(6, act="nack")) == [Code.BUSY]


def test_a_read_only_log_takes_nothing_and_a_full_disk_no_dead_letters(
    shard: WorkingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard.receive(3)
    monkeypatch.setattr(shard.journal, "refusal", lambda size: Refusal.DISK_FULL)
    dead = shard.item(1, act="nack", dead=True)
    assert shard.codes(shard.item(0), dead) == [Code.OK, Code.DISK_FULL]
    monkeypatch.setattr(shard.journal, "refusal", lambda size: Refusal.READ_ONLY)
    assert shard._answer(shard.settle_letter(dead)).code == Code.READ_ONLY


def test_what_was_settled_survives_a_kill_and_a_power_cut(shard: WorkingShard) -> None:
    shard.receive(6)
    shard.codes(shard.item(0), shard.item(2, act="nack", delay_ms=50), shard.item(4, act="nack"))
    for power_cut in (False, True):
        before, digests = shard.rows(), shard.digests()
        shard.restart(power_cut=power_cut)
        assert (shard.rows(), shard.digests()) == (before, digests)
    assert shard.cursor(QUEUE).floor == 1
    shard.clock.advance(50)
    assert shard.receive(1)[0][1:] == (2, b"2", 2)


def test_acks_of_many_queues_are_one_record_for_each_bucket(shard: WorkingShard) -> None:
    shard.fill(OTHER, *[b"x"] * 5)
    shard.turn()
    shard.receive(15)
    end = shard.journal.end
    items = [shard.item(at, queue=queue) for at in range(5) for queue in (QUEUE, OTHER)]
    shard.turn([shard.settle_letter(*items)])
    assert shard.journal.end - end < 200  # two small records
    assert shard.cursor(QUEUE).floor == shard.cursor(OTHER).floor == 5


def test_what_is_returned_is_visible_at_once_and_was_not_tried(shard: WorkingShard) -> None:
    shard.receive(4)
    item = shard.item(1, 3, act="return")
    assert shard.codes(item, item) == [Code.OK] * 2
    assert shard.rows() == [(0, 1, 1, 1, True), (1, 3, 0, 1, False), (3, 4, 1, 1, True)]
    assert shard.codes(shard.item(1)) == [Code.RECEIPT_EXPIRED]
    shard.restart()
    assert [(one.offset, one.attempt) for one in shard.receive(2, receipt=99)] == [
        (1, 1),
        (2, 1),
    ]
    assert shard.codes(item) == [Code.RECEIPT_EXPIRED], "it is in other hands"
    assert shard.codes(shard.item(1, 3, receipt=99)) == [Code.OK]


def test_what_is_returned_wakes_who_waits_and_never_dies_of_it(shard: WorkingShard) -> None:
    for _ in range(3):
        shard.receive(1, max_attempts=1)
        shard.codes(shard.item(0, act="return"))
    (one,) = shard.receive(1, max_attempts=1)
    assert (one.offset, one.attempt) == (0, 1)
