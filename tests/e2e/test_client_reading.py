"""PullConsumer and Admin against a real broker, the threaded ones and their asyncio twins alike.

Each scenario is written once, as a coroutine; the threaded objects are wrapped so that their
methods can be awaited.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shardmq import client
from shardmq.client import Message, aio, errors
from shardmq.router import Broker


class Awaitable:
    """Makes every method of a threaded object awaitable, so that one scenario serves both."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)

        async def call(*args: Any, **named: Any) -> Any:
            return method(*args, **named)

        return call

    async def __aiter__(self) -> AsyncIterator[Any]:
        for message in self._target:
            yield message


class Driver:
    """Makes admins, producers and consumers of one kind."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self.url = url

    @asynccontextmanager
    async def _made(self, name: str, **options: Any) -> AsyncIterator[Any]:
        if self.kind == "aio":
            async with getattr(aio, name)(self.url, **options) as made:
                yield made
        else:
            with getattr(client, name)(self.url, **options) as made:
                yield Awaitable(made)

    def admin(self) -> Any:
        return self._made("Admin")

    def producer(self, **options: Any) -> Any:
        return self._made("Producer", **options)

    def consumer(self, **options: Any) -> Any:
        return self._made("PullConsumer", **options)


async def maybe(value: Any) -> Any:
    """Awaits what is awaitable: twins answer look-ups without a round trip at once."""
    return await value if inspect.isawaitable(value) else value


Scenario = Callable[[Driver], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("broker") / "data"
    with Broker(str(data), shards=2, listen="tcp://127.0.0.1:0") as broker:
        yield broker.url


@pytest.fixture(params=["thread", "aio"])
def driver(request: pytest.FixtureRequest, url: str) -> Driver:
    return Driver(request.param, url)


def test_iterate_seek_pause_and_resume(driver: Driver) -> None:
    topic = f"iterate-{driver.kind}"

    async def scenario() -> None:
        async with driver.admin() as admin, driver.producer() as producer:
            await admin.create_topic(topic, queues=2)
            for number in range(10):
                await producer.send(Message(topic, b"%d" % number), queue_id=number % 2)
        async with driver.consumer() as consumer:
            await consumer.assign(topic, [0])
            seen = []
            async for message in consumer:
                seen.append(message.body)
                if message.body == b"4":
                    assert await maybe(consumer.position(topic, 0)) == 3
                    await consumer.seek(topic, 0, 4)
                if message.body == b"8":
                    break
            assert seen == [b"0", b"2", b"4", b"8"]
            await consumer.assign(topic, [1])
            await maybe(consumer.pause(topic, 1))
            assert await consumer.poll(timeout=0.2) == []
            await maybe(consumer.resume(topic, 1))
            bodies = [message.body for message in await consumer.poll(timeout=10)]
            assert bodies == [b"1", b"3", b"5", b"7", b"9"]
            await consumer.seek_to_beginning(topic)
            got: list[bytes] = []
            while len(got) < 10:
                got += [message.body for message in await consumer.poll(10, 3)]
            assert sorted(got) == [b"%d" % number for number in range(10)]
            await consumer.seek_to_end(topic)
            assert await consumer.poll(timeout=0.1) == []

    asyncio.run(scenario())


def test_start_positions_and_times(driver: Driver) -> None:
    topic = f"times-{driver.kind}"

    async def scenario() -> None:
        async with driver.admin() as admin, driver.producer() as producer:
            await admin.create_topic(topic, queues=1)
            await producer.send(Message(topic, b"old"))
            async with driver.consumer(start_from="latest") as consumer:
                await consumer.assign(topic)
                receipt = await producer.send(Message(topic, b"new"))
                assert [m.body for m in await consumer.poll(timeout=10)] == [b"new"]
                await consumer.seek_to_time(topic, receipt.stored_at - timedelta(hours=1))
                assert (await consumer.poll(timeout=10))[0].body == b"old"
                await consumer.seek_to_time(topic, datetime(2200, 1, 1, tzinfo=UTC))
                assert await consumer.poll(timeout=0.1) == []
                await consumer.seek(topic, 0, 99)
                with pytest.raises(errors.OffsetOutOfRange) as caught:
                    await consumer.poll(timeout=10)
                assert (caught.value.earliest, caught.value.latest) == (0, 2)

    asyncio.run(scenario())


def test_a_parked_poll_gets_what_is_sent_later(driver: Driver) -> None:
    topic = f"parked-{driver.kind}"

    async def scenario() -> None:
        async with driver.admin() as admin, driver.producer() as producer:
            await admin.create_topic(topic, queues=4)
            async with driver.consumer() as consumer:
                await consumer.assign(topic)
                assert await consumer.poll(timeout=0.05) == []
                await producer.send(Message(topic, b"x"))
                assert [m.body for m in await consumer.poll(timeout=5)] == [b"x"]

    asyncio.run(scenario())


def test_administration(driver: Driver) -> None:
    topic = f"admin-{driver.kind}"

    async def scenario() -> None:
        async with driver.admin() as admin:
            made = await admin.create_topic(topic, queues=3, retention=3600)
            assert (made.name, len(made.queues), made.retention) == (topic, 3, 3600)
            with pytest.raises(errors.TopicExists):
                await admin.create_topic(topic)
            with pytest.raises(errors.InvalidArgument):
                await admin.create_topic("no good name")
            assert topic in await admin.topics()
            grown = await admin.update_topic(topic, queues=5)
            assert [queue.queue_id for queue in grown.queues] == [0, 1, 2, 3, 4]
            drained = await admin.update_topic(topic, write_queues=2)
            assert [queue.writable for queue in drained.queues] == [True] * 2 + [False] * 3
            assert all(queue.readable for queue in drained.queues)
            async with driver.producer() as producer:
                await producer.send_batch([Message(topic, b"x")] * 10)
            described = await admin.describe_topic(topic)
            assert [queue.latest for queue in described.queues] == [5, 5, 0, 0, 0]
            assert described.messages == 10
            await admin.delete_topic(topic)
            with pytest.raises(errors.TopicNotFound):
                await admin.describe_topic(topic)
            for actor in ("router", "coordinator", "shard-0"):
                assert (await admin.stats(actor))["pid"] > 0

    asyncio.run(scenario())


def test_sends_of_every_form_arrive(driver: Driver) -> None:
    topic = f"forms-{driver.kind}"

    async def scenario() -> None:
        async with driver.admin() as admin:
            await admin.create_topic(topic, queues=1)
            async with driver.producer() as producer:
                assert (await producer.send(Message(topic, b"0"))).offset == 0
                await producer.send_oneway(Message(topic, b"1"))
                pending = await producer.send_async(Message(topic, b"2"))
                assert (await maybe(pending.result(10))).offset == 2
                assert await maybe(pending.exception()) is None
                receipts = await producer.send_batch([Message(topic, b"3"), Message(topic, b"4")])
                assert [receipt.offset for receipt in receipts] == [3, 4]
                await producer.send_async(Message(topic, b"5"))
                await producer.flush()
            assert (await admin.describe_topic(topic)).messages == 6
            await producer.close()
            with pytest.raises(errors.ClosedError):
                await producer.send(Message(topic, b"6"))

    asyncio.run(scenario())
