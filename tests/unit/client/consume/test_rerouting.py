"""Rerouting: a queue that its shard does not know is looked for, and its loss is told once."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.messages import ErrorReply, FetchReply, FetchResult
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import errors
from support.reading import Consumer


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


def test_a_deleted_topic_is_told_once_and_its_queues_are_gone(consumer: Consumer) -> None:
    consumer.store(b"a")
    consumer.assign(0)
    del consumer.wired.broker.topics["t"]
    assert consumer.read() == [b"a"]
    consumer.wired.advance(30_000)
    with pytest.raises(errors.TopicNotFound):
        consumer.read()
    assert consumer.fetcher.cursors() == []
    assert consumer.read() == []


def test_a_queue_closed_for_reading_is_told(consumer: Consumer) -> None:
    consumer.route.queues[0].readable = False
    consumer.assign(0)
    with pytest.raises(errors.RemoteError, match="closed for reading"):
        consumer.read()


def test_a_coordinator_that_is_away_is_asked_again(consumer: Consumer) -> None:
    consumer.store(b"a")
    consumer.route.queues[0].readable = False
    consumer.wired.broker.answer = lambda route, *_: (
        (Code.UNAVAILABLE, ErrorReply(name="UNAVAILABLE", message="restarts", retryable=True))
        if route.verb == Verb.ROUTE
        else None
    )
    consumer.assign(0)
    consumer.wired.advance(30_000)
    assert consumer.read() == []
    consumer.wired.broker.answer = lambda *_: None
    consumer.route.queues[0].readable = True
    consumer.wired.advance(30_000)
    assert consumer.read() == [b"a"]


def test_a_read_without_a_group_that_is_fenced_is_a_fault(consumer: Consumer) -> None:
    number = consumer.route.queues[0].number
    consumer.wired.broker.answer = lambda route, *_: (
        (Code.OK, FetchReply(queues=[FetchResult(queue=number, code=Code.FENCED)]))
        if route.verb == Verb.FETCH
        else None
    )
    consumer.assign(0)
    with pytest.raises(errors.Fenced):
        consumer.read()
