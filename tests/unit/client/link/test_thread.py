"""Connection: leaders, followers, timers and callbacks, against a fake broker over a socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from math import inf

import pytest

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import errors
from shardmq.client.link.asking import Asked, Request
from shardmq.client.link.core import State
from shardmq.client.link.sharing import new_core
from shardmq.client.link.thread import Connection
from shardmq.client.link.wire import now
from support.clients import serve
from support.fake_broker import FakeBroker


@pytest.fixture
def connection() -> Iterator[Connection]:
    with serve(FakeBroker()) as url:
        connection = Connection(url, new_core("test"))
        yield connection
        connection.close()


def ask(connection: Connection) -> Asked:
    requests = [Request(Verb.STATS, m.StatsRequest(), 0)]
    with connection.lock:
        return Asked(connection.core, requests, 10_000, now())


def settled(asked: Asked) -> bool:
    return asked.settled


def test_who_waits_drives_the_connection(connection: Connection) -> None:
    asked = ask(connection)
    assert connection.wait(lambda: asked.settled, 10_000)


def test_a_wait_ends_at_its_timeout(connection: Connection) -> None:
    assert not connection.wait(lambda: False, 20)


def test_many_threads_wait_at_once_and_each_is_woken(connection: Connection) -> None:
    ended: list[bool] = []

    def work() -> None:
        for _ in range(20):
            ended.append(connection.wait(partial(settled, ask(connection)), 10_000))

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert ended == [True] * 160


def test_the_io_thread_drives_while_nobody_waits(connection: Connection) -> None:
    done = threading.Event()

    def start(at: Now) -> None:
        connection.core.timers.at(at.mono_ms + 5, lambda now: done.set())

    connection.run(start)
    assert done.wait(10), "a timer is run by the I/O thread"


def test_a_leader_learns_of_what_another_thread_did(connection: Connection) -> None:
    flag: list[bool] = []
    waiting = threading.Thread(target=lambda: connection.wait(lambda: bool(flag), 60_000))
    waiting.start()
    while connection._leader is None:
        threading.Event().wait(0.001)
    connection.run(lambda now: flag.append(True))
    waiting.join(10)
    assert not waiting.is_alive()


def test_callbacks_run_without_the_lock(connection: Connection) -> None:
    done = threading.Event()

    def call() -> None:
        asked = ask(connection)
        connection.wait(lambda: asked.settled, 10_000)
        done.set()

    connection.later(call)
    assert done.wait(10)


def test_a_callback_that_raises_is_logged_and_stops_nothing(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    called, done = threading.Event(), threading.Event()

    def fail() -> None:
        raise ZeroDivisionError("the user's own")

    def start(at: Now) -> None:
        connection.core.timers.at(at.mono_ms + 5, lambda now: done.set())

    connection.later(fail)
    connection.later(called.set)
    assert called.wait(10)
    assert "the user's own" in caplog.text
    connection.run(start)
    assert done.wait(10), "the I/O thread still looks after timers"


def test_a_close_runs_the_callbacks_that_are_due_first() -> None:
    for _ in range(20):
        with serve(FakeBroker()) as url:
            connection = Connection(url, new_core("test"))
            called: list[int] = []
            with connection.lock:
                for number in range(10):
                    connection.later(partial(called.append, number))
            connection.close()
        assert called == list(range(10))


def test_a_callback_may_close_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    with serve(FakeBroker()) as url:
        connection = Connection(url, new_core("test"))
        connection.later(connection.close)
        connection._thread.join(10)
    assert not connection._thread.is_alive()
    assert caplog.text == ""


def test_a_close_sends_away_whoever_waits() -> None:
    with serve(FakeBroker()) as url:
        connection = Connection(url, new_core("test"))
        ended: list[bool] = []
        threads = [
            threading.Thread(target=lambda: ended.append(connection.wait(lambda: False)))
            for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        while connection._inside < 5:
            threading.Event().wait(0.001)
        connection.close()
        for thread in threads:
            thread.join(10)
    assert ended == [False] * 5
    assert not connection.wait(lambda: False), "closed is closed"


def test_after_a_fork_every_use_is_an_error(connection: Connection) -> None:
    lock = connection.lock
    connection.forked()
    with pytest.raises(errors.ForkedError, match="parent"):
        connection.wait(lambda: True)
    connection.lock = lock


def test_the_socket_is_watched_while_an_answer_may_come_and_nobody_waits(
    connection: Connection,
) -> None:
    first = ask(connection)
    assert connection.wait(lambda: first.settled, 10_000)
    second = ask(connection)
    connection.run(lambda now: None)
    assert connection._watched or second.settled
    third = ask(connection)
    assert connection.wait(lambda: second.settled and third.settled, 10_000)


def test_news_of_the_transport_are_heard_while_nobody_waits() -> None:
    with serve(FakeBroker()) as url:
        connection = Connection(url, new_core("test"))
        asked = ask(connection)
        assert connection.wait(lambda: asked.settled, 10_000)
    assert connection.wait(lambda: connection.core.state is State.DOWN, 10_000)
    connection.close()


def test_the_io_thread_sleeps_to_the_next_timer_while_others_lead(connection: Connection) -> None:
    for _ in range(10):
        asked = ask(connection)
        assert connection.wait(partial(settled, asked), 10_000)
    assert connection._thread_until_ms < inf, "else each leader that leaves would have to wake it"
