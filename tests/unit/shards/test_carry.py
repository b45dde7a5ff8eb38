"""Carry: what is scheduled outlives the log in which it was stored, as it was, exactly once."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import NackMessage
from shardmq.shards import carry as module
from shardmq.shards import release
from shardmq.shards.append import NoRoom
from shardmq.shards.state.queues import CARRIED_QUEUE
from shardmq.shards.state.records import Carried, decode_state
from shardmq.shards.state.schedule import NEVER
from support.carrying import HOUR_MS, KIB, OTHER, YEAR_MS, CarryingShard
from support.retrying import DEAD, QUEUE, RETRIES
from support.shards import batch, topic


@pytest.fixture
def shard() -> CarryingShard:
    return CarryingShard()


# ------------------------------------------------------------------ it goes, and comes


def test_a_message_due_in_a_year_outlives_a_log_of_less(shard: CarryingShard) -> None:
    lsn = shard.schedule_one()
    shard.write_past(lsn + 1)
    assert shard.journal.stats().segments < 6
    assert shard.figure("schedule_carried") >= 1
    assert shard.figure("schedule_keeps_bytes") <= 256 * KIB
    shard.restart(power_cut=True)
    shard.write()
    assert shard.release() == pytest.approx(YEAR_MS, rel=0.01)
    assert shard.bodies() == []
    shard.clock.advance(YEAR_MS)
    assert shard.release() == 0
    assert shard.bodies() == [b"kept"]
    assert shard.figure("schedule_lost") == 0
    shard.restart(power_cut=True)
    assert shard.release() == 0
    assert shard.bodies() == [b"kept"]


def life(shard: CarryingShard) -> None:
    """Messages with all that they may have, failing again and again."""
    shard.fill(
        QUEUE, b"a" * 400, b"b", b"c", tags=["t", None, "u"], keys=[["k", "l"], [], ["m"]],
        ordering_keys=["o", None, None],
        properties=[{"zone": "eu", "%ATTEMPT": "9"}, {}, {"%HISTORY": "forged"}],
    )  # fmt: skip
    shard.fill(RETRIES, b"forged", properties=[{"%TOPIC": "forged", "%OFFSET": "77", "own": "1"}])
    failed = NackMessage(offset=0, delay_ms=24 * HOUR_MS, cause="ValueError: bad", detail="line 1")
    shard.nack(failed, NackMessage(offset=2, delay_ms=24 * HOUR_MS))
    shard.nack(NackMessage(offset=0, delay_ms=24 * HOUR_MS), queue=RETRIES)
    shard.write(80)
    shard.clock.advance(24 * HOUR_MS)
    shard.release()
    for offset in (1, 2, 3):
        again = NackMessage(offset=offset, delay_ms=24 * HOUR_MS, cause="again", detail="more")
        shard.nack(again, queue=RETRIES)
    shard.write(160)
    shard.clock.advance(24 * HOUR_MS)
    shard.release()
    for offset in (4, 5, 6):
        dead = NackMessage(offset=offset, dead=True, cause="never", detail="at last")
        shard.nack(dead, queue=RETRIES)
    shard.write(1)


def test_what_was_carried_says_what_it_would_have_said() -> None:
    """Also twice carried, as a copy of a copy, with properties that a producer has forged."""
    plain, carried = CarryingShard(retention_bytes=None), CarryingShard()
    for shard in (plain, carried):
        life(shard)
    assert plain.figure("schedule_carried") == 0
    assert carried.figure("schedule_carried") >= 12
    assert carried.journal.oldest > 512 * KIB
    assert carried.full(DEAD) == plain.full(DEAD)
    assert len(plain.full(DEAD)) == 3
    seen = carried.full(RETRIES)
    assert seen == plain.full(RETRIES)[-len(seen) :]


def test_it_is_carried_as_often_as_it_must(shard: CarryingShard) -> None:
    lsns = [shard.schedule_one()]
    while len(lsns) < 4:
        shard.write_past(lsns[-1] + 1)
        lsns.append(shard.state.schedule.source_lsn())
    assert lsns == sorted(set(lsns))
    shard.clock.advance(YEAR_MS)
    shard.release()
    (seen,) = shard.seen(RETRIES)
    assert (seen.body, seen.properties["%ATTEMPT"], seen.properties["%OFFSET"]) == (
        b"kept", "2", "0",
    )  # fmt: skip


def test_age_and_bytes_alike_let_the_log_go() -> None:
    shard = CarryingShard(retention_bytes=None, retention_ms=60_000)
    lsn = shard.schedule_one()
    shard.write_past(lsn + 1)
    assert shard.journal.earliest(QUEUE) is None
    assert shard.state.queues.at(QUEUE).earliest == 1


def test_a_consumers_own_queues_go_as_retention_wishes(shard: CarryingShard) -> None:
    shard.schedule_one()
    shard.schedule_one(b"later")
    shard.write(60)
    reply = shard.fetch((OTHER, 0))
    assert reply.header.queues[0].code == Code.OFFSET_OUT_OF_RANGE
    assert shard.state.queues.at(OTHER).earliest > 0
    assert shard.state.queues.at(QUEUE).earliest == 2


def test_what_was_carried_is_in_no_queue_that_can_be_asked_for(shard: CarryingShard) -> None:
    shard.write_past(shard.schedule_one() + 1)
    assert shard.state.queues.at(CARRIED_QUEUE).next > 0
    assert shard.fetch((CARRIED_QUEUE, 0)).header.queues[0].code == Code.STALE_ROUTE
    assert shard.produce(CARRIED_QUEUE, batch([b"x"])).code == Code.STALE_ROUTE


def test_what_nobody_needs_any_more_goes_like_anything_else(shard: CarryingShard) -> None:
    shard.write_past(shard.schedule_one() + 1)
    shard.clock.advance(YEAR_MS)
    shard.release()
    carried = shard.figure("schedule_carried")
    shard.write_past(shard.journal.end)
    assert shard.journal.earliest(CARRIED_QUEUE) is None
    assert shard.figure("schedule_carried") == carried
    assert shard.figure("schedule_keeps_bytes") == 0


# ------------------------------------------------------------------ many, and pieces


def test_many_messages_come_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = CarryingShard(retention_bytes=1024 * KIB)
    monkeypatch.setattr(module, "TURN_ENTRIES", 7)
    for at in range(20):
        first = shard.fill(QUEUE, *[b"%d" % (50 * at + one) for one in range(50)]).base_offset
        delays = [(one % 7 + 1) * 24 * HOUR_MS for one in range(50)]
        shard.nack(
            *[NackMessage(offset=first + one, delay_ms=delays[one]) for one in range(0, 50, 2)]
        )
        shard.nack(
            *[NackMessage(offset=first + one, delay_ms=delays[one]) for one in range(1, 50, 2)]
        )
    shard.write_past(shard.journal.end)
    assert len(shard.state.schedule) == 1_000
    shard.restart(power_cut=True)
    digests = shard.digests()
    shard.restart(power_cut=True)
    assert shard.digests() == digests
    shard.clock.advance(8 * 24 * HOUR_MS)
    shard.release()
    assert sorted(map(int, shard.bodies())) == list(range(1_000))


def test_a_turn_carries_a_piece(shard: CarryingShard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_ENTRIES", 3)
    first = shard.fill(QUEUE, *[b"%d" % at for at in range(10)]).base_offset
    messages = [NackMessage(offset=first + at, delay_ms=YEAR_MS) for at in range(10)]
    shard.nack(*messages)
    shard.write_past(shard.journal.end)
    counts = [len(one.ended) for one in carried_records(shard)]
    assert counts[:4] == [3, 3, 3, 1]


def carried_records(shard: CarryingShard) -> list[Carried]:
    states = [decode_state(one.payload) for one in shard.records() if one.kind == 2]
    return [one for one in states if isinstance(one, Carried)]


def test_a_turn_takes_them_from_as_many_periods_as_it_must(
    shard: CarryingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And looks at so many places only: most may have ended."""
    monkeypatch.setattr(module, "TURN_PLACES", 25)
    offset = shard.fill(QUEUE, *[b"%d" % at for at in range(30)]).base_offset
    delays = [(at + 1) * 24 * HOUR_MS for at in range(30)]
    shard.nack(*[NackMessage(offset=offset + at, delay_ms=delays[at]) for at in range(30)])
    shard.write_past(shard.journal.end)
    counts = [len(one.ended) for one in carried_records(shard)]
    assert counts[:2] == [25, 5]


def test_what_was_decided_a_moment_ago_waits_for_the_disk() -> None:
    """Its record cannot be read back before it is there, nor may what it stood for go before what
    has taken its place is safe."""
    shard = CarryingShard(retention_bytes=None)
    offset = shard.fill(QUEUE, b"old").base_offset
    shard.write(10)
    end = shard.bases()[1]
    shard.turn([shard.nack_letter(NackMessage(offset=offset, delay_ms=YEAR_MS))])
    assert not shard.journal.drop_guard(0, end)
    for _ in range(3):
        shard.clock.advance(30)
        shard.turn()
    assert (shard.figure("schedule_carried"), shard.figure("schedule_lost")) == (0, 0)
    shard.sync()
    shard.clock.advance(30)
    shard.turn()
    assert shard.figure("schedule_carried") == 1
    assert not shard.journal.drop_guard(0, end)
    shard.sync()
    assert shard.journal.drop_guard(0, end)


def test_a_late_decision_about_an_old_message_asks_anew() -> None:
    """It came, and was carried out, between a yes that waited for the disk and the next question:
    the disk may have the decision and not yet the copy."""
    shard = CarryingShard(retention_bytes=None)
    offset = shard.fill(QUEUE, b"old").base_offset
    shard.write(10)
    end = shard.bases()[1]
    shard.turn([shard.produce_letter((OTHER, batch([b"unsynced"], producer_id=8)))])
    assert not shard.journal.drop_guard(0, end)
    shard.turn([shard.nack_letter(NackMessage(offset=offset, dead=True))])
    shard.sync()
    shard.turn()
    assert len(shard.state.schedule) == 0
    assert not shard.journal.drop_guard(0, end)
    shard.sync()
    assert shard.journal.drop_guard(0, end)
    assert shard.bodies(DEAD) == [b"old"]


# ------------------------------------------------------------------ what ends meanwhile


def test_what_goes_with_its_queue_is_carried_no_more(shard: CarryingShard) -> None:
    lsn = shard.schedule_one()
    shard.define(live=[1, 3])
    shard.write_past(lsn + 1)
    assert shard.figure("schedule_carried") == 0
    assert len(shard.state.schedule) == 0


def test_what_was_carried_goes_with_its_queue(shard: CarryingShard) -> None:
    shard.write_past(shard.schedule_one() + 1)
    shard.define(live=[1, 3])
    assert (len(shard.state.schedule), shard.state.schedule.source_lsn()) == (0, NEVER)
    shard.clock.advance(YEAR_MS)
    assert shard.release() == 0
    assert shard.figure("schedule_lost") == 0


def test_a_deleted_topics_message_is_carried_and_comes(shard: CarryingShard) -> None:
    lsn = shard.schedule_one()
    shard.define(live=[2, 3])
    shard.define(topic("others", 9, (OTHER + 1,)))
    shard.write_past(lsn + 1, OTHER + 1)
    shard.clock.advance(YEAR_MS)
    shard.release()
    (seen,) = shard.seen(RETRIES)
    assert (seen.body, seen.properties["%TOPIC"]) == (b"kept", "orders")


def test_a_dead_letter_that_waits_for_room_is_carried(
    shard: CarryingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    offset = shard.fill(QUEUE, b"dead").base_offset
    with monkeypatch.context() as without:
        no_room = NoRoom(Code.DISK_FULL, "", 1_000)
        without.setattr(release, "no_room_to_finish", lambda journal, size: no_room)
        shard.nack(NackMessage(offset=offset, dead=True, cause="c", detail="d"))
        shard.write_past(shard.lsn_of(offset) + 1)
        assert shard.bodies(DEAD) == []
    shard.pass_time(1_000)
    shard.settle()
    (seen,) = shard.seen(DEAD)
    assert (seen.body, seen.properties["%CAUSE"], seen.properties["%ATTEMPT"]) == (
        b"dead", "c", "1",
    )  # fmt: skip


def test_a_message_that_the_disk_lost_ends_loudly_and_lets_the_log_go(
    shard: CarryingShard, caplog: pytest.LogCaptureFixture
) -> None:
    lsn = shard.schedule_one(b"rotten")
    shard.schedule_one()
    path, position = shard.path_at(lsn)
    shard.disk.rot(path, position + 130, b"\xee\xee")
    shard.write_past(lsn + 1)
    assert shard.figure("schedule_lost") == 1
    assert "scheduled messages are lost" in caplog.text
    shard.clock.advance(YEAR_MS)
    shard.release()
    assert shard.bodies() == [b"kept"]


def test_so_does_a_decision_that_the_disk_lost(shard: CarryingShard) -> None:
    first = shard.schedule_one()
    record = next(one for one in shard.records() if one.lsn > first and one.kind == 2)
    shard.schedule_one(b"other")
    path, position = shard.path_at(record.lsn)
    shard.disk.rot(path, position + 70, b"\xee\xee")
    shard.write_past(first + 1)
    assert shard.figure("schedule_lost") == 1
    shard.clock.advance(YEAR_MS)
    shard.release()
    assert shard.bodies() == [b"other"]
