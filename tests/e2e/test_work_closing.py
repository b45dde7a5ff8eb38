"""Work queues with a real broker: what a consumer leaves behind that ends while it receives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shardmq.client import Admin, Message, Producer, ReceivedMessage, SimpleConsumer, aio, errors
from shardmq.router import Broker

WAIT_SECONDS = 20.0
COUNT = 500
HOUR = 3_600


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("broker") / "data"
    with Broker(str(data), shards=2, listen="tcp://127.0.0.1:0") as broker:
        yield broker.url


@pytest.fixture
def jobs(url: str, request: pytest.FixtureRequest) -> str:
    """A topic, and the group that works on it."""
    name = str(request.node.name)[-32:].strip("_")
    with Admin(url) as admin:
        admin.create_topic(name, queues=4)
    with Producer(url, timeout=WAIT_SECONDS) as producer:
        producer.send_batch([Message(name, b"%d" % n) for n in range(COUNT)])
    return name


def in_flight(url: str, group: str) -> int:
    with Admin(url) as admin:
        return sum(queue.in_flight for queue in admin.describe_group(group).queues)


def member(kind: Any, url: str, jobs: str) -> Any:
    """One that may get each message once: what is counted as an attempt is dead."""
    consumer = kind(url, group=jobs, start_from="earliest", max_attempts=1)
    consumer.subscribe(jobs)
    return consumer


def all_of_the_rest(url: str, jobs: str, got: list[ReceivedMessage]) -> None:
    """Nothing is lost, and what was never in anybody's hands comes for the first time."""
    assert in_flight(url, jobs) == len(got), "in the user's hands, and nowhere else"
    rest: list[ReceivedMessage] = []
    began = time.monotonic()
    with member(SimpleConsumer, url, jobs) as consumer:
        while len(got) + len(rest) < COUNT:
            assert time.monotonic() - began < WAIT_SECONDS, f"only {len(rest)} of the rest came"
            rest += consumer.receive(1_000, invisible_for=HOUR, wait=1)
        assert {message.body for message in got + rest} == {b"%d" % n for n in range(COUNT)}
        assert {message.attempt for message in got + rest} == {1}
        consumer.give_back(rest)
        assert in_flight(url, jobs) == len(got)


def test_nothing_stays_with_a_consumer_that_is_closed_while_its_threads_receive(
    url: str, jobs: str
) -> None:
    got: list[ReceivedMessage] = []

    def work(consumer: SimpleConsumer) -> None:
        while True:
            got.extend(consumer.receive(3, invisible_for=HOUR, wait=None))

    with ThreadPoolExecutor(4) as threads:
        for _ in range(5):
            with member(SimpleConsumer, url, jobs) as consumer:
                consumer.start()
                loads = [threads.submit(work, consumer) for _ in range(4)]
                time.sleep(0.01)
            assert all(isinstance(load.exception(), errors.ClosedError) for load in loads)
    all_of_the_rest(url, jobs, got)


def test_nothing_stays_with_a_consumer_that_is_closed_while_its_tasks_receive(
    url: str, jobs: str
) -> None:
    got: list[ReceivedMessage] = []

    async def close_at_once() -> None:
        async with member(aio.SimpleConsumer, url, jobs) as consumer:
            await consumer.start()
            loads = [
                asyncio.create_task(consumer.receive(10, invisible_for=HOUR)) for _ in range(5)
            ]
            await asyncio.sleep(0)
        for outcome in await asyncio.gather(*loads, return_exceptions=True):
            if isinstance(outcome, list):  # it was over before the end began
                got.extend(outcome)
            else:
                assert isinstance(outcome, errors.ClosedError)

    asyncio.run(close_at_once())
    all_of_the_rest(url, jobs, got)


def test_tasks_that_are_cancelled_count_no_attempt(url: str, jobs: str) -> None:
    got: list[ReceivedMessage] = []

    async def cancel_often() -> None:
        async with member(aio.SimpleConsumer, url, jobs) as consumer:

            async def work() -> None:
                got.extend(await consumer.receive(2, invisible_for=HOUR, wait=None))

            await consumer.start()
            for _ in range(100):
                loads = [asyncio.create_task(work()) for _ in range(10)]
                await asyncio.sleep(0.0005)
                for load in loads:
                    load.cancel()
                await asyncio.gather(*loads, return_exceptions=True)

    asyncio.run(cancel_often())
    all_of_the_rest(url, jobs, got)
