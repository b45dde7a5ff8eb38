"""The exchange over real sockets: waking, links going up and down, sends that fail."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from shardmq.actors.kernel import exchange as exchange_module
from shardmq.actors.kernel import sockets
from shardmq.actors.kernel.exchange import SLEEP_MS_MAX, Exchange
from shardmq.actors.kernel.listening import listen
from shardmq.actors.kernel.ports import Letter
from shardmq.actors.kernel.sockets import Front, SocketPlan
from shardmq.actors.protocol.frames import pack_request
from shardmq.actors.protocol.verbs import Verb
from support.actors import address, eventually, run_directory

ROUTE = pack_request(Verb.PRODUCE, 1, 1_000)
FRAMES = [b"envelope", ROUTE, b"\x80"]


@pytest.fixture
def directory() -> Iterator[Path]:
    with run_directory() as path:
        yield path


Open = Callable[[SocketPlan], Exchange]
Connect = Callable[[str], "zmq.Socket[bytes]"]


@pytest.fixture
def opened() -> Iterator[Open]:
    exchanges: list[Exchange] = []

    def open_one(plan: SocketPlan) -> Exchange:
        exchanges.append(Exchange(plan))
        return exchanges[-1]

    yield open_one
    for one in exchanges:
        one.close(0)


def changes(exchange: Exchange) -> list[tuple[str, bool]]:
    letters: list[Letter] = []
    exchange.wait(20)
    exchange.collect(letters, letters)
    assert not letters
    return exchange.link_changes()


def collected(exchange: Exchange) -> list[Letter]:
    letters: list[Letter] = []
    exchange.wait(20)
    exchange.collect(letters, letters)
    return letters


def test_a_letter_goes_there_and_its_answer_back(opened: Open, directory: Path) -> None:
    actor = opened(SocketPlan(mailbox=address(directory, "a")))
    caller = opened(SocketPlan(links={"a": address(directory, "a")}))
    assert eventually(lambda: changes(caller)) == [("a", True)]
    assert caller.send([("a", b"", FRAMES), ("a", b"", [*FRAMES, b"payload"])]) == []
    letters: list[Letter] = []
    eventually(lambda: letters.extend(collected(actor)) or len(letters) == 2)
    assert [frames for _, _, frames in letters] == [FRAMES, [*FRAMES, b"payload"]]
    actor.send(letters)
    replies: list[Letter] = []
    eventually(lambda: replies.extend(collected(caller)) or len(replies) == 2)
    assert replies == [("a", b"", FRAMES), ("a", b"", [*FRAMES, b"payload"])]
    assert actor.figures()["messages_in"] == actor.figures()["messages_out"] == 2
    assert caller.figures()["links_up"] == 1


def test_a_link_goes_down_and_up_with_the_actor(opened: Open, directory: Path) -> None:
    plan = SocketPlan(mailbox=address(directory, "a"))
    caller = opened(SocketPlan(links={"a": address(directory, "a")}))
    assert changes(caller) == []
    for _ in range(3):
        actor = Exchange(plan)
        assert eventually(lambda: changes(caller)) == [("a", True)]
        actor.close(0)
        assert eventually(lambda: changes(caller)) == [("a", False)]


def test_a_link_that_is_reported_up_takes_a_letter_at_once(opened: Open, directory: Path) -> None:
    plan = SocketPlan(mailbox=address(directory, "a"))
    caller = opened(SocketPlan(links={"a": address(directory, "a")}))
    for _ in range(20):
        actor = Exchange(plan)
        eventually(lambda: ("a", True) in changes(caller))
        assert caller.send([("a", b"", FRAMES)]) == []
        eventually(lambda: collected(actor))  # noqa: B023
        actor.close(0)
        eventually(lambda: ("a", False) in changes(caller))


def test_the_last_answers_of_an_actor_that_closes_are_read_before_its_link_is_down(
    opened: Open, directory: Path
) -> None:
    actor = opened(SocketPlan(mailbox=address(directory, "a")))
    caller = opened(SocketPlan(links={"a": address(directory, "a")}))
    eventually(lambda: ("a", True) in changes(caller))
    caller.send([("a", b"", FRAMES)] * 300)
    asked: list[Letter] = []
    eventually(lambda: asked.extend(collected(actor)) or len(asked) == 300)
    actor.send(asked)
    actor.close(500)
    # The caller looks up only when the connection is long gone.
    (monitor_fd,) = caller._monitor_of_fd
    assert select.select([monitor_fd], [], [], 20)[0], "the connection is gone"
    assert len(collected(caller)) == 300
    assert caller.link_changes() == [("a", False)]


def test_nothing_sent_to_nobody_reaches_who_comes_later(opened: Open, directory: Path) -> None:
    caller = opened(SocketPlan(links={"a": address(directory, "a")}))
    caller.send([("a", b"", [*FRAMES, b"too early"])])
    actor = opened(SocketPlan(mailbox=address(directory, "a")))
    eventually(lambda: ("a", True) in changes(caller))
    caller.send([("a", b"", [*FRAMES, b"in time"])])
    (letter,) = eventually(lambda: collected(actor))
    assert letter[2][-1] == b"in time"


def test_what_a_link_that_is_down_does_not_take_is_counted(opened: Open, directory: Path) -> None:
    caller = opened(SocketPlan(links={"a": address(directory, "nobody")}))
    assert caller.send([("a", b"", FRAMES)] * 2) == [], "its core knows that it is down"
    assert caller.figures()["dropped"] == 2


def test_a_burst_of_small_answers_to_one_slow_peer_is_not_lost(
    opened: Open, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Found by hundreds of group members on one connection: with a full pipe answers were dropped.
    monkeypatch.setitem(sockets._INTERNAL, zmq.SNDHWM, 64)
    monkeypatch.setitem(sockets._INTERNAL, zmq.RCVHWM, 64)
    actor = opened(SocketPlan(mailbox=address(directory, "a")))
    caller = opened(SocketPlan(links={"a": address(directory, "a")}))
    eventually(lambda: ("a", True) in changes(caller))
    asked: list[Letter] = []
    while len(asked) < 1_000:
        caller.send([("a", b"", FRAMES)] * 10)
        eventually(lambda: asked.extend(collected(actor)) or len(asked) % 10 == 0)
    actor.send(asked)
    assert actor.figures()["late_bytes"] > 0, "the test needs a pipe that is full"
    got: list[Letter] = []

    def all_there() -> bool:
        collected(actor)
        got.extend(collected(caller))
        return len(got) == len(asked)

    eventually(all_there)
    assert actor.figures()["dropped"] == 0
    assert not actor.choked


def test_an_answer_to_a_peer_that_is_gone_is_dropped(opened: Open, directory: Path) -> None:
    actor = opened(SocketPlan(mailbox=address(directory, "a")))
    assert actor.send([("mailbox", b"\0gone", FRAMES)]) == []
    assert actor.figures()["dropped"] == 1


def test_a_link_whose_actor_reads_nothing_is_down_until_there_is_room(
    opened: Open, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sockets._INTERNAL, zmq.SNDHWM, 2_000)
    monkeypatch.setitem(sockets._INTERNAL, zmq.RCVHWM, 2_000)
    actor = opened(SocketPlan(mailbox=address(directory, "a")))
    caller = opened(SocketPlan(links={"a": address(directory, "a")}))
    eventually(lambda: changes(caller))
    sent = 0
    while not (failed := caller.send([("a", b"", FRAMES)] * 1_000)):
        sent += 1_000
        assert sent < 50_000, "it has a bound"
    assert failed == ["a"], "each link once"
    assert caller.send([("a", b"", FRAMES)]) == [], "it is reported down only once"
    assert caller.figures()["links_up"] == 0
    eventually(lambda: collected(actor) and changes(caller) == [("a", True)])
    assert caller.send([("a", b"", FRAMES)]) == []


# --- the front's connections ------------------------------------------------------------------


@pytest.fixture
def front(opened: Open) -> Iterator[tuple[Exchange, str]]:
    """An exchange with a front on a listening descriptor that was handed over, and its address."""
    with contextlib.closing(listen("tcp://127.0.0.1:0")) as listeners:
        handed_over = os.dup(listeners.sockets[0].fileno())
        yield (
            opened(SocketPlan(front=Front(listeners.address, handed_over))),
            listeners.address,
        )


@pytest.fixture
def client() -> Iterator[Connect]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    clients: list[zmq.Socket[bytes]] = []

    def connected(url: str) -> zmq.Socket[bytes]:
        clients.append(context.socket(zmq.DEALER))
        clients[-1].connect(url)
        return clients[-1]

    yield connected
    context.destroy(0)


class Seen:
    """What a front told of its peers, in order: who spoke, who is gone."""

    def __init__(self, front: Exchange) -> None:
        self._front = front
        self.spoke: list[bytes] = []
        self.gone: list[bytes] = []

    def look(self) -> None:
        for _, peer, _ in collected(self._front):
            assert peer not in self.gone, "the last letters come ahead of the news"
            self.spoke.append(peer)
        self.gone += self._front.peers_gone()

    def until(self, spoke: int, gone: int) -> None:
        eventually(lambda: self.look() or (len(self.spoke), len(self.gone)) == (spoke, gone))


def test_a_client_that_is_killed_is_gone_within_moments(front: tuple[Exchange, str]) -> None:
    exchange, url = front
    script = "import sys, time, zmq; s = zmq.Context().socket(zmq.DEALER); "
    script += "s.connect(sys.argv[1]); s.send(b'hello'); time.sleep(60)"
    seen = Seen(exchange)
    for number in range(1, 4):
        with subprocess.Popen([sys.executable, "-c", script, url]) as process:
            seen.until(number, number - 1)
            process.kill()
            killed_s = time.monotonic()
            seen.until(number, number)
            assert time.monotonic() - killed_s < 0.4, "the grace of a group's member"
    assert seen.gone == seen.spoke
    assert exchange.figures()["connections"] == 0


def test_all_that_a_client_sent_comes_ahead_of_its_end(
    front: tuple[Exchange, str], client: Connect
) -> None:
    exchange, url = front
    seen = Seen(exchange)
    for _ in range(20):
        leaving, staying = client(url), client(url)
        for _ in range(300):
            leaving.send_multipart([b"work", b"header"])
            staying.send_multipart([b"work", b"header"])
        leaving.close(linger=5_000)
    seen.until(20 * 600, 20)
    assert exchange.figures()["connections"] == 20


def test_short_lives_on_descriptors_that_are_used_again_are_all_told(
    front: tuple[Exchange, str], client: Connect
) -> None:
    exchange, url = front
    staying = client(url)
    staying.send(b"stays")
    seen = Seen(exchange)
    seen.until(1, 0)
    for number in range(200):
        short = client(url)
        short.send(b"x")
        short.close(linger=5_000)
        if number % 10 == 0:
            seen.look()
    seen.until(201, 200)
    assert sorted(seen.gone) == sorted(set(seen.spoke) - {seen.spoke[0]})
    staying.send(b"still there")
    seen.until(202, 200)


def test_a_front_that_is_never_found_empty_tells_who_is_gone_all_the_same(
    front: tuple[Exchange, str], client: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange, url = front
    drain = Exchange._drain

    def never_empty(*arguments: Any) -> bool:
        drain(*arguments)
        return False

    monkeypatch.setattr(Exchange, "_drain", never_empty)
    seen = Seen(exchange)
    leaving, staying = client(url), client(url)
    for one in (leaving, staying):
        one.send(b"x")
    seen.until(2, 0)
    leaving.close(linger=5_000)
    turns = 0
    while not seen.gone and turns < 10 * exchange_module.UNSETTLED_TURNS_MAX:
        turns += 1
        seen.look()
    assert len(seen.gone) == 1
    assert turns >= exchange_module.UNSETTLED_TURNS_MAX


def test_wake_ends_a_sleep_from_another_thread(opened: Open) -> None:
    exchange = opened(SocketPlan())
    waker = threading.Timer(0.02, exchange.wake)
    waker.start()
    assert exchange.wait(SLEEP_MS_MAX) == []
    waker.join()
    exchange.wake()
    exchange.wake()
    assert exchange.wait(SLEEP_MS_MAX) == [], "one asked for before the sleep ends it, too"


def test_waking_what_is_closed_writes_to_nobodys_descriptor() -> None:
    exchange = Exchange(SocketPlan())
    exchange.close(0)
    exchange.close(0)
    read_fd, write_fd = os.pipe2(os.O_NONBLOCK)  # takes the numbers that have become free
    exchange.wake()
    with pytest.raises(BlockingIOError):
        os.read(read_fd, 8)
    os.close(read_fd)
    os.close(write_fd)


def test_a_watched_descriptor_is_reported_until_it_is_unwatched(opened: Open) -> None:
    exchange = opened(SocketPlan())
    fd = os.eventfd(1)
    exchange.watch(fd)
    assert exchange.wait(SLEEP_MS_MAX) == [fd]
    exchange.unwatch(fd)
    assert exchange.wait(0) == []
    os.close(fd)


def test_a_socket_that_cannot_be_bound_leaves_nothing_open(directory: Path) -> None:
    with pytest.raises(ValueError, match="107"):
        Exchange(SocketPlan(mailbox="ipc://" + "x" * 120))
    assert list(directory.iterdir()) == []


def test_no_letter_waits_for_the_safety_net(opened: Open, directory: Path) -> None:
    """Two loops bounce bursts. A wake-up that got lost would end as a sleep of a whole second."""
    actor = opened(SocketPlan(mailbox=address(directory, "a")))
    caller = opened(SocketPlan(links={"a": address(directory, "a")}))
    eventually(lambda: changes(caller))
    burst, rounds = 5, 3_000
    sleeps_s: list[float] = []

    def bounce(exchange: Exchange, letters_max: int) -> None:
        got = 0
        while got < letters_max:
            letters: list[Letter] = []
            asleep_s = time.monotonic()
            exchange.wait(SLEEP_MS_MAX)
            sleeps_s.append(time.monotonic() - asleep_s)
            exchange.collect(letters, letters)
            exchange.link_changes()
            got += len(letters)
            for letter in letters:  # one by one, so that sends and arrivals interleave
                exchange.send([letter])

    echo = threading.Thread(target=bounce, args=(actor, burst * rounds))
    echo.start()
    caller.send([("a", b"", FRAMES)] * burst)
    bounce(caller, burst * rounds)
    echo.join()
    assert max(sleeps_s) < 0.9 * SLEEP_MS_MAX / 1e3
