"""PushConsumer with a real broker: the threaded one and its asyncio twin alike.

Each scenario is written once, as a coroutine with a plain listener; the threaded consumer is
wrapped so that its methods can be awaited.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shardmq.client import (
    Admin,
    Discard,
    Message,
    Producer,
    PushConsumer,
    ReceivedMessage,
    Retry,
    aio,
    errors,
)
from shardmq.router import Broker

WAIT_SECONDS = 20.0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("broker") / "data"
    with Broker(str(data), shards=2, listen="tcp://127.0.0.1:0") as broker:
        yield broker.url


@pytest.fixture(params=["thread", "aio"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Twin:
    """A push consumer of one kind, its methods awaitable."""

    def __init__(self, consumer: Any, *, threaded: bool) -> None:
        self.consumer = consumer
        self._threaded = threaded

    async def call(self, name: str, *args: Any) -> Any:
        if self._threaded:
            return await asyncio.to_thread(getattr(self.consumer, name), *args)
        return await getattr(self.consumer, name)(*args)


@asynccontextmanager
async def pushed(kind: str, url: str, **options: Any) -> AsyncIterator[Twin]:
    if kind == "aio":
        async with aio.PushConsumer(url, **options) as consumer:
            yield Twin(consumer, threaded=False)
    else:
        twin = Twin(PushConsumer(url, **options), threaded=True)
        try:
            yield twin
        finally:
            await twin.call("close")


async def until(true: Callable[[], object], what: str) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < WAIT_SECONDS, f"{what}: not within {WAIT_SECONDS} s"
        await asyncio.sleep(0.01)


def fill(url: str, topic: str, messages: list[Message], queues: int = 4) -> None:
    with Admin(url) as admin, Producer(url) as producer:
        if topic not in admin.topics():
            admin.create_topic(topic, queues=queues)
        producer.send_batch(messages)


def lag(url: str, group: str) -> int:
    with Admin(url) as admin:
        return admin.describe_group(group).lag


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def test_listeners_get_every_message_once_and_all_of_it_is_acked(kind: str, url: str) -> None:
    topic = f"every-{kind}"
    fill(url, topic, [Message(topic, b"%d" % n) for n in range(2_000)])
    seen: list[bytes] = []

    async def scenario() -> None:
        async with pushed(kind, url, group=topic, start_from="earliest") as twin:
            twin.consumer.subscribe(topic, "*", lambda message: seen.append(message.body))
            await twin.call("start")
            await until(lambda: len(seen) >= 2_000, "everything has come")
        assert sorted(seen) == sorted(b"%d" % n for n in range(2_000))
        assert lag(url, topic) == 0

    run(scenario())


def test_nothing_that_is_sent_after_start_is_missed(kind: str, url: str) -> None:
    topic = f"after-{kind}"
    fill(url, topic, [Message(topic, b"old")])
    seen: list[bytes] = []

    async def scenario() -> None:
        async with pushed(kind, url, group=topic) as twin:
            twin.consumer.subscribe(topic, "*", lambda message: seen.append(message.body))
            await twin.call("start")
            fill(url, topic, [Message(topic, b"new")] * 8)
            await until(lambda: len(seen) >= 8, "the new ones have come")
        assert seen == [b"new"] * 8

    run(scenario())


def test_batches_are_lists(kind: str, url: str) -> None:
    topic = f"batches-{kind}"
    fill(url, topic, [Message(topic, b"%d" % n) for n in range(100)])
    sizes: list[int] = []

    async def scenario() -> None:
        async with pushed(kind, url, group=topic, start_from="earliest") as twin:
            twin.consumer.subscribe(
                topic, "*", lambda messages: sizes.append(len(messages)), batch=10
            )
            await twin.call("start")
            await until(lambda: sum(sizes) >= 100, "everything has come")
        assert sum(sizes) == 100
        assert max(sizes) == 10
        assert lag(url, topic) == 0

    run(scenario())


def test_close_lets_listeners_finish_and_leaves_the_rest_to_others(kind: str, url: str) -> None:
    topic = f"drain-{kind}"
    fill(url, topic, [Message(topic, b"%d" % n) for n in range(200)])
    begun: list[bytes] = []
    ended: list[bytes] = []

    async def slow_task(message: ReceivedMessage) -> None:
        begun.append(message.body)
        await asyncio.sleep(0.05)
        ended.append(message.body)

    def slow_thread(message: ReceivedMessage) -> None:
        begun.append(message.body)
        time.sleep(0.05)
        ended.append(message.body)

    async def scenario() -> None:
        listener = slow_task if kind == "aio" else slow_thread
        options: dict[str, Any] = {"group": topic, "start_from": "earliest", "concurrency": 4}
        async with pushed(kind, url, **options) as twin:
            twin.consumer.subscribe(topic, "*", listener)
            await twin.call("start")
            await until(lambda: len(ended) >= 10, "some are done")
        assert begun == begun[: len(ended)] or sorted(begun) == sorted(ended)
        assert len(ended) < 200
        assert lag(url, topic) == 200 - len(ended), "all that is done is acked, nothing else"

    run(scenario())


def test_a_failed_message_comes_again_as_the_one_it_was(kind: str, url: str) -> None:
    topic = f"again-{kind}"
    fill(url, topic, [])
    seen: list[ReceivedMessage] = []

    def listener(message: ReceivedMessage) -> None:
        seen.append(message)
        if message.attempt < 3:
            raise Retry(delay=0.2)

    async def scenario() -> None:
        async with pushed(kind, url, group=topic) as twin:
            twin.consumer.subscribe(topic, "*", listener)
            await twin.call("start")
            with Producer(url) as producer:
                message = Message(topic, b"x", tag="a", keys=["k"], properties={"p": "v"})
                receipt = producer.send(message)
            await until(lambda: len(seen) >= 3, "it has come three times")
            await asyncio.sleep(0.3)
        assert [message.attempt for message in seen] == [1, 2, 3]
        for message in seen:
            assert message.message_id == receipt.message_id
            assert (message.topic, message.queue_id, message.offset) == (
                topic, receipt.queue_id, receipt.offset,
            )  # fmt: skip
            assert (message.tag, list(message.keys)) == ("a", ["k"])
            assert message.properties == {"p": "v"}
        assert lag(url, topic) == 0

    run(scenario())


def test_what_fails_for_good_is_a_dead_letter_and_can_be_sent_again(kind: str, url: str) -> None:
    topic = f"dead-{kind}"
    fill(url, topic, [])
    healthy = threading.Event()
    seen: list[ReceivedMessage] = []

    def listener(message: ReceivedMessage) -> Any:
        seen.append(message)
        if message.body == b"discard" and not healthy.is_set():
            return Discard("not wanted", dead_letter=True)
        if not healthy.is_set():
            raise ValueError("no such flight") from Retry()
        return None

    async def scenario() -> None:
        with Admin(url) as admin, Producer(url) as producer:
            async with pushed(kind, url, group=topic, max_attempts=1) as twin:
                twin.consumer.subscribe(topic, "*", listener)
                await twin.call("start")
                producer.send(Message(topic, b"fail", tag="a", properties={"p": "v"}))
                producer.send(Message(topic, b"discard"))
                await until(lambda: len(admin.dead_letters(topic)) == 2, "both are dead letters")
                letters = {letter.message.body: letter for letter in admin.dead_letters(topic)}
                failed = letters[b"fail"]
                assert failed.cause == "ValueError: no such flight"
                assert "listener" in failed.detail
                assert (failed.topic, failed.attempts) == (topic, 1)
                assert letters[b"discard"].cause == "Discard: not wanted"
                healthy.set()
                seen.clear()
                assert admin.resend_dead_letters(topic, [failed]) == 1
                await until(lambda: seen, "it has come again")
            assert [(m.body, m.tag, dict(m.properties)) for m in seen] == [
                (b"fail", "a", {"p": "v"})
            ]

    run(scenario())


def test_keys_keep_their_order_and_a_failing_one_holds_up_only_itself(kind: str, url: str) -> None:
    topic = f"ordered-{kind}"
    keys = [f"key-{n}" for n in range(10)]
    messages = [Message(topic, b"%d" % n, ordering_key=key) for n in range(50) for key in keys]
    fill(url, topic, messages)
    lock = threading.Lock()
    seen: dict[str, list[int]] = {key: [] for key in keys}
    failed_at: list[float] = []
    done_at: dict[str, float] = {}

    def listener(message: ReceivedMessage) -> None:
        key, number = message.ordering_key or "", int(message.body)
        if key == "key-3" and number == 5 and message.attempt < 3:
            failed_at.append(time.monotonic())
            raise ValueError("not yet")
        with lock:
            seen[key].append(number)
            done_at[key] = time.monotonic()

    async def scenario() -> None:
        options: dict[str, Any] = {"start_from": "earliest", "ordered": True, "suspend": 0.5}
        async with pushed(kind, url, group=topic, **options) as twin:
            twin.consumer.subscribe(topic, "*", listener)
            await twin.call("start")
            await until(lambda: sum(map(len, seen.values())) == 500, "everything is done")
        assert all(numbers == list(range(50)) for numbers in seen.values())
        assert len(failed_at) == 2
        assert failed_at[1] - failed_at[0] >= 0.5
        others = max(at for key, at in done_at.items() if key != "key-3")
        assert others < done_at["key-3"]
        assert lag(url, topic) == 0

    run(scenario())


def test_broadcasting_gives_everything_to_every_member(kind: str, url: str) -> None:
    topic = f"broadcast-{kind}"
    fill(url, topic, [])
    seen: dict[str, list[bytes]] = {"one": [], "two": []}

    async def scenario() -> None:
        options: dict[str, Any] = {"group": topic, "model": "broadcasting"}
        async with (
            pushed(kind, url, name="one", **options) as one,
            pushed(kind, url, name="two", **options) as two,
        ):
            for twin, name in ((one, "one"), (two, "two")):
                twin.consumer.subscribe(
                    topic, "*", lambda message, name=name: seen[name].append(message.body)
                )
                await twin.call("start")
            fill(url, topic, [Message(topic, b"%d" % n) for n in range(20)])
            await until(lambda: all(len(got) >= 20 for got in seen.values()), "both have all")
        fill(url, topic, [Message(topic, b"later")])
        async with pushed(kind, url, name="one", **options) as one:
            one.consumer.subscribe(topic, "*", lambda message: seen["one"].append(message.body))
            await one.call("start")
            await until(lambda: seen["one"][-1] == b"later", "it resumes by its name")
        assert len(seen["one"]) == 21

    run(scenario())


def test_a_message_that_takes_too_long_has_failed(kind: str, url: str) -> None:
    topic = f"slow-{kind}"
    fill(url, topic, [])
    seen: list[int] = []
    release = threading.Event()

    def hangs(message: ReceivedMessage) -> None:
        seen.append(message.attempt)
        release.wait(WAIT_SECONDS)

    async def hangs_too(message: ReceivedMessage) -> None:
        seen.append(message.attempt)
        await asyncio.sleep(WAIT_SECONDS)

    async def scenario() -> None:
        options: dict[str, Any] = {"max_attempts": 1, "message_timeout": 0.3}
        async with pushed(kind, url, group=topic, **options) as twin:
            twin.consumer.subscribe(topic, "*", hangs_too if kind == "aio" else hangs)
            await twin.call("start")
            fill(url, topic, [Message(topic, b"x")])
            with Admin(url) as admin:
                await until(lambda: admin.dead_letters(topic), "it is a dead letter")
                assert "TimeoutError" in admin.dead_letters(topic)[0].cause
            release.set()
        assert seen == [1]

    run(scenario())


def test_nothing_is_lost_when_every_process_of_the_broker_is_killed(kind: str, url: str) -> None:
    topic = f"kills-{kind}"
    fill(url, topic, [])
    seen: Counter[bytes] = Counter()

    async def scenario() -> None:
        options: dict[str, Any] = {"group": topic, "start_from": "earliest"}
        async with pushed(kind, url, **options) as one, pushed(kind, url, **options) as two:
            for twin in (one, two):
                twin.consumer.subscribe(topic, "*", lambda message: seen.update([message.body]))
                await twin.call("start")
            sent = 0
            with Admin(url) as admin, Producer(url, timeout=WAIT_SECONDS) as producer:
                for actor in ("shard-0", "coordinator", "router", "shard-1"):
                    for _ in range(5):
                        messages = [Message(topic, b"%d" % (sent + n)) for n in range(100)]
                        await asyncio.to_thread(producer.send_batch, messages)
                        sent += 100
                    os.kill(admin.stats(actor)["pid"], signal.SIGKILL)
                    await asyncio.sleep(0.2)
            await until(lambda: len(seen) == sent, "all have come")
        assert lag(url, topic) == 0
        assert sum(seen.values()) - sent <= 200, "only what was not acked yet comes again"

    run(scenario())


def test_stop_ends_wait_and_a_listener_may_call_it(url: str) -> None:
    fill(url, "stop", [])
    with PushConsumer(url, group="stop") as consumer:
        consumer.subscribe("stop", "*", lambda message: consumer.close())
        consumer.start()
        assert not consumer.wait(0.05)
        fill(url, "stop", [Message("stop", b"x")])
        assert consumer.wait(WAIT_SECONDS)
    assert lag(url, "stop") == 0
    with pytest.raises(errors.ClosedError):
        consumer.start()


def test_misuse_is_told(url: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="needs a group"):
        PushConsumer(url)
    with PushConsumer(url, group="misuse") as consumer:
        with pytest.raises(errors.InvalidArgument, match="listener"):
            consumer.subscribe("misuse")
        with pytest.raises(errors.InvalidArgument, match="coroutine"):
            consumer.subscribe("misuse", "*", asyncio.sleep)
        with pytest.raises(errors.InvalidArgument, match="not started"):
            consumer.wait()
        with pytest.raises(errors.InvalidArgument, match="nothing was subscribed to"):
            consumer.start()
