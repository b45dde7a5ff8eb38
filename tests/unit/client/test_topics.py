"""Flows of administration, over a fake broker."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.frames import SHARD_ROUTER
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import errors, topics
from support.clients import Wired, run_flow


@pytest.fixture
def wired() -> Wired:
    return Wired()


def last(wired: Wired, verb: Verb, kind: type[m.Header]) -> m.Header:
    return [decode_header(header, kind) for route, header, _ in wired.broker.seen
            if route.verb == verb][-1]  # fmt: skip


def test_a_created_topic_is_described(wired: Wired) -> None:
    made = run_flow(wired, topics.create_topic("t", 3, 60.0, "wish"))
    assert (made.name, [queue.queue_id for queue in made.queues]) == ("t", [0, 1, 2])
    asked = last(wired, Verb.TOPIC_CREATE, m.TopicCreate)
    assert (asked.retention_ms, asked.request_key) == (60_000, "wish")  # type: ignore[attr-defined]
    with pytest.raises(errors.TopicExists):
        run_flow(wired, topics.create_topic("t", 3, None, "another"))


@pytest.mark.parametrize("queues", [0, -1, True, "8", 1.5])
def test_numbers_of_queues_are_checked(wired: Wired, queues: int) -> None:
    with pytest.raises(errors.InvalidArgument, match="queues"):
        run_flow(wired, topics.create_topic("t", queues, None, ""))


def test_only_what_was_given_is_changed(wired: Wired) -> None:
    wired.broker.create("t", 2)
    run_flow(wired, topics.update_topic("t", None, 1, None, None))
    asked = last(wired, Verb.TOPIC_UPDATE, m.TopicUpdate)
    assert asked == m.TopicUpdate(topic="t", write_queues=1)
    with pytest.raises(errors.InvalidArgument, match="what to change"):
        run_flow(wired, topics.update_topic("t", None, None, None, None))


def test_a_deletion_names_the_topic_by_its_id(wired: Wired) -> None:
    topic_id = wired.broker.create("t", 1).topic_id
    run_flow(wired, topics.delete_topic("t"))
    assert last(wired, Verb.TOPIC_DELETE, m.TopicDelete) == m.TopicDelete(
        topic="t", topic_id=topic_id
    )
    with pytest.raises(errors.TopicNotFound):
        run_flow(wired, topics.delete_topic("t"))


def test_long_lists_come_page_by_page(wired: Wired) -> None:
    for number in range(2_500):
        wired.broker.create(f"t{number:04d}", 1)
    names = run_flow(wired, topics.list_topics(False))
    assert names == [f"t{number:04d}" for number in range(2_500)]
    assert sum(route.verb == Verb.TOPIC_LIST for route, *_ in wired.broker.seen) == 3


def test_offsets_are_asked_with_one_request_for_each_shard(wired: Wired) -> None:
    wired.broker.create("t", 8)
    wired.broker.queue("t", 3).latest = 42
    described = run_flow(wired, topics.describe_topic("t"))
    assert (described.queues[3].latest, described.messages) == (42, 42)
    assert sum(route.verb == Verb.OFFSETS for route, *_ in wired.broker.seen) == 2


def test_a_shard_with_more_queues_than_a_request_may_name_is_asked_several_times(
    wired: Wired,
) -> None:
    wired.broker.shards = 1
    wired.broker.create("t", 10_000)
    wired.broker.queue("t", 9_999).latest = 7
    described = run_flow(wired, topics.describe_topic("t"))
    assert (len(described.queues), described.queues[9_999].latest) == (10_000, 7)
    assert sum(route.verb == Verb.OFFSETS for route, *_ in wired.broker.seen) == 3


def test_rows_go_to_their_shards_in_requests_of_bounded_size() -> None:
    rows = [(number % 2, number) for number in range(2 * 4_097)]
    requests = topics.per_shard(rows)
    assert [(shard, len(piece)) for shard, piece in requests] == [
        (0, 4_096), (1, 4_096), (0, 1), (1, 1),
    ]  # fmt: skip
    assert sorted((shard, row) for shard, piece in requests for row in piece) == sorted(rows)
    assert topics.per_shard([]) == []


def test_a_queue_that_its_shard_does_not_know_is_an_error(wired: Wired) -> None:
    row = wired.broker.create("t", 2).queues[1]
    del wired.broker.queues[row.number]
    with pytest.raises(errors.RemoteError, match="queue 1"):
        run_flow(wired, topics.describe_topic("t"))


def test_figures_come_from_the_actor_named(wired: Wired) -> None:
    assert run_flow(wired, topics.stats_of("shard-1"))["actor"] == "shard-1"
    run_flow(wired, topics.stats_of("router"))
    assert wired.broker.seen[-1][0].shard == SHARD_ROUTER
    for bad in ("shard-", "shard-x", "nobody", ""):
        with pytest.raises(errors.InvalidArgument, match="actor"):
            run_flow(wired, topics.stats_of(bad))
