"""The sending half of the demonstration, in a process of its own, as a producer would be.

Owns the clock of the sends. Must not know the receiver: `replay.py` starts it, reads what it says
(a JSON line each: ready, how many are sent, done) and takes the file of times that it leaves.

Most flights go as fast as they can, in batches; the last ones one at a time with a pause between,
as a lone sender would. So rates come from the first part, latencies of single messages from the
second.
"""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from shardmq.client import Message, Producer

from .flights import Flight, packaged_flights

__all__ = ["TOPIC", "Said", "main", "message_of", "send_all"]

TOPIC = "flights"
_CHUNK = 8_000
_LONE_PAUSE_SECONDS = 0.001
_LONE_TOLD = 100


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the sender."""

    sent: int = 0
    start_ns: int = 0
    batches_ns: int = 0
    """With the last line: when the first batch left, and how long all batches took."""


def message_of(flight: Flight) -> Message:
    """The message that a flight becomes."""
    return Message(
        TOPIC,
        flight.row,
        tag=flight.carrier,
        keys=flight.keys,
        properties=flight.properties,
        ordering_key=flight.tail_number,
    )


def send_all(
    url: str, flights: Sequence[Flight], lone: int, say: Callable[[Said], None]
) -> tuple[array[int], array[int]]:
    """Sends all flights, the last `lone` of them one at a time.

    Returns when each was handed to the client library, and the round trips of the lone ones (ns).

    Raises:
        ShardMQError: the broker refused something.
    """
    clock = time.monotonic_ns
    left_ns, lone_ns = array("q"), array("q")
    batched = len(flights) - lone
    with Producer(url) as producer:
        start_ns = clock()
        for start in range(0, batched, _CHUNK):
            messages = [message_of(one) for one in flights[start : min(start + _CHUNK, batched)]]
            left_ns.extend([clock()] * len(messages))
            producer.send_batch(messages)
            say(Said(sent=len(left_ns)))
        batches_ns = clock() - start_ns
        for index in range(batched, len(flights)):
            message = message_of(flights[index])
            left_ns.append(clock())
            producer.send(message)
            lone_ns.append(clock() - left_ns[-1])
            if index % _LONE_TOLD == 0:
                say(Said(sent=index + 1))
            time.sleep(_LONE_PAUSE_SECONDS)
    say(Said(sent=len(flights), start_ns=start_ns, batches_ns=batches_ns))
    return left_ns, lone_ns


def main() -> None:
    """`URL COUNT LONE FILE`: gets ready, waits for a line, sends, leaves the times in the file."""
    url, count, lone, file = sys.argv[1:]
    flights = list(packaged_flights(int(count)))
    _say(Said())
    sys.stdin.readline()
    left_ns, lone_ns = send_all(url, flights, int(lone), _say)
    Path(file).write_bytes(left_ns.tobytes() + lone_ns.tobytes())


def _say(said: Said) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
