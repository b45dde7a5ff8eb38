"""SimpleConsumer over a real socket: threads, closing, interruptions; the broker is a fake one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from shardmq.actors.protocol.verbs import Verb
from shardmq.client import ReceivedMessage, SimpleConsumer, errors
from shardmq.client.link import sharing
from shardmq.client.work.sources import Wish
from support.served_work import ServedWork, served_work

WAIT_SECONDS = 20.0


@pytest.fixture
def served() -> Iterator[ServedWork]:
    with served_work() as served:
        yield served


@contextmanager
def joined(served: ServedWork, **how: Any) -> Iterator[SimpleConsumer]:
    with SimpleConsumer(served.url, group="g", name="me", **how) as consumer:
        consumer.subscribe("t")
        yield consumer


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


def test_messages_are_received_acked_failed_and_kept_longer(served: ServedWork) -> None:
    served.send(4)
    with joined(served) as consumer:
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


def test_a_consumer_that_got_nothing_has_nothing_to_settle(served: ServedWork) -> None:
    with joined(served) as consumer, pytest.raises(errors.InvalidArgument, match="nothing was"):
        consumer.ack([])


def test_too_late_is_an_error_that_names_the_messages(served: ServedWork) -> None:
    served.send(1)
    with joined(served) as consumer:
        [message] = consumer.receive(invisible_for=5)
        served.pass_time(5_000)
        with pytest.raises(errors.ReceiptExpired) as caught:
            consumer.ack(message)
        assert caught.value.messages == [message]


def test_many_threads_share_a_consumer_and_each_message_goes_to_one(served: ServedWork) -> None:
    served.send(300)
    with joined(served) as consumer, ThreadPoolExecutor(8) as threads:

        def work(_: int) -> list[bytes]:
            got: list[bytes] = []
            while messages := consumer.receive(7, wait=0.3):
                consumer.ack(messages)
                got += [message.body for message in messages]
            return got

        got = [body for bodies in threads.map(work, range(8)) for body in bodies]
    assert sorted(got) == sorted(b"%d" % n for n in range(300))
    assert len(served.broker.work.done) == 300


def test_closing_ends_those_who_wait_and_may_be_repeated(served: ServedWork) -> None:
    with joined(served) as consumer:
        consumer.start()
        waiting = [failing(lambda: consumer.receive(wait=None)) for _ in range(3)]
        served.until(lambda: served.is_waited_at)
        consumer.close()
        for thread in waiting:
            thread.join(WAIT_SECONDS)
            assert isinstance(thread.error, errors.ClosedError)  # type: ignore[attr-defined]
        consumer.close()
        for call in (consumer.receive, consumer.start, lambda: consumer.ack([])):
            with pytest.raises(errors.ClosedError):
                call()
    assert served.broker.groups.left == ["me"]


def test_closing_waits_for_what_another_thread_settles(served: ServedWork) -> None:
    served.send(1)
    with joined(served) as consumer:
        messages = consumer.receive()
        served.lose(Verb.SETTLE)
        thread = failing(lambda: consumer.ack(messages))
        served.until(lambda: served.was_asked(Verb.SETTLE))
        served.find()
        consumer.close()
        thread.join(WAIT_SECONDS)
        assert thread.error is None  # type: ignore[attr-defined]
    assert len(served.broker.work.done) == 1


def test_closing_gives_back_what_is_just_being_handed_out(served: ServedWork) -> None:
    served.send(4)
    with joined(served) as consumer:
        consumer.start()
        served.lose(Verb.RECEIVE)
        thread = failing(lambda: consumer.receive(10, invisible_for=3_600, wait=None))
        served.until(lambda: served.was_asked(Verb.RECEIVE))
        served.find()
        consumer.close()
        thread.join(WAIT_SECONDS)
        assert isinstance(thread.error, errors.ClosedError)  # type: ignore[attr-defined]
    rows = served.broker.work.rows.values()
    assert rows
    assert {(row.is_held, row.attempt) for row in rows} == {(False, 0)}


def test_what_is_given_back_comes_again_at_once_as_if_it_had_never_come(
    served: ServedWork,
) -> None:
    served.send(1)
    with joined(served) as consumer:
        for _ in range(3):
            [message] = consumer.receive(invisible_for=600)
            assert message.attempt == 1
            consumer.give_back(message)
        with pytest.raises(errors.ReceiptExpired):
            consumer.ack([message])


def test_an_interrupt_just_as_messages_came_gives_them_back(served: ServedWork) -> None:
    served.send(1)
    with joined(served) as consumer:
        consumer.start()
        assert consumer._group is not None
        receiver = consumer._group.receiver
        take = receiver.take

        def interrupted(wish: Wish) -> list[ReceivedMessage]:
            take(wish)
            raise KeyboardInterrupt

        receiver.take = interrupted
        with pytest.raises(KeyboardInterrupt):
            consumer.receive(invisible_for=3_600)
        receiver.take = take
        assert [message.attempt for message in consumer.receive()] == [1]


def test_a_close_that_is_interrupted_gives_its_connection_back_once(served: ServedWork) -> None:
    with joined(served) as consumer, joined(served) as other:
        consumer.start()
        assert consumer._group is not None

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        consumer._group.receiver.stop = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            consumer.close()
        consumer.close()
        served.until(lambda: served.broker.groups.left == ["me"])
        served.give()
        served.send(1)
        assert len(other.receive()) == 1, "the connection that they shared is still open"
    assert served.url not in sharing._open


def test_many_may_close_at_once(served: ServedWork) -> None:
    with joined(served) as consumer, joined(served) as other, ThreadPoolExecutor(8) as threads:
        consumer.start()
        for closing in [threads.submit(consumer.close) for _ in range(8)]:
            closing.result()
        served.give()
        served.send(1)
        assert len(other.receive()) == 1


def test_closing_ends_a_start_that_waits(served: ServedWork) -> None:
    served.lose(Verb.GROUP_JOIN)
    with joined(served) as consumer:
        thread = failing(consumer.start)
        served.until(lambda: served.was_asked(Verb.GROUP_JOIN))
        consumer.close()
        thread.join(WAIT_SECONDS)
        assert isinstance(thread.error, errors.ClosedError)  # type: ignore[attr-defined]


def test_a_start_that_failed_can_be_repeated(served: ServedWork) -> None:
    served.lose(Verb.GROUP_JOIN)
    with joined(served, timeout=0.2) as consumer:
        with pytest.raises(errors.TimedOut):
            consumer.receive()
        served.find()
        served.give()
        served.send(1)
        assert len(consumer.receive()) == 1


def test_control_c_ends_a_receive_and_nothing_else(served: ServedWork) -> None:
    with joined(served) as consumer:
        consumer.start()

        def interrupt() -> None:
            served.until(lambda: served.is_waited_at)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            consumer.receive(wait=None)
        thread.join()
        served.send(1)
        assert len(consumer.receive(wait=WAIT_SECONDS)) == 1


def test_arguments_are_checked_before_anything_is_asked(served: ServedWork) -> None:
    with pytest.raises(errors.InvalidArgument, match="group"):
        SimpleConsumer(served.url)
    with joined(served) as consumer:
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


def test_one_that_is_never_closed_says_so(served: ServedWork) -> None:
    consumer = SimpleConsumer(served.url, group="g")
    with pytest.warns(ResourceWarning, match="unclosed <SimpleConsumer>"):
        consumer.__del__()
    consumer.close()
