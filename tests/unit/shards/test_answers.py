"""Answers: credit, fairness, coalesced reads, and queues that cannot be read."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.codes import Code
from support.shards import Reply, ShardUnderTest, batch, batches_in, topic

KIB = 1024


@pytest.fixture
def shard() -> ShardUnderTest:
    under_test = ShardUnderTest()
    under_test.define(topic(numbers=(1, 2, 3, 4)))
    return under_test


def sizes(reply: Reply) -> dict[int, int]:
    """Payload bytes by queue."""
    with_frames = [one.queue for one in reply.header.queues if one.frames]
    return dict(zip(with_frames, map(len, reply.payload), strict=True))


def test_frames_and_results_go_in_pairs(shard: ShardUnderTest) -> None:
    shard.fill(2, b"two")
    shard.fill(1, b"one")
    reply = shard.fetch((1, 0), (2, 0), (3, 0))
    bodies = [batches_in(frame)[0][-3:] for frame in reply.payload]
    names = {1: b"one", 2: b"two"}
    assert bodies == [names[one.queue] for one in reply.header.queues]


def test_the_batch_that_holds_the_offset_comes_whole(shard: ShardUnderTest) -> None:
    shard.fill(1, b"a", b"b", b"c")
    shard.fill(1, b"d")
    reply = shard.fetch((1, 2))
    assert len(batches_in(reply.payload[0])) == 2
    assert reply.header.queues[0].next_offset == 4


def test_the_credit_bounds_the_payload(shard: ShardUnderTest) -> None:
    for _ in range(20):
        shard.fill(1, b"x" * KIB)
    reply = shard.fetch((1, 0), bytes_max=5 * KIB)
    assert 3 * KIB < len(reply.payload[0]) <= 5 * KIB
    following = shard.fetch((1, reply.header.queues[0].next_offset), bytes_max=5 * KIB)
    assert following.header.queues[0].next_offset > reply.header.queues[0].next_offset


def test_a_single_batch_may_exceed_the_credit_but_comes_alone(shard: ShardUnderTest) -> None:
    for queue in (1, 2, 3):
        shard.fill(queue, b"x" * 10 * KIB)
    assert len(sizes(shard.fetch((1, 0), (2, 0), (3, 0), bytes_max=1))) == 1


def test_queues_share_the_credit(shard: ShardUnderTest) -> None:
    for _ in range(50):
        for queue in (1, 2, 3, 4):
            shard.fill(queue, b"x" * KIB)
    got = sizes(shard.fetch((1, 0), (2, 0), (3, 0), (4, 0), bytes_max=40 * KIB))
    assert len(got) == 4
    assert max(got.values()) < 2 * min(got.values())


def test_what_one_queue_does_not_need_the_others_get(shard: ShardUnderTest) -> None:
    shard.fill(1, b"little")
    for _ in range(50):
        shard.fill(2, b"x" * KIB)
    asked = [shard.fetch((1, 0), (2, 0), bytes_max=20 * KIB) for _ in range(4)]
    assert any(sizes(reply)[2] > 15 * KIB for reply in asked)


def test_every_queue_comes_first_some_time(shard: ShardUnderTest) -> None:
    for queue in (1, 2, 3, 4):
        shard.fill(queue, b"x" * 10 * KIB)
    every = [(queue, 0) for queue in (1, 2, 3, 4)]
    served = [next(iter(sizes(shard.fetch(*every, bytes_max=1)))) for _ in range(40)]
    assert all(served.count(queue) >= 5 for queue in (1, 2, 3, 4)), served
    # Also for one of two consumers that take turns.
    assert all(served[::2].count(queue) >= 2 for queue in (1, 2, 3, 4)), served


def test_batches_that_lie_side_by_side_are_one_read_whatever_their_queues(
    shard: ShardUnderTest,
) -> None:
    letters = [
        shard.produce_letter((1 + one % 4, batch(producer_id=5, sequence=one)), ack="none")
        for one in range(40)
    ]
    shard.turn(letters)
    shard.sync()
    shard.io.recording = True
    reply = shard.fetch((1, 0), (2, 0), (3, 0), (4, 0))
    assert [len(batches_in(frame)) for frame in reply.payload] == [10] * 4
    assert [call.name for call in shard.io.calls].count("pread") == 1


# ------------------------------------------------------------------------ not readable


def test_an_unknown_queue_is_said_at_once_and_the_others_are_served(
    shard: ShardUnderTest,
) -> None:
    shard.fill(1, b"one")
    results = {one.queue: one for one in shard.fetch((1, 0), (77, 0)).header.queues}
    assert results[1].code == Code.OK
    assert results[77].code == Code.STALE_ROUTE


def test_offsets_beyond_either_end_are_out_of_range(shard: ShardUnderTest) -> None:
    shard.fill(1, b"a", b"b")
    result = shard.fetch((1, 3)).header.queues[0]
    assert (result.code, result.earliest, result.latest) == (Code.OFFSET_OUT_OF_RANGE, 0, 2)
    assert "0 to 2" in result.message


def test_a_dropped_segment_makes_its_offsets_out_of_range_at_once() -> None:
    shard = ShardUnderTest(segment_bytes=64 * KIB, reserve_bytes=KIB, retention_bytes=64 * KIB)
    shard.define(topic())
    shard.pass_time(0)
    for _ in range(40):
        shard.fill(1, b"x" * 10 * KIB)
        shard.pass_time(1_000)
    result = shard.fetch((1, 0)).header.queues[0]
    assert result.code == Code.OFFSET_OUT_OF_RANGE
    assert 0 < result.earliest < result.latest == 40
    assert shard.fetch((1, result.earliest)).header.queues[0].frames == 1


def test_a_damaged_batch_is_named_and_the_batches_around_it_are_served(
    shard: ShardUnderTest,
) -> None:
    shard.fill(1, b"before")
    shard.fill(1, b"damaged one", b"damaged two")
    shard.fill(1, b"behind")
    shard.fill(2, b"another queue")
    (segment,) = (path for path in shard.disk.paths() if path.endswith(".log"))
    shard.disk.rot(segment, shard.disk.read(segment).index(b"damaged one"), b"D")
    results = {one.queue: one for one in shard.fetch((1, 0), (2, 0)).header.queues}
    assert (results[1].code, results[1].next_offset) == (Code.OK, 1)
    assert results[2].code == Code.OK
    damaged = shard.fetch((1, 1)).header.queues[0]
    assert (damaged.code, damaged.next_offset, damaged.frames) == (Code.DAMAGED, 3, 0)
    assert "1 to 2" in damaged.message
    behind = shard.fetch((1, 3))
    assert batches_in(behind.payload[0])[0].endswith(b"behind")


def test_a_gap_that_a_power_cut_left_is_stepped_over(shard: ShardUnderTest) -> None:
    shard.fill(1, b"kept")
    shard.turn([shard.produce_letter((1, batch(sequence=1)), ack="written")])
    lost = set(shard.disk.unsynced())
    shard.turn([shard.produce_letter((1, batch(sequence=2)), ack="written")])
    # The disk kept the second write and lost the first: its offsets may have been acknowledged.
    shard.disk = shard.disk.power_cut(keep=set(shard.disk.unsynced()) - lost)
    shard.open()
    stepped = shard.fetch((1, 1)).header.queues[0]
    assert (stepped.code, stepped.frames, stepped.next_offset) == (Code.OK, 0, 3)
    assert shard.fill(1, b"new").base_offset == 3
    assert shard.fetch((1, 1)).header.queues[0].next_offset == 4


def test_rot_in_a_segment_and_in_its_index_costs_what_rotted_and_nothing_else() -> None:
    shard = ShardUnderTest(segment_bytes=1 << 14, reserve_bytes=1 << 10)
    shard.define(topic(retention_ms=3_600_000))
    lsn = shard.journal.end
    shard.fill(2, b"lone")
    for _ in range(10):
        shard.fill(1, b"x" * 4_000)
        shard.pass_time(1_000)
    shard.fill(2, b"later")
    shard.disk.kill()
    stem = f"/data/shard/{0:020d}"
    shard.disk.rot(f"{stem}.log", lsn + 3, b"\xee" * 20)
    shard.disk.rot(f"{stem}.idx", len(shard.disk.find(f"{stem}.idx").shown) - 5, b"\xee")
    shard.open()
    assert shard.fetch((2, 0)).header.queues[0].earliest == 1
    (frame,) = shard.fetch((2, 1)).payload
    assert len(batches_in(frame)) == 1
    assert shard.fetch((1, 0)).payload
    for _ in range(5):
        shard.pass_time(10_000)
    assert earliest_of(shard, 2) == 1


def earliest_of(shard: ShardUnderTest, queue: int) -> int:
    return shard.state.queues.at(queue).earliest
