"""Work queues with a real broker: each message to one, for a while, settled one by one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from shardmq.client import Admin, Message, Producer, ReceivedMessage, SimpleConsumer, aio, errors
from shardmq.router import Broker

WAIT_SECONDS = 20.0
SHARDS = 2


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("broker") / "data"
    with Broker(str(data), shards=SHARDS, listen="tcp://127.0.0.1:0") as broker:
        yield broker.url


def until(true: Callable[[], object], what: str) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < WAIT_SECONDS, f"{what}: not within {WAIT_SECONDS} s"
        time.sleep(0.01)


def create(url: str, topic: str, queues: int = 4) -> None:
    with Admin(url) as admin:
        admin.create_topic(topic, queues=queues)


def send(url: str, topic: str, *bodies: bytes, **how: Any) -> None:
    with Producer(url, timeout=WAIT_SECONDS) as producer:
        producer.send_batch([Message(topic, body, **how) for body in bodies])


@contextmanager
def working(url: str, topic: str, **how: Any) -> Iterator[SimpleConsumer]:
    """A consumer of a group that is called as its topic."""
    with SimpleConsumer(url, **{"group": topic, "start_from": "earliest", **how}) as consumer:
        consumer.subscribe(topic)
        consumer.start()
        yield consumer


def received(consumer: SimpleConsumer, count: int, **how: Any) -> list[ReceivedMessage]:
    """So many messages, in the order in which they came."""
    got: list[ReceivedMessage] = []
    began = time.monotonic()
    while len(got) < count:
        assert time.monotonic() - began < WAIT_SECONDS, f"only {len(got)} of {count} came"
        got += consumer.receive(count - len(got), wait=1, **how)
    return got


def kill(url: str, actor: str) -> None:
    with Admin(url) as admin:
        os.kill(admin.stats(actor)["pid"], signal.SIGKILL)


def lag(url: str, group: str) -> int:
    with Admin(url) as admin:
        return admin.describe_group(group).lag


def test_many_consumers_share_all_queues_and_each_message_goes_to_one(url: str) -> None:
    create(url, "many", queues=3)
    seen: Counter[bytes] = Counter()
    guard = threading.Lock()
    with ThreadPoolExecutor(12) as threads:

        def work(consumer: SimpleConsumer) -> int:
            done = 0
            while messages := consumer.receive(7, wait=1.5):
                consumer.ack(messages)
                done += len(messages)
                with guard:
                    seen.update(message.body for message in messages)
            return done

        with working(url, "many") as one, working(url, "many") as two, working(url, "many") as six:
            loads = [threads.submit(work, each) for each in (one, two, six) for _ in range(4)]
            for part in range(10):
                send(url, "many", *(b"%d" % n for n in range(100 * part, 100 * part + 100)))
            assert sum(load.result() for load in loads) == 1_000
    assert seen == Counter(b"%d" % n for n in range(1_000))
    assert lag(url, "many") == 0


def test_a_message_is_as_it_was_sent(url: str) -> None:
    create(url, "whole")
    send(url, "whole", b"x", tag="red", keys=["k"], properties={"p": "v"}, ordering_key="o")
    with working(url, "whole") as consumer:
        [message] = received(consumer, 1, invisible_for=60)
        assert (message.topic, message.body, message.tag) == ("whole", b"x", "red")
        assert (message.keys, message.properties, message.ordering_key) == (("k",), {"p": "v"}, "o")
        assert (message.attempt, message.offset) == (1, 0)
        assert message.invisible_until is not None
        left = message.invisible_until.timestamp() - time.time()
        assert 50 < left <= 61
        described = None
        with Admin(url) as admin:
            described = admin.describe_group("whole")
        assert (described.lag, described.in_flight) == (1, 1)
        assert {queue.owner for queue in described.queues} == {"*"}


def test_only_the_messages_that_the_group_wants_come(url: str) -> None:
    create(url, "tags")
    send(url, "tags", b"a", b"b", tag="red")
    send(url, "tags", b"c", tag="blue")
    send(url, "tags", b"d")
    with SimpleConsumer(url, "tags", start_from="earliest") as consumer:
        consumer.subscribe("tags", "blue || green")
        assert [message.body for message in received(consumer, 1)] == [b"c"]
        assert consumer.receive(wait=0.2) == []


def test_who_waits_is_woken_by_what_is_sent(url: str) -> None:
    create(url, "wake")
    with working(url, "wake", start_from="latest") as consumer, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(consumer.receive, wait=WAIT_SECONDS)
        time.sleep(0.2)
        began = time.monotonic()
        send(url, "wake", b"x")
        [message] = waiting.result()
        assert time.monotonic() - began < WAIT_SECONDS / 2
        consumer.ack(message)


def test_what_is_not_settled_in_time_comes_again_and_its_receipt_has_expired(url: str) -> None:
    create(url, "late")
    send(url, "late", b"a", b"b", b"c")
    with working(url, "late") as consumer, working(url, "late") as other:
        first = received(consumer, 3, invisible_for=1)
        consumer.ack(first[1])
        assert other.receive(wait=0) == []
        again = received(other, 2)
        assert {message.body for message in again} == {first[0].body, first[2].body}
        assert [message.attempt for message in again] == [2, 2]
        with pytest.raises(errors.ReceiptExpired) as caught:
            consumer.ack(first)
        assert caught.value.messages == [first[0], first[2]]
        with pytest.raises(errors.InvalidArgument, match="this consumer"):
            consumer.ack(again)
        other.ack(again)
    assert lag(url, "late") == 0


def test_a_failed_message_comes_again_after_its_delay(url: str) -> None:
    create(url, "fails")
    send(url, "fails", b"a", b"b")
    with working(url, "fails") as consumer:
        soon, later = received(consumer, 2)
        consumer.nack(soon, delay=0.4, cause="no ink")
        consumer.nack(later, delay=60)
        began = time.monotonic()
        [again] = received(consumer, 1)
        assert time.monotonic() - began > 0.3
        assert (again, again.attempt) == (soon, 2)
        assert again.message_id == soon.message_id
        with pytest.raises(errors.ReceiptExpired):
            consumer.ack(soon)
        consumer.ack(again)


def test_a_message_stays_for_as_long_as_it_is_wanted(url: str) -> None:
    create(url, "keep")
    send(url, "keep", b"a", b"b")
    with working(url, "keep") as consumer:
        kept, back = received(consumer, 2, invisible_for=1)
        consumer.change_invisible(kept, 60)
        consumer.change_invisible(back, 0.001)
        assert kept.invisible_until is not None
        assert kept.invisible_until.timestamp() > time.time() + 50
        time.sleep(1.1)
        [again] = received(consumer, 1)
        assert (again, again.attempt) == (back, 2)
        assert consumer.receive(wait=0) == []
        consumer.ack([kept, again])


def test_what_fails_too_often_is_a_dead_letter(url: str) -> None:
    create(url, "dead")
    send(url, "dead", b"nacked", b"silent", b"dead", b"done")
    with working(url, "dead", max_attempts=2) as consumer:
        for attempt in (1, 2):
            wanted = 4 if attempt == 1 else 2
            messages = {one.body: one for one in received(consumer, wanted)}
            assert {one.attempt for one in messages.values()} == {attempt}
            try:
                raise ValueError("no ink")
            except ValueError as error:
                consumer.nack(messages[b"nacked"], delay=0, cause=error)
            consumer.change_invisible(messages[b"silent"], 0.001)
            if attempt == 1:
                consumer.ack(messages[b"done"])
                consumer.nack(messages[b"dead"], dead=True, cause="hopeless")
        assert consumer.receive(wait=0.2) == [], "the last one is a dead letter, too"
    with Admin(url) as admin:
        until(lambda: len(admin.dead_letters("dead")) == 3, "three are dead letters")
        letters = {letter.message.body: letter for letter in admin.dead_letters("dead")}
        assert letters[b"nacked"].cause == "ValueError: no ink"
        assert "test_work_queues.py" in letters[b"nacked"].detail
        assert letters[b"dead"].cause == "hopeless"
        assert [letters[body].attempts for body in (b"nacked", b"silent", b"dead")] == [2, 2, 1]
    assert lag(url, "dead") == 0


def test_a_killed_shard_remembers_who_has_what_and_how_often_he_got_it(url: str) -> None:
    create(url, "kills")
    send(url, "kills", *(b"%d" % n for n in range(100)))
    with working(url, "kills") as consumer:
        received(consumer, 40, invisible_for=0.3)
        time.sleep(0.4)
        held = received(consumer, 100, invisible_for=60)
        attempts = Counter(message.attempt for message in held)
        assert attempts == {1: 60, 2: 40}
        for actor in range(SHARDS):
            kill(url, f"shard-{actor}")
        assert consumer.receive(wait=1.5) == [], "they are still invisible"
        consumer.ack(held[:50])
        consumer.nack(held[50:], delay=0)
        third = received(consumer, 50)
        assert {message.attempt for message in third} - {2, 3} <= {4}, "a lost answer counts, too"
        consumer.ack(third)
    assert lag(url, "kills") == 0


@pytest.mark.parametrize("actor", ["router", "coordinator", "shard-1"])
def test_killed_processes_lose_nothing_and_end_no_receive(url: str, actor: str) -> None:
    topic = f"kill-{actor}"
    create(url, topic)
    seen: Counter[bytes] = Counter()
    with working(url, topic) as consumer, ThreadPoolExecutor(2) as threads:

        def work() -> None:
            while len(seen) < 200:
                messages = consumer.receive(5, wait=0.5)
                consumer.ack(messages)
                seen.update(message.body for message in messages)

        workers = [threads.submit(work) for _ in range(2)]
        send(url, topic, *(b"%d" % n for n in range(100)))
        kill(url, actor)
        send(url, topic, *(b"%d" % n for n in range(100, 200)))
        for worker in workers:
            worker.result(WAIT_SECONDS)
    assert set(seen) == {b"%d" % n for n in range(200)}
    assert lag(url, topic) == 0


def test_a_fifo_group_keeps_the_order_of_each_queue(url: str) -> None:
    create(url, "fifo", queues=2)
    for n in range(60):
        send(url, "fifo", b"%d" % n, ordering_key="abcd"[n % 4])
    seen: dict[int, list[int]] = {}
    busy: set[int] = set()
    guard = threading.Lock()

    def work(consumer: SimpleConsumer) -> None:
        while messages := consumer.receive(3, wait=1):
            queues = {message.queue_id for message in messages}
            with guard:
                assert not queues & busy, "a queue is in two hands"
                busy.update(queues)
            time.sleep(0.002)
            with guard:
                for message in messages:
                    seen.setdefault(message.queue_id, []).append(message.offset)
                busy.difference_update(queues)
            consumer.ack(messages)

    with (
        working(url, "fifo", fifo=True) as one,
        working(url, "fifo", fifo=True) as two,
        ThreadPoolExecutor(4) as threads,
    ):
        for done in [threads.submit(work, each) for each in (one, two) for _ in range(2)]:
            done.result(WAIT_SECONDS)
    assert sum(map(len, seen.values())) == 60
    assert all(offsets == list(range(len(offsets))) for offsets in seen.values())


def test_a_reset_voids_what_is_in_hand(url: str) -> None:
    create(url, "reset")
    send(url, "reset", b"a", b"b")
    with working(url, "reset") as consumer, Admin(url) as admin:
        before = received(consumer, 2)
        consumer.ack(before[0])
        admin.reset_offsets("reset", "reset", to="earliest")
        after = received(consumer, 2)
        assert [message.attempt for message in after] == [1, 1]
        with pytest.raises(errors.ReceiptExpired) as caught:
            consumer.ack(before[1])
        assert caught.value.messages == [before[1]]
        consumer.ack(after)


def test_a_consumer_that_is_killed_while_it_waits_has_received_nothing(url: str) -> None:
    create(url, "idle")
    code = f"""
        from shardmq.client import SimpleConsumer
        with SimpleConsumer({url!r}, "idle", start_from="earliest") as consumer:
            consumer.subscribe("idle")
            consumer.start()
            print("ready", flush=True)
            consumer.receive(wait=None)
    """
    words = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        process.kill()
    send(url, "idle", b"x")
    with working(url, "idle") as consumer:
        [message] = received(consumer, 1)
        assert message.attempt == 1
        consumer.ack(message)


def test_the_asyncio_twin_does_all_of_it(url: str) -> None:
    create(url, "twin")
    send(url, "twin", *(b"%d" % n for n in range(200)))
    seen: Counter[bytes] = Counter()

    async def work(consumer: aio.SimpleConsumer) -> None:
        while messages := await consumer.receive(9, wait=1):
            first, *others = messages
            if first.attempt == 1:
                await consumer.nack(first, delay=0)
            else:
                others = messages
            await consumer.ack(others)
            seen.update(message.body for message in others)

    async def scenario() -> None:
        async with aio.SimpleConsumer(url, "twin", start_from="earliest") as consumer:
            consumer.subscribe("twin")
            await asyncio.gather(*(work(consumer) for _ in range(8)))

    asyncio.run(scenario())
    assert seen == Counter(b"%d" % n for n in range(200))
    assert lag(url, "twin") == 0


def test_members_of_another_model_are_refused(url: str) -> None:
    create(url, "model")
    with (
        working(url, "model"),
        pytest.raises(errors.ShardMQError, match="work"),
        working(url, "model", fifo=True),
    ):
        pass
