"""FETCH: what is seen, and when a poll that found nothing is answered."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.limits import WAIT_MS_MAX
from shardmq.actors.protocol.messages import Define, Fetch, FetchQueue, FetchReply, QueueRoute
from shardmq.actors.protocol.verbs import Verb
from shardmq.shards import fetch as fetching
from support.shards import ShardUnderTest, batch, batches_in, topic


@pytest.fixture
def shard() -> ShardUnderTest:
    under_test = ShardUnderTest()
    under_test.define(topic(numbers=(1, 2, 3)))
    return under_test


def test_a_consumer_gets_the_very_bytes_of_the_producer(shard: ShardUnderTest) -> None:
    frame = batch([b"a", b"b"])
    shard.produce(1, frame)
    reply = shard.fetch((1, 0))
    assert [batches_in(one) for one in reply.payload] == [[frame]]


def test_messages_are_seen_once_they_are_durable_and_not_before(shard: ShardUnderTest) -> None:
    shard.fill(1, b"durable")
    shard.turn([shard.produce_letter((1, batch()), ack="written")])
    (reply,) = shard.turn([shard.fetch_letter((1, 0))])
    result = reply.header.queues[0]
    assert (result.next_offset, result.latest) == (1, 1)


def test_what_a_power_cut_took_was_never_seen(shard: ShardUnderTest) -> None:
    shard.fill(1, b"durable")
    shard.turn([shard.produce_letter((1, batch()), ack="written")])
    shard.restart(power_cut=True)
    assert shard.fetch((1, 0)).header.queues[0].latest == 1


def test_an_empty_queue_answers_nothing_at_once_if_the_poll_does_not_wait(
    shard: ShardUnderTest,
) -> None:
    assert shard.fetch((1, 0)).header == FetchReply()


def test_a_poll_waits_for_news_and_is_woken_by_the_sync(shard: ShardUnderTest) -> None:
    poll = shard.fetch_letter((1, 0), (2, 0), wait_ms=10_000, session=8)
    assert shard.turn([poll]) == []
    assert shard.turn([shard.produce_letter((2, batch()))]) == []
    produced, fetched = shard.sync()
    assert produced.session == 1
    assert fetched.session == 8
    assert [one.queue for one in fetched.header.queues] == [2]
    assert shard.core.stats()["polls_parked"] == 0


def test_a_poll_is_answered_once_for_all_queues_that_one_sync_brought(
    shard: ShardUnderTest,
) -> None:
    shard.turn([shard.fetch_letter((1, 0), (2, 0), (3, 0), wait_ms=10_000)])
    shard.turn([shard.produce_letter((3, batch()), (1, batch()), ack="written")])
    (reply,) = shard.sync()
    assert sorted(one.queue for one in reply.header.queues) == [1, 3]
    shard.fill(2, b"later")
    assert shard.pass_time(20_000) == []


def test_a_poll_expires_empty_at_its_deadline(shard: ShardUnderTest) -> None:
    shard.turn([shard.fetch_letter((1, 0), wait_ms=500)])
    assert shard.pass_time(499) == []
    (reply,) = shard.pass_time(1)
    assert (reply.code, reply.header) == (Code.OK, FetchReply())
    assert shard.pass_time(10_000) == []


def test_no_poll_waits_beyond_its_requests_deadline_or_the_limit(shard: ShardUnderTest) -> None:
    shard.turn([shard.fetch_letter((1, 0), wait_ms=20_000, deadline_ms=300)])
    assert len(shard.pass_time(300)) == 1
    shard.turn([shard.fetch_letter((1, 0), wait_ms=1 << 40, deadline_ms=1 << 31)])
    assert shard.pass_time(WAIT_MS_MAX - 1) == []
    assert len(shard.pass_time(1)) == 1


def test_the_core_asks_to_be_woken_for_the_next_deadline(shard: ShardUnderTest) -> None:
    shard.pass_time(0)
    shard.turn([shard.fetch_letter((1, 0), wait_ms=700)])
    assert shard.core.wake_at_ms == 700


def test_a_retry_replaces_the_poll_it_repeats(shard: ShardUnderTest) -> None:
    shard.turn([shard.fetch_letter((1, 0), wait_ms=1_000, session=8, request_id=5)])
    shard.turn([shard.fetch_letter((2, 0), wait_ms=1_000, session=8, request_id=5)])
    assert shard.core.stats()["polls_parked"] == 1
    shard.fill(1, b"for the older one, which is gone")
    assert len(shard.pass_time(2_000)) == 1


def test_the_same_request_id_of_another_session_is_another_poll(shard: ShardUnderTest) -> None:
    shard.turn([shard.fetch_letter((1, 0), wait_ms=1_000, session=8, request_id=5)])
    shard.turn([shard.fetch_letter((1, 0), wait_ms=1_000, session=9, request_id=5)])
    assert shard.core.stats()["polls_parked"] == 2


def test_a_parked_poll_learns_that_its_queue_went_away(shard: ShardUnderTest) -> None:
    shard.turn([shard.fetch_letter((1, 0), (2, 0), wait_ms=10_000, session=8)])
    closed = topic(numbers=(1, 2, 3), version=2)
    closed.queues[1] = QueueRoute(queue_id=1, number=2, shard=0, readable=False, writable=False)
    define = shard.letter(Verb.DEFINE, Define(topics=[closed]))
    replies = shard.turn([define]) + shard.sync()
    (fetched,) = (one for one in replies if one.session == 8)
    assert [(one.queue, one.code) for one in fetched.header.queues] == [(2, Code.STALE_ROUTE)]


def test_a_deleted_topic_sends_its_polls_home(shard: ShardUnderTest) -> None:
    shard.turn([shard.fetch_letter((1, 0), wait_ms=10_000, session=8)])
    replies = shard.turn([shard.letter(Verb.DEFINE, Define(live_topic_ids=[]))]) + shard.sync()
    (fetched,) = (one for one in replies if one.session == 8)
    assert fetched.header.queues[0].code == Code.STALE_ROUTE


@pytest.mark.parametrize("queues", [[], [(1, 0), (1, 5)]])
def test_queues_are_named_and_named_once(
    shard: ShardUnderTest, queues: list[tuple[int, int]]
) -> None:
    header = Fetch(queues=[FetchQueue(queue=queue, offset=offset) for queue, offset in queues])
    assert shard.ask(Verb.FETCH, header).code == Code.BAD_REQUEST


def test_one_message_may_wake_more_polls_than_one_turn_answers(
    shard: ShardUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TURN_BYTES_MAX", 10_000)
    for one in range(30):
        shard.turn([shard.fetch_letter((1, 0), wait_ms=10_000, session=100 + one)])
    shard.turn([shard.produce_letter((1, batch([b"x" * 900])), ack="none")])
    now = shard.clock.now()
    job = shard.journal.begin_job(now)
    assert job is not None
    job.run()
    shard.journal.finish_job(job, now)
    first = shard.core.durable_advanced(now)
    assert 5 < len(first) < 15
    assert shard.core.wake_at_ms == 0.0
    assert not shard.core.drained()
    rest = shard.turn()
    assert len(first) + len(rest) == 30
    assert shard.core.drained()


def test_a_poll_that_meets_a_bug_is_refused_and_ends_nothing(
    shard: ShardUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError(7)

    shard.fill(1, b"x")
    with monkeypatch.context() as patch:
        patch.setattr(shard.journal, "spans", broken)
        reply = shard.ask(Verb.FETCH, Fetch(queues=[FetchQueue(queue=1, offset=0)]))
        assert reply.code == Code.INTERNAL
    assert shard.core.stats()["internal_errors"] == 1
    assert shard.fetch((1, 0)).payload
