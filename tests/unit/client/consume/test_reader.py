"""Reader: an interrupted iteration gives back exactly what was not delivered."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.client import Message, errors
from shardmq.client.consume.cursor import Cursor
from shardmq.client.consume.fetcher import Fetcher, FetcherOptions
from shardmq.client.consume.reader import Reader
from support.clients import Wired


@pytest.fixture
def wired() -> Wired:
    wired = Wired()
    wired.broker.create("t", 1)
    producer = wired.producer()
    for number in range(5):
        producer.add_checked(Message("t", b"%d" % number), None, None, wired.now)
    wired.run()
    producer.flush(wired.now)
    wired.run()
    return wired


@pytest.fixture
def reader(wired: Wired) -> Reader:
    options = FetcherOptions(1 << 20, 8 << 20, "error")
    fetcher = Fetcher(wired.core, wired.routes, options)
    queue = wired.broker.topics["t"].queues[0]
    fetcher.assign([Cursor("t", queue, 0)], wired.now)
    wired.run()
    return Reader(fetcher)


def test_the_position_follows_an_iteration_message_by_message(reader: Reader, wired: Wired) -> None:
    cursor = reader.cursor("t", 0)
    batch = reader.begin(wired.now)
    assert batch is not None
    assert reader.position(cursor) == 0
    assert next(batch.messages).body == b"0"
    assert reader.position(cursor) == 1
    list(batch.messages)
    assert reader.position(cursor) == 5
    reader.finish(batch, wired.now)
    assert cursor.position == 5
    assert reader.begin(wired.now) is None


def test_what_an_interrupted_iteration_left_comes_next_again(reader: Reader, wired: Wired) -> None:
    batch = reader.begin(wired.now)
    assert batch is not None
    next(batch.messages)
    next(batch.messages)
    reader.give_back()
    assert reader.current is None
    assert [message.body for message in reader.collect(2, wired.now)] == [b"2", b"3"]
    again = reader.begin(wired.now)
    assert again is not None
    assert [message.body for message in again.messages] == [b"4"]


def test_queues_that_are_not_assigned_are_refused(reader: Reader) -> None:
    assert [cursor.queue.queue_id for cursor in reader.cursors("t", None)] == [0]
    with pytest.raises(errors.InvalidArgument, match="queue 7"):
        reader.cursor("t", 7)
    with pytest.raises(errors.InvalidArgument, match="no queue"):
        reader.cursors("other", None)


@pytest.mark.parametrize("queue_id", [[0, 1], "0", {}, 0.5])
def test_what_is_no_number_of_a_queue_is_refused(reader: Reader, queue_id: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="queue_id"):
        reader.cursors("t", queue_id)


def test_what_is_no_name_of_a_topic_is_refused(reader: Reader) -> None:
    nothing: Any = ["t"]
    with pytest.raises(errors.InvalidArgument, match="topic"):
        reader.cursor(nothing, 0)


def test_several_queues_are_sought_at_once(reader: Reader, wired: Wired) -> None:
    assert len(reader.collect(10, wired.now)) == 5
    reader.seek_all([(reader.cursor("t", 0), 3)], wired.now)
    wired.run()
    assert [message.body for message in reader.collect(10, wired.now)] == [b"3", b"4"]
