"""Lanes: no request names too much, and only what was touched is looked at again."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.limits import REQUEST_QUEUES_MAX
from shardmq.actors.protocol.messages import Fetch, QueueRoute
from shardmq.client.consume.cursor import Cursor
from shardmq.client.consume.lanes import Lanes, fetch_header


def cursor(number: int, shard: int = 0, position: int = 0) -> Cursor:
    queue = QueueRoute(queue_id=number, number=number, shard=shard)
    return Cursor("t", queue, position, generation=2)


@pytest.fixture
def lanes() -> Lanes:
    return Lanes()


def test_a_shard_has_as_many_lanes_as_its_queues_need(lanes: Lanes) -> None:
    for number in range(10_000):
        lanes.add(cursor(number))
    lanes.add(cursor(10_000, shard=1))
    sizes = [(lane.shard, len(lane.wanted())) for lane in lanes]
    assert sizes == [
        (0, REQUEST_QUEUES_MAX), (0, REQUEST_QUEUES_MAX), (0, 10_000 - 2 * REQUEST_QUEUES_MAX),
        (1, 1),
    ]  # fmt: skip


def test_a_place_that_became_free_is_taken_before_a_new_lane_is_made(lanes: Lanes) -> None:
    for number in range(REQUEST_QUEUES_MAX):
        lanes.add(cursor(number))
    lanes.remove(17)
    lanes.remove(17)
    assert lanes.cursor(17) is None
    lanes.add(cursor(99_999))
    assert len(list(lanes)) == 1


def test_a_queue_that_comes_again_is_on_one_lane(lanes: Lanes) -> None:
    lanes.add(cursor(1))
    moved = cursor(1, shard=1)
    lanes.add(moved)
    assert lanes.cursor(1) is moved
    assert [list(lane.cursors) for lane in lanes] == [[], [1]]


def test_a_lane_is_open_when_one_of_its_queues_was_touched(lanes: Lanes) -> None:
    first, second = cursor(1), cursor(2, shard=1)
    lanes.add(first)
    lanes.add(second)
    lanes.open.clear()
    lanes.touch(second)
    assert [lane.shard for lane in lanes.open] == [1]
    lanes.touch(cursor(3))
    assert len(lanes.open) == 1


def test_only_what_wants_more_is_asked_for_and_compared(lanes: Lanes) -> None:
    first, second = cursor(1, position=5), cursor(2)
    lanes.add(first)
    lanes.add(second)
    (lane,) = lanes
    lane.asked = lane.wanted()
    assert lane.asked == {1: (5, 2), 2: (0, 2)}
    second.paused = True
    assert lane.wanted() == {1: (5, 2)}
    assert lane.has_all(lane.wanted())
    first.fetch_offset = 6
    assert not lane.has_all(lane.wanted())


def test_nothing_is_left_once_it_is_cleared(lanes: Lanes) -> None:
    lanes.add(cursor(1))
    (lane,) = lanes
    lanes.clear()
    assert (list(lanes), list(lanes.open), lane.wanted()) == ([], [], {})
    assert lanes.cursor(1) is None


def test_the_header_names_every_queue_with_its_place() -> None:
    header = decode_header(fetch_header({1: (5, 2), 9: (0, 0)}, 7, 1_000, 500), Fetch)
    assert (header.group_id, header.bytes_max, header.wait_ms) == (7, 1_000, 500)
    rows = [(row.queue, row.offset, row.generation) for row in header.queues]
    assert rows == [(1, 5, 2), (9, 0, 0)]
