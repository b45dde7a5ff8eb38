"""The replay: flights in through one process, flights out in this one, at the same time.

Owns the receiving half and what both took. Must not print, and must not judge: proof.py does.
A message's way is measured from the call that took it in the sender's process to the moment this
one has it; on one machine both read the same monotonic clock.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from shardmq.client import PullConsumer

from ..bench.figures import LatencyFigures, latency_figures
from .flights import Flight
from .proof import Arrived
from .sender import TOPIC, Said

__all__ = ["Replay", "ReplayError", "replay"]

_LONE_MAX = 2_000
_POLL_SECONDS = 0.25
_POLL_MESSAGES = 4_000
_PATIENCE_SECONDS = 20.0

Progressed = Callable[[str, int], None]
"""("sent" or "received", how many in all)"""


class ReplayError(RuntimeError):
    """The sender ended before its time; standard error has its reason."""


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


def _per_second(count: int, seconds: float) -> float:
    return count / seconds if seconds else 0.0


def replay(
    url: str, flights: Sequence[Flight], progressed: Progressed
) -> tuple[Replay, list[Arrived]]:
    """Sends all flights of the file (as many as `flights` has) and consumes them back.

    Raises:
        ShardMQError: the broker refused to let us read.
        ReplayError: the sender failed.
    """
    lone = min(_LONE_MAX, len(flights) // 10)
    with _sender(url, len(flights), lone, progressed) as sender:
        receiver = _Receiver(flights, progressed)
        receiver.run(url, sender.is_over)
        sent, left_ns, lone_ns = sender.result()
    return _took(flights, sent, receiver, left_ns, lone_ns), receiver.arrived


def _took(
    flights: Sequence[Flight],
    sent: Said,
    receiver: _Receiver,
    left_ns: array[int],
    lone_ns: array[int],
) -> Replay:
    batched = len(flights) - len(lone_ns)
    there_ns = receiver.there_ns
    ways_ns = [there - left if there else 0 for there, left in zip(there_ns, left_ns, strict=True)]
    reached_ns = max(there_ns[:batched], default=sent.start_ns)
    return Replay(
        flights=len(flights),
        bytes=sum(len(flight.row) for flight in flights),
        lone=len(lone_ns),
        send_seconds=sent.batches_ns / 1e9,
        receive_seconds=(reached_ns - sent.start_ns) / 1e9,
        batch_to_consumer=latency_figures(ways_ns[:batched]),
        lone_send=latency_figures(lone_ns),
        lone_to_consumer=latency_figures(ways_ns[batched:]),
    )


class _Sender:
    """The other process, as seen from here."""

    def __init__(self, process: subprocess.Popen[bytes], times: Path, count: int) -> None:
        self._process = process
        self._times = times
        self._count = count
        self._last = Said()

    def follow(self, progressed: Progressed) -> None:
        """Reads what it says until it ends."""
        assert self._process.stdout is not None, "it was made with a pipe"
        for line in self._process.stdout:
            self._last = msgspec.json.decode(line, type=Said)
            progressed("sent", self._last.sent)

    def is_over(self) -> bool:
        return self._process.poll() is not None

    def result(self) -> tuple[Said, array[int], array[int]]:
        """Its last word, the time at which each flight left, the round trips of the lone ones."""
        if self._process.wait() != 0:
            raise ReplayError("the sender failed; its reason is above")
        times = array("q", self._times.read_bytes())
        return self._last, times[: self._count], times[self._count :]


@contextmanager
def _sender(url: str, count: int, lone: int, progressed: Progressed) -> Iterator[_Sender]:
    """Starts the sender, lets it go once it is ready, and ends it in any case."""
    with tempfile.TemporaryDirectory(prefix="shardmq-demo-") as folder:
        times = Path(folder) / "times"
        words = [url, str(count), str(lone), str(times)]
        process = subprocess.Popen(
            [sys.executable, "-m", "shardmq.router.demo.sender", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None, "it was made with pipes"
        assert process.stdout is not None, "it was made with pipes"
        try:
            if not process.stdout.readline():
                raise ReplayError("the sender does not start; its reason is above")
            process.stdin.write(b"go\n")
            process.stdin.flush()
            sender = _Sender(process, times, count)
            reader = threading.Thread(target=sender.follow, args=(progressed,), daemon=True)
            reader.start()
            yield sender
            reader.join()
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


class _Receiver:
    """The consuming half."""

    def __init__(self, flights: Sequence[Flight], progressed: Progressed) -> None:
        self._flights = flights
        self._index = {flight.row: index for index, flight in enumerate(flights)}
        self._progressed = progressed
        self.arrived: list[Arrived] = []
        self.there_ns = array("q", bytes(8 * len(flights)))
        """By position in the file: when each flight was here; 0 if it is missing."""

    def run(self, url: str, is_over: Callable[[], bool]) -> None:
        """Consumes until all are here, or until nothing came for long after the sender's end."""
        quiet_since = time.monotonic()
        with PullConsumer(url, start_from="earliest") as consumer:
            consumer.assign(TOPIC)
            while len(self.arrived) < len(self._flights):
                messages = consumer.poll(timeout=_POLL_SECONDS, max_messages=_POLL_MESSAGES)
                if messages or not is_over():
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since > _PATIENCE_SECONDS:
                    return  # the proof says what is missing
                for message in messages:
                    self._take(message)
                if messages:
                    self._progressed("received", len(self.arrived))

    def _take(self, message: Any) -> None:
        now_ns = time.monotonic_ns()
        row = message.body
        flight = Flight(
            row, message.tag, message.ordering_key, tuple(message.keys), dict(message.properties)
        )
        index = self._index.get(row)
        if index is not None:
            self.there_ns[index] = now_ns
            if flight == self._flights[index]:
                flight = self._flights[index]  # one object for both: half the memory
        self.arrived.append(Arrived(flight, message.queue_id, message.offset))
