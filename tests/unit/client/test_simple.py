"""SimpleConsumer over a real socket: threads, closing, interruptions; the broker is a fake one."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from shardmq.actors.protocol.verbs import Verb
from shardmq.client import Message, Producer, ReceivedMessage, SimpleConsumer, errors
from support.clients import serve
from support.fake_broker import FakeBroker

WAIT_SECONDS = 20.0


class Served:
    """A broker with a topic of 4 queues on 2 shards, behind a socket."""

    def __init__(self, broker: FakeBroker, url: str) -> None:
        self.broker = broker
        self.url = url
        self.broker.create("t", 4)

    def send(self, count: int) -> None:
        with Producer(self.url) as producer:
            producer.send_batch([Message("t", b"%d" % n) for n in range(count)])

    @contextmanager
    def consumer(self, **how: Any) -> Iterator[SimpleConsumer]:
        self.broker.give("me", "t", 0, 1, 2, 3)
        with SimpleConsumer(self.url, group="g", name="me", **how) as consumer:
            consumer.subscribe("t")
            yield consumer

    def until_parked(self) -> None:
        began = time.monotonic()
        while len(self.broker.work.parked) < 2:
            assert time.monotonic() - began < WAIT_SECONDS, "nobody waits"
            time.sleep(0.005)


@pytest.fixture
def served() -> Iterator[Served]:
    broker = FakeBroker()
    with serve(broker) as url:
        yield Served(broker, url)


def failing(call: Callable[[], Any]) -> threading.Thread:
    """Runs it in a thread; `thread.error` is what it raised."""

    def run() -> None:
        try:
            call()
        except errors.ShardMQError as error:
            thread.error = error  # type: ignore[attr-defined]

    thread = threading.Thread(target=run)
    thread.error = None  # type: ignore[attr-defined]
    thread.start()
    return thread


def test_messages_are_received_acked_failed_and_kept_longer(served: Served) -> None:
    served.send(4)
    with served.consumer() as consumer:
        messages: list[ReceivedMessage] = []
        while len(messages) < 4:
            messages += consumer.receive(wait=1)
        assert {message.attempt for message in messages} == {1}
        consumer.ack(messages[0])
        consumer.nack(messages[1], delay=60, cause="no ink")
        consumer.nack([messages[2]], dead=True)
        before = messages[3].invisible_until
        consumer.change_invisible(messages[3], 600)
        after = messages[3].invisible_until
        assert before is not None
        assert after is not None
        assert (after - before).total_seconds() > 500
        assert consumer.receive(wait=0) == []
        assert (len(served.broker.work.done), len(served.broker.work.dead)) == (2, 1)


def test_a_consumer_that_got_nothing_has_nothing_to_settle(served: Served) -> None:
    with served.consumer() as consumer, pytest.raises(errors.InvalidArgument, match="nothing was"):
        consumer.ack([])


def test_too_late_is_an_error_that_names_the_messages(served: Served) -> None:
    served.send(1)
    with served.consumer() as consumer:
        [message] = consumer.receive(invisible_for=0.001)
        time.sleep(0.01)
        with pytest.raises(errors.ReceiptExpired) as caught:
            consumer.ack(message)
        assert caught.value.messages == [message]


def test_many_threads_share_a_consumer_and_each_message_goes_to_one(served: Served) -> None:
    served.send(300)
    with served.consumer() as consumer, ThreadPoolExecutor(8) as threads:

        def work(_: int) -> list[bytes]:
            got: list[bytes] = []
            while messages := consumer.receive(7, wait=0.3):
                consumer.ack(messages)
                got += [message.body for message in messages]
            return got

        got = [body for bodies in threads.map(work, range(8)) for body in bodies]
    assert sorted(got) == sorted(b"%d" % n for n in range(300))
    assert len(served.broker.work.done) == 300


def test_closing_ends_those_who_wait_and_may_be_repeated(served: Served) -> None:
    with served.consumer() as consumer:
        consumer.start()
        waiting = [failing(lambda: consumer.receive(wait=None)) for _ in range(3)]
        served.until_parked()
        consumer.close()
        for thread in waiting:
            thread.join(WAIT_SECONDS)
            assert isinstance(thread.error, errors.ClosedError)  # type: ignore[attr-defined]
        consumer.close()
        for call in (consumer.receive, consumer.start, lambda: consumer.ack([])):
            with pytest.raises(errors.ClosedError):
                call()
    assert served.broker.groups.left == ["me"]


def test_closing_waits_for_what_another_thread_settles(served: Served) -> None:
    served.send(1)
    with served.consumer() as consumer:
        messages = consumer.receive()
        held = threading.Event()
        served.broker.answer = lambda route, *_: (
            "lost" if route.verb == Verb.SETTLE and not held.is_set() else None
        )
        thread = failing(lambda: consumer.ack(messages))
        while consumer._group is not None and consumer._group.settler.is_idle:
            time.sleep(0.001)
        held.set()
        consumer.close()
        thread.join(WAIT_SECONDS)
        assert thread.error is None  # type: ignore[attr-defined]
    assert len(served.broker.work.done) == 1


def test_closing_ends_a_start_that_waits(served: Served) -> None:
    served.broker.answer = lambda route, *_: "lost" if route.verb == Verb.GROUP_JOIN else None
    with served.consumer() as consumer:
        thread = failing(consumer.start)
        while not any(route.verb == Verb.GROUP_JOIN for route, *_ in served.broker.seen):
            time.sleep(0.005)
        consumer.close()
        thread.join(WAIT_SECONDS)
        assert isinstance(thread.error, errors.ClosedError)  # type: ignore[attr-defined]


def test_a_start_that_failed_can_be_repeated(served: Served) -> None:
    served.broker.answer = lambda route, *_: "lost" if route.verb == Verb.GROUP_JOIN else None
    with served.consumer(timeout=0.2) as consumer:
        with pytest.raises(errors.TimedOut):
            consumer.receive()
        served.broker.answer = lambda *_: None
        served.broker.give("me", "t", 0, 1, 2, 3)
        served.send(1)
        assert len(consumer.receive()) == 1


def test_control_c_ends_a_receive_and_nothing_else(served: Served) -> None:
    with served.consumer() as consumer:
        consumer.start()

        def interrupt() -> None:
            served.until_parked()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            consumer.receive(wait=None)
        thread.join()
        served.send(1)
        assert len(consumer.receive(wait=WAIT_SECONDS)) == 1


def test_arguments_are_checked_before_anything_is_asked(served: Served) -> None:
    with pytest.raises(errors.InvalidArgument, match="group"):
        SimpleConsumer(served.url)
    with served.consumer() as consumer:
        with pytest.raises(errors.InvalidArgument, match="max_messages"):
            consumer.receive(0)
        consumer.start()
        with pytest.raises(errors.InvalidArgument, match="started"):
            consumer.subscribe("u")
        assert repr(consumer) == "<SimpleConsumer>"
    assert repr(consumer) == "<SimpleConsumer closed>"
    with (
        SimpleConsumer(served.url, group="g") as idle,
        pytest.raises(errors.InvalidArgument, match="nothing was subscribed"),
    ):
        idle.receive()


def test_one_that_is_never_closed_says_so(served: Served) -> None:
    consumer = SimpleConsumer(served.url, group="g")
    with pytest.warns(ResourceWarning, match="unclosed <SimpleConsumer>"):
        consumer.__del__()
    consumer.close()
