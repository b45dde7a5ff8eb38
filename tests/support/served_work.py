"""A fake broker with a topic to receive from, behind a socket: for SimpleConsumer's drivers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shardmq.actors.protocol.verbs import Verb
from shardmq.client import Message, Producer

from .clients import serve
from .fake_broker import FakeBroker

__all__ = ["ServedWork", "served_work"]

WAIT_SECONDS = 20.0


class ServedWork:
    """Topic `t` has 4 queues on 2 shards."""

    def __init__(self, broker: FakeBroker, url: str) -> None:
        self.broker = broker
        self.url = url
        broker.create("t", 4)
        self.give()

    def give(self) -> None:
        """The member `me` hears of the queues."""
        self.broker.give("me", "t", 0, 1, 2, 3)

    def send(self, count: int) -> None:
        with Producer(self.url) as producer:
            producer.send_batch([Message("t", b"%d" % n) for n in range(count)])

    def lose(self, verb: Verb) -> None:
        """Requests of this kind get no answer."""
        self.broker.answer = lambda route, *_: "lost" if route.verb == verb else None

    def find(self) -> None:
        """All requests are answered again."""
        self.broker.answer = lambda *_: None

    def was_asked(self, verb: Verb) -> bool:
        return any(route.verb == verb for route, *_ in self.broker.seen)

    @property
    def is_waited_at(self) -> bool:
        """Somebody waits for messages, at both shards."""
        return len(self.broker.work.parked) == 2

    def pass_time(self, ms: int) -> None:
        """What was handed out before may be visible again."""
        clock = self.broker.work.clock
        self.broker.work.clock = lambda: clock() + ms

    @staticmethod
    def until(true: Callable[[], object]) -> None:
        began = time.monotonic()
        while not true():
            assert time.monotonic() - began < WAIT_SECONDS, f"not within {WAIT_SECONDS} s"
            time.sleep(0.002)


@contextmanager
def served_work() -> Iterator[ServedWork]:
    broker = FakeBroker()
    with serve(broker) as url:
        yield ServedWork(broker, url)
