"""The shard as a whole: dispatch, faults, stop, and that live state equals replayed state."""

from __future__ import annotations

import random

import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_JSON, FLAG_REPLY
from shardmq.actors.protocol.limits import HEADER_BYTES_MAX
from shardmq.actors.protocol.messages import FetchReply, Offsets, OffsetsQueue
from shardmq.actors.protocol.verbs import Verb
from support.disk import disk_error
from support.shards import ShardUnderTest, batch, topic


@pytest.fixture
def shard() -> ShardUnderTest:
    under_test = ShardUnderTest()
    under_test.define(topic())
    return under_test


@pytest.mark.parametrize("verb", [Verb.ROUTE, Verb.TOPIC_CREATE, 999])
def test_verbs_of_others_are_unknown_here(shard: ShardUnderTest, verb: int) -> None:
    assert shard.ask(verb, b"\x80").code == Code.UNKNOWN_VERB


@pytest.mark.parametrize(
    "verb",
    [
        Verb.PRODUCE,
        Verb.FETCH,
        Verb.OFFSETS,
        Verb.DEFINE,
        Verb.GRANT,
        Verb.ACK,
        Verb.CURSORS,
        Verb.NACK,
        Verb.RELEASE,
    ],
)
@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\x82\xa6queues\x01\xa6topics\x01",
        b"\x91" * 100_000,
        b"\xdd\xff\xff\xff\xff",
        b"\x82\xa6topics\xc0\xa6queues\x91\x82\xa5queue\xcf" + b"\xff" * 8 + b"\xa6offset\x00",
        b"\x00" * (HEADER_BYTES_MAX + 1),
    ],
)
@pytest.mark.parametrize("flags", [0, FLAG_JSON])
def test_a_malformed_header_is_answered_whatever_it_is(
    shard: ShardUnderTest, verb: Verb, header: bytes, flags: int
) -> None:
    assert shard.ask(verb, header, flags=flags).code == Code.BAD_REQUEST


def test_a_reply_that_comes_as_a_request_is_dropped(shard: ShardUnderTest) -> None:
    assert shard.turn([shard.letter(Verb.FETCH, b"\x80", flags=FLAG_REPLY)]) == []


def test_a_fault_ends_one_request_and_the_log_has_no_payload(
    shard: ShardUnderTest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(shard.journal, "offset_at_time", fails)
    asked = Offsets(queues=[OffsetsQueue(queue=1, time_ms=5)])
    letters = [shard.letter(Verb.OFFSETS, asked), shard.fetch_letter((1, 0))]
    failed, served = shard.turn(letters)
    assert failed.code == Code.INTERNAL
    assert "bug" not in failed.header.message
    assert served.code == Code.OK
    assert shard.core.stats()["internal_errors"] == 1
    assert "offset_at_time" not in failed.header.message
    assert "KeyError" in caplog.text


def test_a_failed_disk_ends_the_process(shard: ShardUnderTest) -> None:
    def fail(call: object) -> None:
        raise disk_error(5)

    shard.io.before = fail
    with pytest.raises(OSError, match="writing the log"):
        shard.turn([shard.produce_letter((1, batch()))])


def test_a_broken_invariant_ends_the_process(
    shard: ShardUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise AssertionError("broken")

    monkeypatch.setattr(shard.journal, "append_batch", breaks)
    with pytest.raises(AssertionError, match="broken"):
        shard.turn([shard.produce_letter((1, batch()))])


def test_stop_answers_everybody_who_waits(shard: ShardUnderTest) -> None:
    shard.turn([shard.fetch_letter((1, 0), wait_ms=50_000, session=8)])
    shard.turn([shard.produce_letter((1, batch()), session=9)])
    effects = shard.core.stop(shard.clock.now())
    assert len(effects) == 1
    assert not shard.core.drained()
    (produced,) = shard.sync()
    assert (produced.session, produced.code) == (9, Code.OK)
    assert shard.core.drained()


def test_what_comes_while_stopping_is_refused(shard: ShardUnderTest) -> None:
    shard.core.stop(shard.clock.now())
    assert shard.ask(Verb.PRODUCE, b"\x80").code == Code.SHUTTING_DOWN
    letter = shard.fetch_letter((1, 0), wait_ms=50_000)
    (refused,) = shard.turn([letter])
    assert refused.code == Code.SHUTTING_DOWN


def test_figures_tell_what_is_there(shard: ShardUnderTest) -> None:
    shard.produce(1, batch())
    shard.produce(1, batch())
    shard.turn([shard.fetch_letter((2, 0), wait_ms=50_000)])
    figures = shard.core.stats()
    expected = {"queues": 2, "topics": 1, "producers": 1, "polls_parked": 1, "duplicates": 1}
    assert {name: figures[name] for name in expected} == expected


def test_a_poll_of_ten_thousand_idle_queues_is_answered_by_one_message() -> None:
    shard = ShardUnderTest(segment_bytes=16 << 20)
    shard.define(topic(numbers=range(1, 10_001)))
    every = [(queue, 0) for queue in range(1, 4_001)]
    shard.turn([shard.fetch_letter(*every, wait_ms=10_000, session=8)])
    shard.turn([shard.produce_letter((4_000, batch()), ack="none")])
    (reply,) = shard.sync()
    assert [one.queue for one in reply.header.queues] == [4_000]
    assert reply.header != FetchReply()


@pytest.mark.parametrize("seed", range(12))
def test_replayed_state_equals_live_state(seed: int) -> None:
    """Random work with small segments, so that snapshots are cut while records come; then a kill
    or a power cut at a random moment. What was durable must come back, digest for digest."""
    chance = random.Random(seed)
    shard = ShardUnderTest(
        producers_max=40,
        segment_bytes=24 * 1024,
        reserve_bytes=1024,
        slice_bytes=200,
        slice_buckets=8,
        retention_bytes=96 * 1024,
    )
    version = 1
    numbers = list(range(1, 9))
    shard.define(topic(numbers=numbers, retention_ms=600_000))
    sequences: dict[int, int] = {}
    for _ in range(4):
        for _ in range(chance.randrange(20, 150)):
            kind = chance.random()
            if kind < 0.75:
                letters = []
                for _ in range(chance.randrange(1, 6)):
                    producer_id = chance.randrange(60)
                    sequence = sequences.get(producer_id, 0) + chance.choice([-1, 0, 0, 0, 5])
                    bodies = [b"x" * chance.randrange(1, 300)] * chance.randrange(1, 4)
                    sequences[producer_id] = max(sequence, 0) + len(bodies)
                    frame = batch(bodies, producer_id=producer_id, sequence=max(sequence, 0))
                    letters.append(shard.produce_letter((chance.choice(numbers), frame)))
                shard.turn(letters)
            elif kind < 0.8:
                version += 1
                numbers = sorted({*numbers, chance.randrange(1, 200)} - {chance.randrange(1, 200)})
                shard.define(topic(numbers=numbers, version=version, retention_ms=600_000))
            elif kind < 0.82:
                shard.define(topic("brief", 2, (300, 301)))
                shard.produce(300, batch(producer_id=7))
                shard.define(live=[1])
            else:
                shard.pass_time(chance.choice([3, 10, 100, 11_000, 400_000]))
        power_cut = chance.random() < 0.5
        if not power_cut:
            digests = shard.digests()
        else:
            shard.pass_time(chance.choice([0, 60]))
            digests = shard.digests()
        shard.restart(power_cut=power_cut)
        assert shard.digests() == digests
        shown = {queue: shard.state.queues.at(queue).visible for queue in numbers}
        assert shown == {queue: shard.state.queues.at(queue).next for queue in numbers}
