"""Start positions: earliest, latest, a time; of queues that exist and can be read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shardmq.client import errors
from shardmq.client.consume.positions import assigned, checked_start, positions_of
from support.clients import Wired, run_flow
from support.fake_broker import STORED_AT_MS


@pytest.fixture
def wired() -> Wired:
    wired = Wired()
    wired.broker.create("t", 3)
    queue = wired.broker.queue("t", 1)
    queue.earliest, queue.latest = 5, 9
    return wired


@pytest.mark.parametrize(
    ("start", "offset"),
    [
        ("earliest", 5),
        ("latest", 9),
        (STORED_AT_MS / 1000 - 60, 5),
        (datetime(2200, 1, 1, tzinfo=UTC), 9),
    ],
)
def test_a_start_is_an_offset_of_each_queue(wired: Wired, start: Any, offset: int) -> None:
    cursors = run_flow(wired, assigned("t", [1], start))
    assert [(cursor.queue.queue_id, cursor.position) for cursor in cursors] == [(1, offset)]


def test_all_readable_queues_are_meant_where_none_is_named(wired: Wired) -> None:
    wired.broker.topics["t"].queues[0].readable = False
    cursors = run_flow(wired, assigned("t", None, "earliest"))
    assert [cursor.queue.queue_id for cursor in cursors] == [1, 2]
    with pytest.raises(errors.InvalidArgument, match="no queue 0"):
        run_flow(wired, assigned("t", [0], "earliest"))


def test_a_missing_topic_is_told(wired: Wired) -> None:
    with pytest.raises(errors.TopicNotFound):
        run_flow(wired, assigned("none", None, "earliest"))


def test_a_shard_that_does_not_know_a_queue_is_an_error(wired: Wired) -> None:
    row = wired.broker.topics["t"].queues[1]
    del wired.broker.queues[row.number]
    with pytest.raises(errors.RemoteError):
        run_flow(wired, positions_of([row], "earliest"))


@pytest.mark.parametrize("bad", ["first", None, datetime(2026, 1, 1)])
def test_other_starts_are_refused(bad: Any) -> None:
    with pytest.raises(errors.InvalidArgument):
        checked_start(bad)


@pytest.mark.parametrize("queue_ids", [1, ["1"], [[1]]])
def test_queues_that_are_no_list_of_numbers_are_refused(wired: Wired, queue_ids: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="list of numbers"):
        run_flow(wired, assigned("t", queue_ids, "earliest"))
