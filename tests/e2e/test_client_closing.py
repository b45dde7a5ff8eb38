"""Closing when the broker is gone: nobody waits for somebody who cannot be told, but for what may
be lost; and Ctrl-C ends every wait."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shardmq.client import (
    Admin,
    Message,
    Producer,
    PullConsumer,
    PushConsumer,
    ReceivedMessage,
    SimpleConsumer,
    aio,
    errors,
)
from support.cli import environment

SOON_SECONDS = 2.5
"""A second that a broker may be away, and what a busy machine takes."""
WAIT_SECONDS = 20.0

PROGRAM = """
    import sys, time
    from shardmq.router import Broker
    with Broker(sys.argv[1], shards=1, listen="tcp://127.0.0.1:0", log_level="error") as broker:
        print(broker.url, flush=True)
        time.sleep(600)
"""


class Doomed:
    """A broker with a few messages in topic `t`, that can be killed."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self.url = url
        with Admin(url) as admin:
            admin.create_topic("t", queues=2)
        with Producer(url) as producer:
            producer.send_batch([Message("t", b"%d" % n) for n in range(20)])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        host, port = self.url.removeprefix("tcp://").split(":")
        while True:  # its processes die with it, a moment later
            try:
                socket.create_connection((host, int(port))).close()
            except OSError:
                return


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Doomed]:
    words = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path / "data")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        try:
            yield Doomed(process, process.stdout.readline().strip())
        finally:
            process.kill()


def seconds_of(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Ctrl-C comes; whoever waits in here leaves within a moment."""
    main = threading.main_thread().ident or 0
    timer = threading.Timer(seconds, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        yield
    assert time.monotonic() - began < seconds + SOON_SECONDS
    timer.join()


def pulling(kind: Any, url: str) -> Any:
    consumer = kind(url, group="pull", commit_interval=600)
    consumer.subscribe("t")
    return consumer


def pushing(kind: Any, url: str, listener: Callable[[object], object]) -> Any:
    consumer = kind(url, "push", start_from="earliest", commit_interval=600)
    consumer.subscribe("t", "*", listener)
    return consumer


def working(kind: Any, url: str) -> Any:
    consumer = kind(url, "work", start_from="earliest")
    consumer.subscribe("t")
    return consumer


def ack_in_vain(consumer: SimpleConsumer, messages: list[ReceivedMessage]) -> None:
    with pytest.raises(errors.ClosedError):
        consumer.ack(messages)


def test_no_consumer_waits_for_a_broker_that_is_gone_and_the_log_says_what_it_was_not_told(
    broker: Doomed, caplog: pytest.LogCaptureFixture
) -> None:
    gate, seen = threading.Event(), threading.Event()

    def fail_later(message: object) -> None:
        seen.set()
        gate.wait()
        raise ValueError(message)

    pull, work = pulling(PullConsumer, broker.url), working(SimpleConsumer, broker.url)
    assert pull.poll(timeout=WAIT_SECONDS)
    push = pushing(PushConsumer, broker.url, fail_later)
    push.start()
    assert seen.wait(WAIT_SECONDS)
    messages = work.receive(5, wait=WAIT_SECONDS)
    admin, producer = Admin(broker.url), Producer(broker.url)
    producer.send(Message("t", b"one more"))
    broker.kill()
    gate.set()
    acking = threading.Thread(target=ack_in_vain, args=(work, messages))
    acking.start()
    caplog.set_level(logging.WARNING, "shardmq.client")
    for one in (admin, producer, pull, push, work):
        assert seconds_of(one.close) < SOON_SECONDS, one
    acking.join()
    told = "\n".join(caplog.messages)
    assert "the last commit failed, some messages of queue" in told
    assert "messages that failed" in told
    assert f"what became of {len(messages)} messages" in told
    for group in ("pull", "push", "work"):
        assert f"a member of group '{group}' is closed, and no broker was told" in told


def test_no_asyncio_consumer_waits_for_a_broker_that_is_gone(
    broker: Doomed, caplog: pytest.LogCaptureFixture
) -> None:
    async def all_of_them() -> None:
        seen = asyncio.Event()
        pull, work = pulling(aio.PullConsumer, broker.url), working(aio.SimpleConsumer, broker.url)
        assert await pull.poll(timeout=WAIT_SECONDS)
        push = pushing(aio.PushConsumer, broker.url, lambda message: seen.set())
        await push.start()
        await asyncio.wait_for(seen.wait(), WAIT_SECONDS)
        assert await work.receive(5, wait=WAIT_SECONDS)
        admin, producer = aio.Admin(broker.url), aio.Producer(broker.url)
        await producer.send(Message("t", b"one more"))
        broker.kill()
        for one in (admin, producer, pull, push, work):
            began = time.monotonic()
            await one.close()
            assert time.monotonic() - began < SOON_SECONDS, one

    asyncio.run(all_of_them())
    assert "the last commit failed, some messages of queue" in caplog.text
    assert caplog.text.count("it left (its lease runs out)") == 3


def test_a_listener_at_work_is_waited_for_though_the_broker_is_gone(broker: Doomed) -> None:
    gate, seen, done = threading.Event(), threading.Event(), threading.Event()

    def listener(message: object) -> None:
        seen.set()
        gate.wait()
        done.set()

    push = pushing(PushConsumer, broker.url, listener)
    push.start()
    assert seen.wait(WAIT_SECONDS)
    broker.kill()
    threading.Timer(3.0, gate.set).start()
    push.close()
    assert done.is_set()


def test_a_producer_waits_for_what_may_be_lost_to_its_deadline(broker: Doomed) -> None:
    producer = Producer(broker.url, timeout=4.0)
    producer.send(Message("t", b"before"))
    broker.kill()
    future = producer.send_async(Message("t", b"after"))
    assert 3.5 < seconds_of(producer.close) < 4.0 + SOON_SECONDS
    with pytest.raises((errors.SendFailed, errors.SendUnknown)):
        future.result()


def test_control_c_ends_a_close_that_waits(broker: Doomed) -> None:
    gate, seen = threading.Event(), threading.Event()

    def listener(message: object) -> None:
        seen.set()
        gate.wait()

    producer = Producer(broker.url, timeout=300.0)
    push = pushing(PushConsumer, broker.url, listener)
    push.start()
    assert seen.wait(WAIT_SECONDS)
    with interrupted_after(0.5):
        push.close()
    gate.set()
    with Admin(broker.url) as admin:
        give_up = time.monotonic() + WAIT_SECONDS
        while admin.describe_group("push").members:
            assert time.monotonic() < give_up, "it keeps no queues, though its close was cut short"
    broker.kill()
    producer.send_async(Message("t", b"after"))
    with interrupted_after(0.5):
        producer.close()
    assert "closed" in repr(push)
    assert "closed" in repr(producer)
