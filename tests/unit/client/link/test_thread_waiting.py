"""Connection.see_through: many threads wait, and leave without the lock when they are woken."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import errors
from shardmq.client.link.calls import Call, Reply
from shardmq.client.link.sharing import new_core
from shardmq.client.link.thread import Connection
from shardmq.client.link.wire import now
from support.clients import serve
from support.fake_broker import FakeBroker


class Wish:
    """Settled by the answer to one request, or by a test."""

    def __init__(self, connection: Connection, wait_ms: float = 60_000.0) -> None:
        self.settled = False
        self.until_ms = now().mono_ms + wait_ms
        self._core = connection.core

    def ask(self, _: Wish, at: Now) -> None:
        header = encode_header(m.StatsRequest())
        deadline_ms = at.mono_ms + 10_000
        self._core.submit(Call(Verb.STATS, header, self._came, deadline_ms=deadline_ms), at)

    def _came(self, reply: Reply, at: Now) -> None:
        del reply, at
        self.settled = True


def nothing(wish: Wish, at: Now) -> None:
    """A change that changes nothing."""


@pytest.fixture
def connection() -> Iterator[Connection]:
    with serve(FakeBroker()) as url:
        connection = Connection(url, new_core("test"))
        yield connection
        connection.close()


def waiting(connection: Connection, wish: Wish) -> threading.Thread:
    """A thread that waits for a wish, asleep when this returns."""
    errors_seen: list[BaseException] = []

    def work() -> None:
        try:
            connection.see_through(wish, nothing)
        except errors.ClosedError as error:
            errors_seen.append(error)

    inside = connection._inside
    thread = threading.Thread(target=work)
    thread.errors = errors_seen  # type: ignore[attr-defined]
    thread.start()
    while connection._inside == inside or connection._leader is None:
        threading.Event().wait(0.001)
    return thread


def test_who_is_alone_drives_the_connection(connection: Connection) -> None:
    wish = Wish(connection)
    connection.see_through(wish, wish.ask)
    assert wish.settled
    assert connection._inside == 0
    assert not connection.lock.locked()


def test_many_threads_wait_at_once_and_each_is_woken_and_counted_out(
    connection: Connection,
) -> None:
    wishes = [Wish(connection) for _ in range(160)]

    def work(some: list[Wish]) -> None:
        for wish in some:
            connection.see_through(wish, wish.ask)

    workers = [threading.Thread(target=work, args=(wishes[n::8],)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert all(wish.settled for wish in wishes)
    assert (connection._inside, connection._waiters) == (0, [])


def test_who_is_woken_does_not_want_the_lock_again(connection: Connection) -> None:
    leading, wish = Wish(connection), Wish(connection)
    leader, follower = waiting(connection, leading), waiting(connection, wish)
    with connection.lock:
        wish.settled = True
        connection.turn()
        follower.join(10)
        assert not follower.is_alive(), "though somebody holds the lock"
        leading.settled = True
        connection.turn()
    leader.join(10)
    assert connection._inside == 0


def test_each_ends_at_its_time_the_first_and_those_behind_it(connection: Connection) -> None:
    first, second = Wish(connection, 300), Wish(connection, 30)
    leader, follower = waiting(connection, first), waiting(connection, second)
    follower.join(10)
    leader.join(10)
    assert not first.settled
    assert now().mono_ms >= first.until_ms
    assert (connection._inside, connection._waiters) == (0, [])
    connection.see_through(first, nothing)
    assert connection._inside == 0, "what is over is not waited for"


def test_closing_sends_all_away() -> None:
    with serve(FakeBroker()) as url:
        connection = Connection(url, new_core("test"))
        threads = [waiting(connection, Wish(connection)) for _ in range(3)]
        connection.close()
    for thread in threads:
        thread.join(10)
        assert len(thread.errors) == 1  # type: ignore[attr-defined]


def test_an_interrupted_wait_is_counted_out(connection: Connection) -> None:
    leading = Wish(connection)
    leader = waiting(connection, leading)

    def interrupt() -> None:
        while not connection._waiters:
            threading.Event().wait(0.001)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    helper = threading.Thread(target=interrupt)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        connection.see_through(Wish(connection), nothing)
    helper.join(10)
    assert (connection._inside, connection._waiters) == (1, [])
    with connection.lock:
        leading.settled = True
        connection.turn()
    leader.join(10)


def test_a_change_that_raises_leaves_nothing_locked(connection: Connection) -> None:
    def fault(wish: Wish, at: Now) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        connection.see_through(Wish(connection), fault)
    assert connection._inside == 0
    assert not connection.lock.locked()
