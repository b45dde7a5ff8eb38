"""A client's pure core joined to a fake broker in one process, and the same over a real socket.

`Wired` owns a manual clock and carries frames by hand: nothing happens between calls, so a test
decides what is lost and when. `serve` puts the same fake broker behind a ROUTER in a thread, for
the drivers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zmq

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.compress import Compression
from shardmq.client.errors import ShardMQError
from shardmq.client.link.asking import Asked
from shardmq.client.link.core import ClientCore
from shardmq.client.produce.core import ProducerCore, ProducerOptions
from shardmq.client.routes import Routes

from .fake_broker import FakeBroker


class SameRandomness:
    """Counts up; jitter is always in the middle."""

    def __init__(self) -> None:
        self._last = 1000

    def u64(self) -> int:
        self._last += 1
        return self._last

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2


class Wired:
    """A core, a broker, and the wire between them."""

    def __init__(self, *, connected: bool = True) -> None:
        self.now = Now(1_000.0, 1_700_000_000_000)
        self.core = ClientCore(SameRandomness(), client="test", version="0")
        self.routes = Routes(self.core)
        self.broker = FakeBroker()
        self.called: list[Any] = []
        if connected:
            self.core.connected(self.now)
            self.run()

    def run(self) -> None:
        """Carries frames to and fro until nothing moves."""
        while self.core.outbox:
            for reply in self.broker.handle(self.core.outbox.popleft()):
                self.core.receive(reply, self.now)

    def drop(self) -> None:
        """Loses what the client sends now."""
        self.core.outbox.clear()

    def advance(self, ms: float) -> None:
        """Lets time pass, timer by timer."""
        until_ms = self.now.mono_ms + ms
        while True:
            wake_at_ms = self.core.wake_at_ms
            if wake_at_ms is None or wake_at_ms > until_ms:
                break
            self._set(max(wake_at_ms, self.now.mono_ms))
            self.core.tick(self.now)
            self.run()
        self._set(until_ms)

    def _set(self, mono_ms: float) -> None:
        passed = mono_ms - self.now.mono_ms
        self.now = Now(mono_ms, self.now.wall_ms + int(passed))

    def producer(self, **changes: Any) -> ProducerCore:
        options = ProducerOptions("synced", 3_000.0, 5.0, Compression.NONE, 32 << 20)
        return ProducerCore(
            self.core, self.routes, options._replace(**changes), 7, self.called.append
        )


@contextmanager
def serve(broker: FakeBroker) -> Iterator[str]:
    """The fake broker behind a ROUTER on port 0; yields its address."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.linger = 0
    port = router.bind_to_random_port("tcp://127.0.0.1")
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            if router.poll(20):
                peer, *frames = router.recv_multipart()
                for reply in broker.handle(frames):
                    router.send_multipart([peer, *reply])

    thread = threading.Thread(target=work, name="fake-broker")
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{port}"
    finally:
        stop.set()
        thread.join()
        router.close()
        context.term()


def run_flow(wired: Wired, flow: Any) -> Any:
    """Runs a flow over a wired core; the broker answers at once."""
    try:
        requests = next(flow)
        while True:
            asked = Asked(wired.core, requests, 1_000.0, wired.now)
            wired.run()
            assert asked.settled, "the fake broker answers everything"
            try:
                replies = asked.replies()
            except ShardMQError as error:
                requests = flow.throw(error)
                continue
            requests = flow.send(replies)
    except StopIteration as stop:
        return stop.value
