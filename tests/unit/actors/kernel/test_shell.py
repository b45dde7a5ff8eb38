"""The shell's loop around small cores, over real sockets: order of a turn, disk, timers, stop."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import zmq

from shardmq.actors.kernel.clock import SystemClock
from shardmq.actors.kernel.listening import listen
from shardmq.actors.kernel.ports import Job, Letter, Now
from shardmq.actors.kernel.shell import Shell
from shardmq.actors.kernel.sockets import Front, SocketPlan
from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import (
    FLAG_JSON,
    FLAG_REPLY,
    pack_reply,
    pack_request,
    unpack_route,
)
from shardmq.actors.protocol.messages import Pong, StatsReply
from shardmq.actors.protocol.verbs import Verb
from support.actors import ENVELOPE, Caller, address, eventually, run_directory

Events = list[str]


class Desk:
    """A core that holds PRODUCE until it is durable, FETCH until it stops, answers the rest."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._held: list[Letter] = []
        self._parked: list[Letter] = []
        self.wake_at_ms: float | None = None
        self.drains = True

    def handle(self, letters: Sequence[Letter], now: Now) -> list[Letter]:
        if not letters:
            self._events.append("timer")
            self.wake_at_ms = None
            return []
        replies = []
        for letter in letters:
            route = unpack_route(letter[2][1])
            verb = route.verb
            if route.flags & FLAG_REPLY:
                self._events.append(f"reply {Verb(verb).name}")
                continue
            self._events.append(f"handle {Verb(verb).name}")
            if verb == Verb.PRODUCE:
                self._held.append(letter)
            elif verb == Verb.FETCH:
                self._parked.append(letter)
            elif verb == Verb.OFFSETS:
                self.wake_at_ms = now.mono_ms + 20
            else:
                replies.append(reply_to(letter))
        return replies

    def durable_advanced(self, now: Now) -> list[Letter]:
        self._events.append("durable")
        held, self._held = self._held, []
        return [reply_to(letter) for letter in held]

    def link_changed(self, link: str, up: bool, now: Now) -> list[Letter]:
        self._events.append(f"{link} {'up' if up else 'down'}")
        if up:
            return [(link, b"", [b"", pack_request(Verb.DEFINE, 1, 1_000), b"\x80"])]
        return []

    def stop(self, now: Now) -> list[Letter]:
        self._events.append("stop")
        parked, self._parked = self._parked, []
        return [reply_to(letter, Code.SHUTTING_DOWN) for letter in parked]

    def drained(self) -> bool:
        return self.drains and not self._held

    def stats(self) -> dict[str, Any]:
        return {"held": len(self._held)}


def reply_to(letter: Letter, code: int = Code.OK) -> Letter:
    link, peer, frames = letter
    return link, peer, [frames[0], pack_reply(unpack_route(frames[1]), code), frames[2]]


APPENDING = ("handle PRODUCE", "handle ACK")
"""Of these two the desk holds the answer to PRODUCE until the disk has it."""


class Drawer:
    """A journal in memory: every turn may append, a sync makes all that is written durable."""

    def __init__(self, events: Events, gate: threading.Event) -> None:
        self._events = events
        self.gate = gate
        self.may_begin = threading.Event()
        self.may_begin.set()
        self.error: OSError | None = None
        self.end = 0
        self.epoch = 1
        self.durable = 0
        self.wake_at_ms: float | None = None

    def write(self) -> None:
        appended = 64 * sum(event in APPENDING for event in self._events)
        if appended > self.end:
            self.end = appended
            self._events.append("write")

    def begin_job(self, now: Now) -> Job | None:
        if self.durable == self.end:
            return None
        assert self.may_begin.wait(20)
        return Sync(self)

    def finish_job(self, job: Job, now: Now) -> None:
        assert isinstance(job, Sync)
        self._events.append("synced")
        self.durable = job.end

    def tick(self, now: Now) -> None:
        self._events.append("tick")
        self.wake_at_ms = None

    def close(self, now: Now) -> None:
        self._events.append("close")
        self.durable = self.end


class Sync:
    def __init__(self, drawer: Drawer) -> None:
        self._drawer = drawer
        self.end = drawer.end

    def run(self) -> None:
        assert self._drawer.gate.wait(20)
        if self._drawer.error is not None:
            raise self._drawer.error


class Office:
    """A shell that runs in a thread of the test, and a caller of it."""

    def __init__(
        self, directory: Path, *, journaled: bool = False, drain_ms: float = 5_000
    ) -> None:
        self.events: Events = []
        self.core = Desk(self.events)
        self.gate = threading.Event()
        self.gate.set()
        self.journal = Drawer(self.events, self.gate) if journaled else None
        self.error: BaseException | None = None
        self._made = threading.Event()
        self._directory = directory
        self._drain_ms = drain_ms
        self._thread = threading.Thread(target=self._run)
        self.mailbox = address(directory, "desk")

    def _run(self) -> None:
        sockets = SocketPlan(self.mailbox, {"peer": address(self._directory, "peer")})
        self.shell = Shell(
            self.core,
            SystemClock(),
            sockets=sockets,
            journal=self.journal,  # type: ignore[arg-type]  # appends are not what is tested
            name="desk",
            drain_ms=self._drain_ms,
        )
        self._made.set()
        try:
            self.shell.run()
        except OSError as error:
            self.error = error

    def open(self) -> Caller:
        self._thread.start()
        assert self._made.wait(20)
        return Caller(self.mailbox)

    def stop(self) -> None:
        self.gate.set()
        self.shell.request_stop()
        self.join()

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def directory() -> Iterator[Path]:
    with run_directory() as path:
        yield path


def test_a_request_is_handled_and_answered(directory: Path) -> None:
    office = Office(directory)
    with office.open() as caller:
        route, (header,) = caller.ask(Verb.ROUTE)
        assert (route.verb, route.tail, header) == (Verb.ROUTE, Code.OK, b"\x80")
    office.stop()
    assert office.events == ["handle ROUTE", "stop"]


def test_ping_and_stats_are_answered_by_the_loop(directory: Path) -> None:
    office = Office(directory)
    with office.open() as caller:
        _, (header,) = caller.ask(Verb.PING)
        assert decode_header(header, Pong).state == "serving"
        caller.ask(Verb.ROUTE)
        _, (header,) = caller.ask(Verb.STATS)
        stats = decode_header(header, StatsReply)
    office.stop()
    assert stats.actor == "desk"
    assert stats.figures["held"] == 0
    assert stats.figures["letters"] == 1
    assert stats.figures["messages_in"] == 3
    assert stats.figures["rss_bytes"] > 1_000_000
    assert "handle PING" not in office.events


def test_a_core_hears_of_a_peer_that_is_gone_after_its_last_letter() -> None:
    events: Events = []

    class Doorman(Desk):
        def peers_gone(self, peers: Sequence[bytes], now: Now) -> list[Letter]:
            events.append(f"{len(peers)} gone")
            shell.request_stop()
            return []

    with contextlib.closing(listen("tcp://127.0.0.1:0")) as listeners:
        front = Front(listeners.address, os.dup(listeners.sockets[0].fileno()))
        shell = Shell(Doorman(events), SystemClock(), sockets=SocketPlan(front=front))
        with zmq.Context() as context, context.socket(zmq.DEALER) as client:
            client.connect(listeners.address)
            for _ in range(2):
                client.send_multipart([b"", pack_request(Verb.OFFSETS, 1, 1_000)])
        shell.run()
    assert events == ["handle OFFSETS", "handle OFFSETS", "1 gone", "stop"]


def test_an_answer_waits_for_the_disk_and_others_do_not(directory: Path) -> None:
    office = Office(directory, journaled=True)
    with office.open() as caller:
        office.gate.clear()
        produced = caller.send(Verb.PRODUCE)
        eventually(lambda: "write" in office.events)
        route, _ = caller.ask(Verb.ROUTE)
        assert route.verb == Verb.ROUTE, "the loop goes on while the disk works"
        office.gate.set()
        route, _ = caller.receive()
        assert (route.request_id, route.tail) == (produced, Code.OK)
    office.stop()
    wanted = ["handle PRODUCE", "write", "handle ROUTE", "synced", "durable", "stop", "close"]
    assert office.events == wanted


def test_an_answer_that_needs_no_sync_leaves_before_the_disk_gets_its_job(directory: Path) -> None:
    office = Office(directory, journaled=True)
    assert office.journal is not None
    with office.open() as caller:
        office.journal.may_begin.clear()
        route, _ = caller.ask(Verb.ACK)
        assert route.verb == Verb.ACK
        assert office.events == ["handle ACK", "write"]
        office.journal.may_begin.set()
    office.stop()


def test_one_sync_covers_what_arrives_during_the_one_before(directory: Path) -> None:
    office = Office(directory, journaled=True)
    with office.open() as caller:
        office.gate.clear()
        caller.send(Verb.PRODUCE)
        eventually(lambda: "write" in office.events)
        for _ in range(10):
            caller.send(Verb.PRODUCE)
        eventually(lambda: office.events.count("handle PRODUCE") == 11)
        office.gate.set()
        for _ in range(11):
            assert caller.receive()[0].verb == Verb.PRODUCE
    office.stop()
    assert office.events.count("synced") == 2


def test_a_disk_that_fails_ends_the_loop(directory: Path) -> None:
    office = Office(directory, journaled=True)
    assert office.journal is not None
    office.journal.error = OSError(5, "Input/output error")
    with office.open() as caller:
        caller.send(Verb.PRODUCE)
        office.join()
    assert str(office.error) == "[Errno 5] Input/output error"
    assert "durable" not in office.events
    assert "close" not in office.events


def test_the_core_and_the_journal_are_woken_when_they_asked_to_be(directory: Path) -> None:
    office = Office(directory, journaled=True)
    assert office.journal is not None
    office.journal.wake_at_ms = SystemClock().now().mono_ms + 20
    with office.open() as caller:
        caller.send(Verb.OFFSETS)
        eventually(lambda: "timer" in office.events and "tick" in office.events)
    office.stop()
    assert office.events.count("timer") == 1
    assert office.events.count("tick") == 1


def test_a_link_that_comes_up_is_told_and_can_be_used_at_once(directory: Path) -> None:
    office = Office(directory)
    office.open().close()
    other = Shell(
        Desk([]),
        SystemClock(),
        sockets=SocketPlan(mailbox=address(directory, "peer")),
    )
    peer = threading.Thread(target=other.run)
    peer.start()
    eventually(lambda: "reply DEFINE" in office.events)
    other.request_stop()
    peer.join()
    eventually(lambda: "peer down" in office.events)
    office.stop()
    assert office.events == ["peer up", "reply DEFINE", "peer down", "stop"]


def test_a_stop_answers_those_who_wait_and_goes_on_until_the_core_is_drained(
    directory: Path,
) -> None:
    office = Office(directory, journaled=True)
    with office.open() as caller:
        office.gate.clear()
        parked = caller.send(Verb.FETCH)
        produced = caller.send(Verb.PRODUCE)
        eventually(lambda: "handle PRODUCE" in office.events)
        office.shell.request_stop()
        office.shell.request_stop()
        route, _ = caller.receive()
        assert (route.request_id, route.tail) == (parked, Code.SHUTTING_DOWN)
        _, (header,) = caller.ask(Verb.PING)
        assert decode_header(header, Pong).state == "stopping"
        office.gate.set()
        route, _ = caller.receive()
        assert (route.request_id, route.tail) == (produced, Code.OK)
    office.join()
    assert office.events[-1] == "close"
    assert office.events.count("stop") == 1


def test_a_stop_is_bounded_and_closing_the_journal_releases_the_last_answers(
    directory: Path,
) -> None:
    office = Office(directory, journaled=True, drain_ms=30)
    office.core.drains = False
    with office.open() as caller:
        caller.connect()
        office.shell.request_stop()
        office.join()
    assert office.events == ["stop", "close"]


def test_what_closing_makes_durable_is_still_answered(directory: Path) -> None:
    office = Office(directory, journaled=True, drain_ms=30)
    office.core.drains = False
    with office.open() as caller:
        office.gate.clear()
        first = caller.send(Verb.PRODUCE)
        eventually(lambda: "write" in office.events)
        office.shell.request_stop()
        eventually(lambda: "stop" in office.events)
        # The time to drain is over, the disk is not: the loop waits for it, then closes.
        threading.Timer(0.1, office.gate.set).start()
        assert caller.receive()[0].request_id == first
    office.join()
    assert office.events[-3:] == ["synced", "close", "durable"]


def test_json_callers_get_json(directory: Path) -> None:
    office = Office(directory)
    with office.open() as caller:
        caller.connect()
        route = pack_request(Verb.PING, 1, 1_000, flags=FLAG_JSON)
        caller._exchange.send([("actor", b"", [ENVELOPE, route, b"{}"])])
        _, (header,) = caller.receive()
    office.stop()
    assert decode_header(header, Pong, FLAG_JSON).state == "serving"
