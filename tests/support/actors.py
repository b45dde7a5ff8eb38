"""For tests of real actors: a caller of their mailboxes, echo children, waiting with a deadline."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from shardmq.actors.kernel.exchange import Exchange
from shardmq.actors.kernel.ports import Letter
from shardmq.actors.kernel.sockets import SocketPlan
from shardmq.actors.kernel.spawn import ChildSpec
from shardmq.actors.protocol.frames import Route, pack_request, unpack_route

from .echo import EchoConfig

T = TypeVar("T")
TESTS = Path(__file__).parent.parent
ENVELOPE = b"envelope of a router 123"


def eventually(condition: Callable[[], T], timeout_s: float = 20.0, what: str = "") -> T:
    """Waits until `condition` is true, and returns what it returned."""
    until_s = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < until_s, what or "it did not happen in time"
        time.sleep(0.005)


@contextmanager
def run_directory() -> Iterator[Path]:
    """A directory whose path is short enough for sockets; pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="mq-") as path:
        yield Path(path)


def address(directory: Path, name: str) -> str:
    return f"ipc://{directory}/{name}.sock"


def echo_spec(directory: Path, name: str, mode: str = "serve", stage: int = 0) -> ChildSpec:
    """A child that runs `support.echo`."""
    mailbox = address(directory, name)
    return ChildSpec(name, "support.echo", mailbox, EchoConfig(mailbox, mode), stage)


@contextmanager
def children_import_tests() -> Iterator[None]:
    """Lets children import `support`."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(TESTS)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


class Caller:
    """Sends requests to one mailbox and waits for the replies."""

    def __init__(self, mailbox: str, timeout_s: float = 20.0) -> None:
        self._exchange = Exchange(SocketPlan(links={"actor": mailbox}))
        self._timeout_s = timeout_s
        self._request_id = 0
        self._inbox: list[Letter] = []
        self.is_up = False

    def connect(self) -> None:
        """Waits until the mailbox is there."""
        self._until(lambda: self.is_up)

    def send(self, verb: int, *payload: bytes, header: bytes = b"\x80") -> int:
        """Sends a request; returns its id."""
        self.connect()
        self._request_id += 1
        route = pack_request(verb, self._request_id, 5_000)
        self._exchange.send([("actor", b"", [ENVELOPE, route, header, *payload])])
        return self._request_id

    def receive(self) -> tuple[Route, list[bytes]]:
        """The next reply: its route, then header and payload."""
        self._until(lambda: bool(self._inbox))
        _, _, (envelope, route, *rest) = self._inbox.pop(0)
        assert envelope == ENVELOPE, "an actor echoes the envelope"
        return unpack_route(route), rest

    def ask(self, verb: int, *payload: bytes) -> tuple[Route, list[bytes]]:
        self.send(verb, *payload)
        return self.receive()

    def _until(self, condition: Callable[[], bool]) -> None:
        until_s = time.monotonic() + self._timeout_s
        while not condition():
            assert time.monotonic() < until_s, "the actor does not answer"
            self._exchange.wait(50)
            self._exchange.collect(self._inbox, self._inbox)
            for _, up in self._exchange.link_changes():
                self.is_up = up

    def close(self) -> None:
        self._exchange.close(0)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
