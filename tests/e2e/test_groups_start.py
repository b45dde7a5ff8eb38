"""PushConsumer: a start that failed half-way, and the next attempt, with a broker made for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.group_messages import Cursors
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import Message, Producer, PushConsumer, ReceivedMessage, aio, errors
from support.clients import serve
from support.fake_broker import FakeBroker

WAIT_SECONDS = 20.0
SHORT_SECONDS = 0.7


class HalfAway:
    """A broker with a topic of two queues, one of them on a shard that says nothing."""

    def __init__(self, broker: FakeBroker, url: str) -> None:
        self.url = url
        self.groups = broker.groups
        self._broker = broker
        route = broker.create("t", 2)
        self._silent = route.queues[1].number
        with Producer(url) as producer:
            producer.send_batch([Message("t", b"%d" % n) for n in range(20)])
        broker.give("me", "t", 0, 1)
        broker.answer = lambda route, header, _: (
            "lost"
            if route.verb == Verb.CURSORS and self._silent in decode_header(header, Cursors).queues
            else None
        )

    def comes_back(self) -> None:
        self._broker.answer = lambda *_: None
        self._broker.give("me", "t", 0, 1)


@pytest.fixture
def half_away() -> Iterator[HalfAway]:
    broker = FakeBroker()
    with serve(broker) as url:
        yield HalfAway(broker, url)


def until(true: Callable[[], object], what: str) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < WAIT_SECONDS, f"{what}: not within {WAIT_SECONDS} s"
        time.sleep(0.01)


async def until_soon(true: Callable[[], object], what: str) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < WAIT_SECONDS, f"{what}: not within {WAIT_SECONDS} s"
        await asyncio.sleep(0.01)


def test_a_second_start_shares_nothing_with_one_that_failed(half_away: HalfAway) -> None:
    seen: list[bytes] = []

    def listener(message: ReceivedMessage) -> None:
        seen.append(message.body)

    with PushConsumer(
        half_away.url, "g", name="me", start_from="earliest", timeout=SHORT_SECONDS
    ) as consumer:
        consumer.subscribe("t", "*", listener)
        with pytest.raises(errors.TimedOut):
            consumer.start()
        assert seen, "what the other shard has came, and its worker belongs to the old attempt"
        until(lambda: not consumer._workers, "the workers of the first attempt have ended")
        until(lambda: half_away.groups.left, "the member has left")
        half_away.comes_back()
        consumer.start()
        until(lambda: len(set(seen)) == 20, "everything has come")
    assert consumer._workers == set()


def test_a_second_start_of_the_asyncio_twin_is_as_clean(half_away: HalfAway) -> None:
    seen: list[bytes] = []

    async def scenario() -> None:
        async with aio.PushConsumer(
            half_away.url, "g", name="me", start_from="earliest", timeout=SHORT_SECONDS
        ) as consumer:
            consumer.subscribe("t", "*", lambda message: seen.append(message.body))
            with pytest.raises(errors.TimedOut):
                await consumer.start()
            assert seen
            await until_soon(lambda: not consumer._workers, "the first attempt's tasks have ended")
            await until_soon(lambda: half_away.groups.left, "the member has left")
            half_away.comes_back()
            await consumer.start()
            await until_soon(lambda: len(set(seen)) == 20, "everything has come")

    asyncio.run(scenario())
