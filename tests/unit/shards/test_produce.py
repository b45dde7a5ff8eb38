"""PRODUCE: receipts, duplicates, refusals, ack modes; each on a real journal."""

from __future__ import annotations

import sys

import pytest

from shardmq.actors.protocol.batch import Columns, encode_batch
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.compress import Compression
from shardmq.actors.protocol.messages import (
    AckMode,
    Produce,
    ProduceQueue,
    ProduceReply,
    QueueRoute,
)
from shardmq.actors.protocol.verbs import Verb
from support.shards import ShardUnderTest, batch, topic


def lz4_batch(bodies: list[bytes]) -> bytes:
    return encode_batch(
        Columns(bodies), producer_id=1, first_sequence=0, first_born_ms=1, last_born_ms=1,
        compression=Compression.LZ4,
    )  # fmt: skip


WEAKER: list[AckMode] = ["written", "none"]


@pytest.fixture
def shard() -> ShardUnderTest:
    under_test = ShardUnderTest()
    under_test.define(topic(numbers=(1, 2)))
    return under_test


def test_offsets_of_a_queue_follow_each_other(shard: ShardUnderTest) -> None:
    assert shard.produce(1, batch([b"a", b"b"], sequence=0)).base_offset == 0
    assert shard.produce(1, batch([b"c"], sequence=2)).base_offset == 2
    assert shard.produce(2, batch([b"d"], sequence=3)).base_offset == 0


def test_one_request_carries_many_queues_and_is_answered_in_their_order(
    shard: ShardUnderTest,
) -> None:
    letter = shard.produce_letter((2, batch()), (9, batch()), (1, batch([b"a", b"b"])))
    (reply,) = shard.turn([letter]) + shard.sync()
    results = reply.header.queues
    assert [one.queue for one in results] == [2, 9, 1]
    assert [one.code for one in results] == [Code.OK, Code.STALE_ROUTE, Code.OK]


@pytest.mark.parametrize("number_of_frames", [0, 2])
def test_frames_that_do_not_match_the_queues_store_nothing(
    shard: ShardUnderTest, number_of_frames: int
) -> None:
    header = Produce(queues=[ProduceQueue(queue=1)])
    reply = shard.ask(Verb.PRODUCE, header, [batch()] * number_of_frames)
    assert reply.code == Code.BAD_REQUEST
    assert "one payload frame for each" in reply.header.message
    assert shard.produce(1, batch()).base_offset == 0


def test_a_request_without_queues_is_malformed(shard: ShardUnderTest) -> None:
    assert shard.ask(Verb.PRODUCE, Produce()).code == Code.BAD_REQUEST


# ------------------------------------------------------------------------ sound batches


def test_what_is_no_batch_is_a_bad_request(shard: ShardUnderTest) -> None:
    sound = batch()
    assert shard.produce(1, b"").code == Code.BAD_REQUEST
    assert shard.produce(1, b"x" * 64).code == Code.BAD_REQUEST
    assert shard.produce(1, sound + b"more").code == Code.BAD_REQUEST
    assert shard.produce(1, sound[:-1]).code == Code.BAD_REQUEST


def test_a_damaged_body_is_told_apart_so_that_it_is_sent_again(shard: ShardUnderTest) -> None:
    sound = batch([b"body"])
    damaged = sound[:-1] + bytes([sound[-1] ^ 1])
    assert shard.produce(1, damaged).code == Code.CORRUPT_BATCH
    assert shard.produce(1, sound).code == Code.OK


def test_copies_are_the_brokers_own_and_no_client_may_write_them(shard: ShardUnderTest) -> None:
    result = shard.produce(1, batch([b"x"], message_ids=["f" * 32]))
    assert result.code == Code.BAD_REQUEST


def test_a_batch_whose_codec_is_not_installed_here_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened, packed = batch([b"x" * 900]), lz4_batch([b"x" * 900])
    monkeypatch.setitem(sys.modules, "lz4", None)
    monkeypatch.setitem(sys.modules, "lz4.block", None)
    poor = ShardUnderTest()
    poor.define(topic(numbers=(1,)))
    refused = poor.produce(1, packed)
    assert (refused.code, "shardmq[lz4]" in refused.message) == (Code.NOT_SUPPORTED, True)
    assert poor.produce(1, opened).base_offset == 0


def test_a_batch_whose_codec_is_installed_is_taken(shard: ShardUnderTest) -> None:
    assert shard.produce(1, lz4_batch([b"x" * 900])).code == Code.OK


# ------------------------------------------------------------------------ sequences


def test_the_same_batch_again_gets_its_first_receipt(shard: ShardUnderTest) -> None:
    frame = batch([b"a", b"b"], producer_id=5, sequence=10)
    first = shard.produce(1, frame)
    shard.clock.advance(1_000)
    again = shard.produce(1, frame)
    assert again.duplicate
    assert (again.base_offset, again.stored_at_ms) == (first.base_offset, first.stored_at_ms)
    assert shard.fetch((1, 0)).header.queues[0].next_offset == 2


def test_sequences_rise_and_may_leave_gaps(shard: ShardUnderTest) -> None:
    assert shard.produce(1, batch(producer_id=5, sequence=10)).code == Code.OK
    assert shard.produce(1, batch(producer_id=5, sequence=500)).code == Code.OK


def test_a_sequence_below_the_last_is_stale_and_not_stored(shard: ShardUnderTest) -> None:
    shard.produce(1, batch([b"a"], producer_id=5, sequence=10))
    shard.produce(1, batch([b"b", b"c"], producer_id=5, sequence=11))
    assert shard.produce(1, batch([b"a"], producer_id=5, sequence=10)).code == Code.STALE_SEQUENCE
    # Overlapping the last batch without being it.
    overlap = batch([b"c", b"d"], producer_id=5, sequence=12)
    assert shard.produce(1, overlap).code == Code.STALE_SEQUENCE
    # In the place of the last batch, with other bytes.
    other = batch([b"B", b"C"], producer_id=5, sequence=11)
    assert shard.produce(1, other).code == Code.STALE_SEQUENCE
    assert shard.fetch((1, 0)).header.queues[0].latest == 3


def test_each_queue_and_each_producer_counts_alone(shard: ShardUnderTest) -> None:
    frame = batch(producer_id=5, sequence=10)
    shard.produce(1, frame)
    assert not shard.produce(2, frame).duplicate
    assert shard.produce(1, batch(producer_id=6, sequence=0)).code == Code.OK


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_restart_keeps_the_table_so_a_retry_across_it_is_stored_once(
    shard: ShardUnderTest, power_cut: bool
) -> None:
    frame = batch(producer_id=5, sequence=10)
    first = shard.produce(1, frame)
    shard.restart(power_cut=power_cut)
    again = shard.produce(1, frame)
    assert again.duplicate
    assert again.base_offset == first.base_offset


def test_a_batch_that_a_power_cut_took_is_stored_by_its_retry(shard: ShardUnderTest) -> None:
    frame = batch(producer_id=5, sequence=10)
    assert shard.turn([shard.produce_letter((1, frame))]) == []
    shard.restart(power_cut=True)
    assert not shard.produce(1, frame).duplicate


def test_a_duplicate_waits_until_the_first_is_durable(shard: ShardUnderTest) -> None:
    frame = batch(producer_id=5, sequence=10)
    assert shard.turn([shard.produce_letter((1, frame))]) == []
    assert shard.turn([shard.produce_letter((1, frame))]) == []
    first, again = shard.sync()
    assert not first.header.queues[0].duplicate
    assert again.header.queues[0].duplicate
    # Once it is durable, nothing is left to wait for.
    (third,) = shard.turn([shard.produce_letter((1, frame))])
    assert third.header.queues[0].duplicate


def test_a_retry_is_recognised_although_its_queue_was_closed_meanwhile(
    shard: ShardUnderTest,
) -> None:
    frame = batch(producer_id=5, sequence=10)
    shard.produce(1, frame)
    closed = topic(numbers=(1, 2), version=2)
    closed.queues[0] = QueueRoute(queue_id=0, number=1, shard=0, writable=False)
    shard.define(closed)
    assert shard.produce(1, frame, version=1).duplicate


# ------------------------------------------------------------------------ routes


def test_a_route_older_than_the_slots_is_stale(shard: ShardUnderTest) -> None:
    shard.define(topic(numbers=(1, 2), version=5))
    assert shard.produce(1, batch(), version=4).code == Code.STALE_ROUTE
    assert shard.produce(1, batch(), version=5).code == Code.OK
    assert shard.produce(1, batch(sequence=1), version=0).code == Code.OK


def test_a_queue_closed_for_writing_takes_nothing_and_is_still_read(
    shard: ShardUnderTest,
) -> None:
    shard.fill(1, b"before")
    closed = topic(numbers=(1, 2), version=2)
    closed.queues[0] = QueueRoute(queue_id=0, number=1, shard=0, writable=False)
    shard.define(closed)
    assert shard.produce(1, batch()).code == Code.STALE_ROUTE
    assert shard.fetch((1, 0)).header.queues[0].next_offset == 1


# ------------------------------------------------------------------------ ack modes


def test_synced_waits_for_the_disk(shard: ShardUnderTest) -> None:
    assert shard.turn([shard.produce_letter((1, batch()))]) == []
    assert not shard.core.drained()
    (reply,) = shard.sync()
    assert reply.header.ack == "synced"
    assert shard.core.drained()


@pytest.mark.parametrize("ack", WEAKER)
def test_the_weaker_modes_are_answered_at_once_but_show_nothing_before_the_sync(
    shard: ShardUnderTest, ack: AckMode
) -> None:
    (reply,) = shard.turn([shard.produce_letter((1, batch()), ack=ack)])
    assert reply.header == ProduceReply(ack=ack, queues=reply.header.queues)
    (unseen,) = shard.turn([shard.fetch_letter((1, 0))])
    assert unseen.header.queues == []
    shard.sync()
    assert shard.fetch((1, 0)).header.queues[0].next_offset == 1


def test_one_sync_answers_everybody_who_waits(shard: ShardUnderTest) -> None:
    letters = [
        shard.produce_letter((1, batch(producer_id=one)), session=one) for one in range(1, 51)
    ]
    assert shard.turn(letters) == []
    shard.io.recording = True
    replies = shard.sync()
    assert [reply.session for reply in replies] == list(range(1, 51))
    assert [call.name for call in shard.io.calls].count("fdatasync") == 1


def test_a_request_whose_batches_are_all_refused_waits_for_nothing(shard: ShardUnderTest) -> None:
    (reply,) = shard.turn([shard.produce_letter((9, batch()))])
    assert reply.header.queues[0].code == Code.STALE_ROUTE
