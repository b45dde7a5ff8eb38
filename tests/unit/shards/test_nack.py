"""NACK: one record acks and schedules, once, by who has the grant; dead letters are entries too."""

from __future__ import annotations

import json

import pytest

from shardmq.actors.kernel.ports import Refusal
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import Nack, NackMessage, NackQueue
from shardmq.actors.protocol.limits import DELAY_MS_MAX
from shardmq.actors.protocol.retries import HISTORY_CAUSE_CHARS, HISTORY_MAX, RETRY_LEVELS_MS
from shardmq.actors.protocol.verbs import Verb
from shardmq.shards import acks, scheduling
from support.grouped import GROUP
from support.retrying import DEAD, QUEUE, RETRIES, RetryingShard
from support.shards import batch, topic


@pytest.fixture
def shard() -> RetryingShard:
    under_test = RetryingShard()
    under_test.prepare()
    under_test.fill(QUEUE, *[b"%d" % at for at in range(10)])
    return under_test


def test_a_nack_acks_and_schedules_by_the_first_level(shard: RetryingShard) -> None:
    result = shard.nack(3, 4)
    assert (result.code, result.dead) == (Code.OK, [])
    assert shard.cursor(QUEUE).ranges == [(3, 5)]
    assert len(shard.state.schedule) == 2
    assert shard.release() == RETRY_LEVELS_MS[0]
    assert shard.seen(RETRIES) == []
    shard.clock.advance(RETRY_LEVELS_MS[0])
    assert shard.release() == 0
    assert [one.body for one in shard.seen(RETRIES)] == [b"3", b"4"]
    assert [one.properties["%ATTEMPT"] for one in shard.seen(RETRIES)] == ["2", "2"]


def test_each_attempt_waits_for_the_next_level_and_the_last_one_is_dead(
    shard: RetryingShard,
) -> None:
    result = shard.nack(0, max_attempts=4)
    for attempt in (2, 3, 4):
        shard.clock.advance(RETRY_LEVELS_MS[attempt - 2])
        assert shard.release() == 0
        seen = shard.seen(RETRIES)[-1]
        assert (seen.offset, seen.properties["%ATTEMPT"]) == (attempt - 2, str(attempt))
        result = shard.nack(
            NackMessage(offset=seen.offset, cause=f"c{attempt}", detail="line 1"),
            queue=RETRIES, max_attempts=4,
        )  # fmt: skip
    assert result.dead == [2]
    shard.settle()
    (dead,) = shard.seen(DEAD)
    assert dead.body == b"0"
    assert dead.message_id == shard.seen(RETRIES)[0].message_id
    assert [row[0::2] for row in json.loads(dead.properties.pop("%HISTORY"))] == [
        [1, ""], [2, "c2"], [3, "c3"], [4, "c4"],
    ]  # fmt: skip
    assert dead.properties == {
        "%TOPIC": "orders", "%QUEUE": "0", "%OFFSET": "0", "%ATTEMPT": "4",
        "%CAUSE": "c4", "%DETAIL": "line 1",
    }  # fmt: skip
    assert len(shard.state.schedule) == 0


def test_a_delay_of_ones_own_and_death_at_once(shard: RetryingShard) -> None:
    result = shard.nack(NackMessage(offset=1, delay_ms=250), NackMessage(offset=2, dead=True))
    assert result.dead == [2]
    assert shard.release() == 250
    assert [one.body for one in shard.seen(DEAD)] == [b"2"]
    shard.clock.advance(250)
    shard.release()
    assert [one.body for one in shard.seen(RETRIES)] == [b"1"]
    assert shard.core.stats()["messages_retried"] == shard.core.stats()["dead_letters"] == 1


def test_a_member_that_counts_its_own_attempts_is_believed_and_its_failures_are_history(
    shard: RetryingShard,
) -> None:
    message = NackMessage(
        offset=1, dead=True, cause="c3", attempt=3, earlier=[(1, 10, "c" * 999), (2, 20, "c2")]
    )
    assert shard.nack(message).dead == [1]
    shard.settle()
    (dead,) = shard.seen(DEAD)
    assert dead.properties["%ATTEMPT"] == "3"
    *earlier, last = json.loads(dead.properties["%HISTORY"])
    assert earlier == [[1, 10, "c" * HISTORY_CAUSE_CHARS], [2, 20, "c2"]]
    assert (last[0], last[2]) == (3, "c3")


def test_the_attempts_that_a_member_counts_have_an_end_and_a_level(shard: RetryingShard) -> None:
    messages = [NackMessage(offset=at, attempt=at, earlier=[(1, 9, "c")] * 99) for at in (2, 4)]
    assert shard.nack(*messages, max_attempts=4).dead == [4]
    assert shard.release() == RETRY_LEVELS_MS[1]
    (dead,) = shard.seen(DEAD)
    assert len(json.loads(dead.properties["%HISTORY"])) == HISTORY_MAX


def test_a_nack_that_comes_again_schedules_nothing(shard: RetryingShard) -> None:
    nack = shard.nack_letter(5, 5, 6)
    assert shard.turn([nack]) == []  # answered once it is durable
    assert shard.turn([nack]) == []
    assert [one.code for one in shard.sync()] == [Code.OK, Code.OK]
    shard.ack(QUEUE, 3)
    shard.nack(2, 6, 7)
    assert len(shard.state.schedule) == 3
    assert shard.cursor(QUEUE).ranges == [(5, 8)]


def test_what_is_not_granted_is_fenced(shard: RetryingShard) -> None:
    assert shard.nack(1, generation=2).code == Code.FENCED
    assert shard.nack(1, queue=2).code == Code.FENCED
    assert shard.nack(1, queue=99).code == Code.STALE_ROUTE
    shard.grant(QUEUE, 2)
    assert shard.nack(1).code == Code.FENCED
    assert len(shard.state.schedule) == 0
    assert shard.core.stats()["nacks_fenced"] == 3


def test_what_makes_no_sense_is_refused_as_a_whole(shard: RetryingShard) -> None:
    assert shard.nack(1, 10).code == Code.INVALID_ARGUMENT
    late = NackMessage(offset=2, delay_ms=DELAY_MS_MAX + 1)
    assert shard.nack(1, late).code == Code.INVALID_ARGUMENT
    assert len(shard.state.schedule) == 0
    assert shard.ask(Verb.NACK, Nack(group_id=GROUP, queues=[])).code == Code.BAD_REQUEST
    twice = [NackQueue(queue=QUEUE, generation=1, messages=[])] * 2
    assert shard.ask(Verb.NACK, Nack(group_id=GROUP, queues=twice)).code == Code.BAD_REQUEST


def test_without_its_topic_nothing_is_acked() -> None:
    shard = RetryingShard()
    shard.define(topic(numbers=(QUEUE,)))
    shard.grant(QUEUE)
    shard.fill(QUEUE, b"a", b"b")
    for one in (0, NackMessage(offset=1, dead=True)):
        result = shard.nack(one)
        assert result.code == Code.TOPIC_NOT_FOUND
        assert "%billing is not on this shard" in result.message
    assert (shard.cursor(QUEUE).floor, shard.cursor(QUEUE).ranges) == (0, [])


def test_a_full_disk_takes_no_nacks_and_a_read_only_log_neither(
    shard: RetryingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard.journal, "refusal", lambda size: Refusal.DISK_FULL)
    assert shard.nack(1).code == Code.DISK_FULL
    monkeypatch.setattr(shard.journal, "refusal", lambda size: Refusal.READ_ONLY)
    assert shard._answer(shard.nack_letter(1)).code == Code.READ_ONLY
    monkeypatch.undo()
    assert shard.cursor(QUEUE).ranges == []


def test_the_bounds_of_cursor_and_schedule_are_kept(
    shard: RetryingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acks, "ACK_RANGES_MAX", 2)
    assert shard.nack(1, 3, 5).code == Code.BUSY
    assert shard.nack(1, 3).code == Code.OK
    monkeypatch.setattr(scheduling, "SCHEDULE_ENTRIES_MAX", 2)
    assert shard.nack(0).code == Code.BUSY


def test_a_producer_cannot_make_a_message_look_tried(shard: RetryingShard) -> None:
    forged = batch([b"x"], producer_id=5, properties=[{"%ATTEMPT": "15"}])
    for queue in (QUEUE, RETRIES):
        offset = shard.produce(queue, forged).base_offset
        assert shard.nack(offset, queue=queue, max_attempts=2).dead == []


def test_the_decision_survives_a_restart_and_a_power_cut(shard: RetryingShard) -> None:
    shard.nack(3, NackMessage(offset=4, dead=True))
    shard.restart(power_cut=True)
    assert shard.cursor(QUEUE).ranges == [(3, 5)]
    shard.settle()
    assert [one.body for one in shard.seen(DEAD)] == [b"4"]
    shard.clock.advance(RETRY_LEVELS_MS[0])
    shard.release()
    assert [one.body for one in shard.seen(RETRIES)] == [b"3"]
    shard.restart(power_cut=True)
    shard.settle()
    shard.release()
    assert len(shard.seen(DEAD)) == len(shard.seen(RETRIES)) == 1
