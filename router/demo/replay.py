"""The replay: flights in through one process, out through the members of a group, at the same time.

Owns the receiving half and what both took. Must not print, and must not judge: proof.py does.
A message's way is measured from the call that took it in the sender's process to the moment a
member has it; on one machine all read the same monotonic clock. Half-way, one member is killed.
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

import msgspec

from ..bench.figures import LatencyFigures, latency_figures
from .flights import Flight
from .member import Taken
from .members import MemberError, Members
from .proof import Arrived
from .sender import Said

__all__ = ["MEMBERS", "VICTIM", "Replay", "ReplayError", "replay"]

MEMBERS = 3
VICTIM = 1
"""Index of the member that is killed."""
_LONE_MAX = 2_000
_WAIT_SECONDS = 0.1
_PATIENCE_SECONDS = 20.0

Progressed = Callable[[str, int], None]
"""("sent" or "received", how many in all)"""


class ReplayError(RuntimeError):
    """The sender or a member ended before its time; standard error has its reason."""


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
    members: int
    """How many the group had; one was killed."""
    killed_after: int
    """Flights that had arrived when it was."""
    takeover_seconds: float | None
    """From then until the others held all its queues."""

    @property
    def sent_per_second(self) -> float:
        return _per_second(self.flights - self.lone, self.send_seconds)

    @property
    def received_per_second(self) -> float:
        return _per_second(self.flights - self.lone, self.receive_seconds)


def _per_second(count: int, seconds: float) -> float:
    return count / seconds if seconds else 0.0


def replay(
    url: str, flights: Sequence[Flight], queues: int, progressed: Progressed
) -> tuple[Replay, list[Arrived]]:
    """Sends all flights of the file (as many as `flights` has) and consumes them back.

    Args:
        queues: how many the topic has.

    Raises:
        ShardMQError: the broker refused to let us read.
        ReplayError: the sender or a member failed.
    """
    lone = min(_LONE_MAX, len(flights) // 10)
    receiver = _Receiver(flights, queues, progressed)
    try:
        with Members(url, MEMBERS) as members:
            members.share(queues)
            with _sender(url, len(flights), lone, progressed) as sender:
                receiver.run(members, sender.is_over)
                sent, left_ns, lone_ns = sender.result()
    except MemberError as error:
        raise ReplayError(str(error)) from None
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
        members=MEMBERS,
        killed_after=receiver.killed_after,
        takeover_seconds=receiver.takeover_seconds,
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

    def __init__(self, flights: Sequence[Flight], queues: int, progressed: Progressed) -> None:
        self._flights = flights
        self._index = {flight.row: index for index, flight in enumerate(flights)}
        self._queues = queues
        self._progressed = progressed
        self._here = 0
        self.arrived: list[Arrived] = []
        self.there_ns = array("q", bytes(8 * len(flights)))
        """By position in the file: when each flight was here first; 0 if it is missing."""
        self.killed_after = 0
        self.takeover_seconds: float | None = None

    def run(self, members: Members, is_over: Callable[[], bool]) -> None:
        """Takes what the members tell, kills one half-way, until all flights are here and its
        queues are in other hands; or until nothing came for long after the sender's end."""
        quiet_since = time.monotonic()
        while self._here < len(self._flights) or self.takeover_seconds is None:
            told = members.next(_WAIT_SECONDS)
            if told is not None or not is_over():
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > _PATIENCE_SECONDS:
                return  # the proof says what is missing
            if told is None:
                continue
            member, (there_ns, taken) = told[0], (told[1].there_ns, told[1].taken)
            for one in taken:
                self._take(member, one, there_ns)
            if taken:
                self._progressed("received", self._here)
            if members.killed is None:
                if 2 * self._here >= len(self._flights):
                    members.kill(VICTIM)
                    self.killed_after = self._here
            elif self.takeover_seconds is None and len(members.queue_ids) == self._queues:
                self.takeover_seconds = max(0, there_ns - members.killed_ns) / 1e9

    def _take(self, member: int, taken: Taken, there_ns: int) -> None:
        row = taken.row
        tag, ordering_key = taken.tag or "", taken.ordering_key
        flight = Flight(row, tag, ordering_key, taken.keys, taken.properties)
        index = self._index.get(row)
        if index is not None:
            if not self.there_ns[index]:
                self.there_ns[index] = there_ns
                self._here += 1
            if flight == self._flights[index]:
                flight = self._flights[index]  # one object for both: half the memory
        self.arrived.append(Arrived(flight, taken.queue_id, taken.offset, member))
