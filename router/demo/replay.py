"""The replay: flights in, flights out, at the same time, on the public client library.

Owns the two halves and their clocks. Must not print, and must not judge: proof.py does.

Most flights go as fast as they can, in batches; the last ones one at a time with a pause between,
as a lone sender would. So rates come from the first part and latencies of a single message from
the second. A message's way is measured from the call that took it until the consumer has it.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from shardmq.client import Message, Producer, PullConsumer

from ..bench.figures import LatencyFigures, latency_figures
from .flights import Flight
from .proof import Arrived

__all__ = ["TOPIC", "Replay", "replay"]

TOPIC = "flights"
_CHUNK = 4_000
_LONE_MAX = 2_000
_LONE_PAUSE_SECONDS = 0.001
_POLL_SECONDS = 0.25
_PATIENCE_SECONDS = 20.0

Progressed = Callable[[str, int], None]
"""("sent" or "received", how many in all)"""


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay took."""

    flights: int
    bytes: int
    lone: int
    """How many of the flights were sent one at a time."""
    send_seconds: float
    """For all flights in batches, until the last was acknowledged."""
    receive_seconds: float
    """From the first send until the consumer had all flights in batches."""
    batch_to_consumer: LatencyFigures | None
    lone_send: LatencyFigures | None
    lone_to_consumer: LatencyFigures | None

    @property
    def sent_per_second(self) -> float:
        return _per_second(self.flights - self.lone, self.send_seconds)

    @property
    def received_per_second(self) -> float:
        return _per_second(self.flights - self.lone, self.receive_seconds)


def replay(
    url: str, flights: Sequence[Flight], progressed: Progressed
) -> tuple[Replay, list[Arrived]]:
    """Sends all flights and consumes them back.

    Raises:
        ShardMQError: the broker refused something.
    """
    lone = min(_LONE_MAX, len(flights) // 10)
    sender = _Sender(url, flights, len(flights) - lone, progressed)
    receiver = _Receiver(url, len(flights), sender.left_ns, flights, progressed)
    with receiver:
        sender.run()
    batched = len(flights) - lone
    reached_ns = (receiver.reached_ns[:batched] or [sender.start_ns])[-1]
    took = Replay(
        flights=len(flights),
        bytes=sum(len(flight.row) for flight in flights),
        lone=lone,
        send_seconds=sender.batches_seconds,
        receive_seconds=(reached_ns - sender.start_ns) / 1e9,
        batch_to_consumer=latency_figures(receiver.ways_ns[:batched]),
        lone_send=latency_figures(sender.lone_ns),
        lone_to_consumer=latency_figures(receiver.ways_ns[batched:]),
    )
    return took, receiver.arrived


def _per_second(count: int, seconds: float) -> float:
    return count / seconds if seconds else 0.0


def _message(flight: Flight) -> Message:
    return Message(
        TOPIC,
        flight.row,
        tag=flight.carrier,
        keys=flight.keys,
        properties=flight.properties,
        ordering_key=flight.tail_number,
    )


class _Sender:
    """The producing half."""

    def __init__(
        self, url: str, flights: Sequence[Flight], batched: int, progressed: Progressed
    ) -> None:
        self._url = url
        self._flights = flights
        self._batched = batched
        self._progressed = progressed
        self.left_ns = array("q", bytes(8 * len(flights)))
        """When each flight was handed to the client library."""
        self.lone_ns = array("q")
        self.start_ns = 0
        self.batches_seconds = 0.0

    def run(self) -> None:
        clock = time.monotonic_ns
        with Producer(self._url) as producer:
            self.start_ns = clock()
            for start in range(0, self._batched, _CHUNK):
                end = min(start + _CHUNK, self._batched)
                messages = [_message(flight) for flight in self._flights[start:end]]
                self.left_ns[start:end] = array("q", [clock()]) * (end - start)
                producer.send_batch(messages)
                self._progressed("sent", end)
            self.batches_seconds = (clock() - self.start_ns) / 1e9
            for index in range(self._batched, len(self._flights)):
                message = _message(self._flights[index])
                self.left_ns[index] = sent_ns = clock()
                producer.send(message)
                self.lone_ns.append(clock() - sent_ns)
                self._progressed("sent", index + 1)
                time.sleep(_LONE_PAUSE_SECONDS)


class _Receiver:
    """The consuming half, in a thread of its own; leaving the context waits for its end."""

    def __init__(
        self,
        url: str,
        count: int,
        left_ns: array[int],
        flights: Sequence[Flight],
        progressed: Progressed,
    ) -> None:
        self._url = url
        self._count = count
        self._left_ns = left_ns
        self._flights = flights
        self._index = {flight.row: index for index, flight in enumerate(flights)}
        self._progressed = progressed
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)
        self._stop = threading.Event()
        self.arrived: list[Arrived] = []
        self.ways_ns = array("q", bytes(8 * count))
        """By position in the file: how long each flight took to the consumer."""
        self.reached_ns = array("q")
        """By order of arrival: when so many had come."""

    def __enter__(self) -> _Receiver:
        self._thread.start()
        return self

    def __exit__(self, kind: Any, _error: object, _traceback: object) -> None:
        if kind is not None:
            self._stop.set()
        self._thread.join()
        if kind is None and self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._receive()
        except Exception as error:
            self._failure = error  # raised where the context is left

    def _receive(self) -> None:
        quiet_since = time.monotonic()
        with PullConsumer(self._url, start_from="earliest") as consumer:
            consumer.assign(TOPIC)
            while len(self.arrived) < self._count and not self._stop.is_set():
                messages = consumer.poll(timeout=_POLL_SECONDS, max_messages=_CHUNK)
                if messages:
                    quiet_since = time.monotonic()
                    for message in messages:
                        self._take(message)
                    self._progressed("received", len(self.arrived))
                elif time.monotonic() - quiet_since > _PATIENCE_SECONDS:
                    return  # the proof says what is missing

    def _take(self, message: Any) -> None:
        now_ns = time.monotonic_ns()
        row = message.body
        flight = Flight(
            row, message.tag, message.ordering_key, tuple(message.keys), dict(message.properties)
        )
        index = self._index.get(row)
        if index is not None:
            self.ways_ns[index] = now_ns - self._left_ns[index]
            if flight == self._flights[index]:
                flight = self._flights[index]  # one object for both: half the memory
        self.arrived.append(Arrived(flight, message.queue_id, message.offset))
        self.reached_ns.append(now_ns)
