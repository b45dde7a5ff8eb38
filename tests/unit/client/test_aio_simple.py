"""SimpleConsumer under asyncio over a real socket: tasks, cancelling, closing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from shardmq.actors.protocol.verbs import Verb
from shardmq.client import ReceivedMessage, aio, errors
from support.served_work import ServedWork, served_work

WAIT_SECONDS = 20.0


@pytest.fixture
def served() -> Iterator[ServedWork]:
    with served_work() as served:
        yield served


def run(
    served: ServedWork, scenario: Callable[[aio.SimpleConsumer], Awaitable[None]], **how: Any
) -> None:
    async def with_consumer() -> None:
        async with aio.SimpleConsumer(served.url, group="g", name="me", **how) as consumer:
            consumer.subscribe("t")
            await scenario(consumer)

    asyncio.run(with_consumer())


async def until(true: Callable[[], object]) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < WAIT_SECONDS
        await asyncio.sleep(0.005)


def test_messages_are_received_acked_failed_and_kept_longer(served: ServedWork) -> None:
    served.send(4)

    async def scenario(consumer: aio.SimpleConsumer) -> None:
        messages = []
        while len(messages) < 4:
            messages += await consumer.receive(wait=1)
        await consumer.ack(messages[0])
        await consumer.nack(messages[1], delay=60)
        await consumer.nack([messages[2]], dead=True)
        await consumer.change_invisible(messages[3], 600)
        assert await consumer.receive(wait=0) == []

    run(served, scenario)
    assert (len(served.broker.work.done), len(served.broker.work.dead)) == (2, 1)


def test_many_tasks_share_a_consumer_and_each_message_goes_to_one(served: ServedWork) -> None:
    served.send(300)
    got: list[bytes] = []

    async def scenario(consumer: aio.SimpleConsumer) -> None:
        async def work() -> None:
            while messages := await consumer.receive(7, wait=0.3):
                await consumer.ack(messages)
                got.extend(message.body for message in messages)

        await asyncio.gather(*(work() for _ in range(8)))

    run(served, scenario)
    assert sorted(got) == sorted(b"%d" % n for n in range(300))


def test_too_late_is_an_error_that_names_the_messages(served: ServedWork) -> None:
    served.send(1)

    async def scenario(consumer: aio.SimpleConsumer) -> None:
        [message] = await consumer.receive(invisible_for=5)
        served.pass_time(5_000)
        with pytest.raises(errors.ReceiptExpired) as caught:
            await consumer.ack(message)
        assert caught.value.messages == [message]

    run(served, scenario)


def test_a_receive_that_is_cancelled_leaves_nothing_behind(served: ServedWork) -> None:
    async def scenario(consumer: aio.SimpleConsumer) -> None:
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(consumer.receive(wait=None), 0.02)
        assert consumer._group is not None
        assert not consumer._group.receiver._idle
        served.send(1)
        assert len(await consumer.receive()) == 1

    run(served, scenario)


def test_closing_ends_those_who_wait_and_may_be_repeated(served: ServedWork) -> None:
    async def scenario(consumer: aio.SimpleConsumer) -> None:
        waiting = [asyncio.create_task(consumer.receive(wait=None)) for _ in range(3)]
        await until(lambda: served.is_waited_at)
        await consumer.close()
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, errors.ClosedError)
        await consumer.close()
        with pytest.raises(errors.ClosedError):
            await consumer.ack([])

    run(served, scenario)
    assert served.broker.groups.left == ["me"]


def test_tasks_that_are_cancelled_at_any_moment_keep_and_count_nothing(
    served: ServedWork,
) -> None:
    served.send(300)
    got: list[ReceivedMessage] = []

    async def scenario(consumer: aio.SimpleConsumer) -> None:
        async def work() -> None:
            got.extend(await consumer.receive(2, invisible_for=3_600, wait=None))

        await consumer.start()
        for _ in range(60):
            tasks = [asyncio.create_task(work()) for _ in range(10)]
            await asyncio.sleep(0.0005)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    run(served, scenario)
    assert all(message.attempt == 1 for message in got)
    held = [row for row in served.broker.work.rows.values() if row.is_held]
    assert len(held) == len(got), "only what somebody got is in flight"


def test_closing_gives_back_what_is_just_being_handed_out(served: ServedWork) -> None:
    served.send(40)
    got: list[ReceivedMessage] = []

    async def scenario(consumer: aio.SimpleConsumer) -> None:
        await consumer.start()
        waiting = [asyncio.create_task(consumer.receive(5, invisible_for=3_600)) for _ in range(5)]
        await asyncio.sleep(0)
        await consumer.close()
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(outcome, list):  # it was over before the end began
                got.extend(outcome)
            else:
                assert isinstance(outcome, errors.ClosedError)

    run(served, scenario)
    rows = served.broker.work.rows.values()
    assert rows
    assert sorted(row.attempt for row in rows if row.is_held) == [1] * len(got)
    assert {row.attempt for row in rows if not row.is_held} <= {0}


def test_what_is_given_back_comes_again_at_once_as_if_it_had_never_come(
    served: ServedWork,
) -> None:
    served.send(1)

    async def scenario(consumer: aio.SimpleConsumer) -> None:
        for _ in range(3):
            [message] = await consumer.receive(invisible_for=600)
            assert message.attempt == 1
            await consumer.give_back([message])

    run(served, scenario)


def test_a_start_that_failed_or_was_cancelled_can_be_repeated(served: ServedWork) -> None:
    async def scenario(consumer: aio.SimpleConsumer) -> None:
        served.lose(Verb.GROUP_JOIN)
        with pytest.raises(errors.TimedOut):
            await consumer.receive()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(consumer.start(), 0.05)
        with pytest.raises(errors.InvalidArgument, match="nothing was received"):
            await consumer.ack([])
        served.find()
        served.give()
        served.send(1)
        assert len(await consumer.receive()) == 1
        with pytest.raises(errors.InvalidArgument, match="started"):
            consumer.subscribe("u")
        assert repr(consumer) == "<aio.SimpleConsumer>"

    run(served, scenario, timeout=0.3)


def test_closing_ends_a_start_that_waits(served: ServedWork) -> None:
    async def scenario(consumer: aio.SimpleConsumer) -> None:
        served.lose(Verb.GROUP_JOIN)
        starting = asyncio.create_task(consumer.start())
        await until(lambda: served.was_asked(Verb.GROUP_JOIN))
        await consumer.close()
        with pytest.raises(errors.ClosedError):
            await starting

    run(served, scenario)


def test_one_that_is_never_closed_says_so(served: ServedWork) -> None:
    async def scenario(consumer: aio.SimpleConsumer) -> None:
        with pytest.warns(ResourceWarning, match=r"unclosed <aio\.SimpleConsumer>"):
            consumer.__del__()

    run(served, scenario)
