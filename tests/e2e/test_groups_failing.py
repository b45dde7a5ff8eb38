"""What a group's members do with messages that fail, and with each other's names, with a real
broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from shardmq.client import Admin, Message, Producer, PullConsumer, PushConsumer, aio, errors
from shardmq.router import Broker

WAIT_SECONDS = 20.0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("broker") / "data"
    with Broker(str(data), shards=2, listen="tcp://127.0.0.1:0") as broker:
        yield broker.url


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def fill(url: str, topic: str, messages: list[Message], queues: int = 1) -> None:
    with Admin(url) as admin, Producer(url) as producer:
        admin.create_topic(topic, queues=queues)
        for message in messages:
            producer.send(message)


def test_a_dead_letter_of_an_ordered_member_tells_all_its_attempts(url: str) -> None:
    fill(url, "ordered", [Message("ordered", b"bad", ordering_key="k")])
    calls: list[int] = []

    def listener(message: Any) -> None:
        calls.append(message.attempt)
        raise ValueError(f"attempt {message.attempt}")

    options: dict[str, Any] = {"start_from": "earliest", "ordered": True, "suspend": 0.1}
    with (
        Admin(url) as admin,
        PushConsumer(url, "ordered", max_attempts=3, **options) as consumer,
    ):
        consumer.subscribe("ordered", "*", listener)
        consumer.start()
        until(lambda: admin.dead_letters("ordered"), "it is a dead letter")
        (letter,) = admin.dead_letters("ordered")
    assert calls == [1, 2, 3]
    assert (letter.attempts, letter.cause) == (3, "ValueError: attempt 3")
    assert [(one.attempt, one.cause) for one in letter.history] == [
        (attempt, f"ValueError: attempt {attempt}") for attempt in calls
    ]
    times = [one.failed_at for one in letter.history]
    assert times == sorted(times)
    assert (times[-1] - times[0]).total_seconds() >= 0.15


def test_a_group_may_have_a_table_of_delays_of_its_own(url: str) -> None:
    fill(url, "table", [Message("table", b"bad")])
    calls: list[float] = []

    def listener(message: Any) -> None:
        calls.append(time.monotonic())
        raise ValueError(f"attempt {message.attempt}")

    options: dict[str, Any] = {"start_from": "earliest", "max_attempts": 4}
    with (
        Admin(url) as admin,
        PushConsumer(url, "table", retry_delays=[0.1, 0.6], **options) as consumer,
    ):
        consumer.subscribe("table", "*", listener)
        consumer.start()
        until(lambda: admin.dead_letters("table"), "it is a dead letter")
        assert admin.dead_letters("table")[0].attempts == 4
    waits = [after - before for before, after in pairwise(calls)]
    assert 0.1 <= waits[0] < 0.6 <= min(waits[1:])


@pytest.mark.parametrize("model", ["clustering", "broadcasting"])
def test_one_name_is_one_member_of_a_process(url: str, model: str) -> None:
    topic = f"names-{model}"
    fill(url, topic, [])
    seen: list[bytes] = []

    def member() -> PushConsumer:
        consumer = PushConsumer(url, topic, name="n1", model=model, start_from="earliest")
        consumer.subscribe(topic, "*", lambda message: seen.append(message.body))
        return consumer

    with member() as first, member() as second, Producer(url) as producer:
        first.start()
        with pytest.raises(errors.InvalidArgument, match="has a member 'n1' of group 'names-"):
            second.start()
        producer.send(Message(topic, b"1"))
        until(lambda: seen == [b"1"], "the first gets it")
        first.close()
        second.start()
        producer.send(Message(topic, b"2"))
        until(lambda: seen == [b"1", b"2"], "the second has taken its place")


def test_one_name_is_one_member_of_a_process_that_pulls(url: str) -> None:
    fill(url, "pulled", [])
    with PullConsumer(url, group="pulled", name="n1") as first:
        first.subscribe("pulled")
        first.start()
        with PullConsumer(url, group="pulled", name="n1") as second:
            second.subscribe("pulled")
            with pytest.raises(errors.InvalidArgument, match="has a member"):
                second.start()
        assert first.assignment() == [("pulled", 0)]


def test_one_name_is_one_member_of_an_event_loop(url: str) -> None:
    fill(url, "looped", [])

    async def scenario() -> None:
        async with aio.PushConsumer(url, "looped", name="n1") as first:
            first.subscribe("looped", "*", print)
            await first.start()
            async with aio.PullConsumer(url, group="looped", name="n1") as second:
                second.subscribe("looped")
                with pytest.raises(errors.InvalidArgument, match="has a member 'n1'"):
                    await second.start()

    asyncio.run(scenario())
