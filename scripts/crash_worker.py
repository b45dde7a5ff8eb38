#!/usr/bin/env python
"""One client of the crash loop: a producer, a tailing reader or a hopping reader.

Owns one process that writes down what it sees, as it sees it, into a file of its own: the broker's
death must never take the record along. Started by crash_loop.py, read by support.crash_record.

    producer                                       reader
    S sequence key time          is sent           N reader                  a new reader starts
    A sequence queue offset time acknowledged      R queue offset body       it got this
    F sequence code              failed for sure
    U sequence code              unknown

Times are monotonic nanoseconds, which on Linux all processes share.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from shardmq.client import Admin, Message, Producer, PullConsumer
from shardmq.client.errors import SendFailed, ShardMQError

KEYS = 16
WINDOW = 256
BURST = 8
TIMEOUT_SECONDS = 30.0
HOP_MESSAGES = 2_000


class Notes:
    """Lines to a file, each handed to the kernel at once: a killed process loses none."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        with self._lock:
            os.write(self._descriptor, text.encode())


def produce(arguments: argparse.Namespace, notes: Notes, stopped: Callable[[], bool]) -> None:
    """Sends small bursts with a bounded number of messages on their way, until it is stopped."""
    room = threading.Semaphore(WINDOW)
    chance = random.Random(arguments.name)
    sequence = 0

    def settled(number: int) -> Callable[[Any], None]:
        def note(future: Any) -> None:
            room.release()
            _note_outcome(notes, number, future)

        return note

    producer = Producer(arguments.url, ack=arguments.ack, timeout=TIMEOUT_SECONDS, linger=0.002)
    with producer:
        while not stopped():
            for _ in range(chance.randint(1, BURST)):
                while not room.acquire(timeout=0.1):
                    if stopped():
                        return
                key = f"k{chance.randrange(KEYS)}"
                sequence += 1
                notes.write(f"S {sequence} {key} {time.monotonic_ns()}\n")
                body = f"{arguments.name}:{key}:{sequence}".encode()
                try:
                    future = producer.send_async(
                        Message(arguments.topic, body, ordering_key=f"{arguments.name}/{key}")
                    )
                except ShardMQError as error:
                    room.release()
                    notes.write(f"F {sequence} {error.code.name}\n")
                    continue
                future.add_done_callback(settled(sequence))
            time.sleep(chance.uniform(0, 2 * BURST / 2 / arguments.rate))


def _note_outcome(notes: Notes, sequence: int, future: Any) -> None:
    error = future.exception()
    if error is None:
        receipt = future.result()
        at_ns = time.monotonic_ns()
        notes.write(f"A {sequence} {receipt.queue_id} {receipt.offset} {at_ns}\n")
    else:
        kind = "F" if isinstance(error, SendFailed) else "U"
        notes.write(f"{kind} {sequence} {error.code.name}\n")


def tail(arguments: argparse.Namespace, notes: Notes, stopped: Callable[[], bool]) -> None:
    """Reads all queues from the start and stays."""
    notes.write(f"N {arguments.name}\n")
    with PullConsumer(arguments.url, start_from="earliest") as consumer:
        consumer.assign(arguments.topic)
        while not stopped():
            _read(consumer, notes, 0.25)


def hop(arguments: argparse.Namespace, notes: Notes, stopped: Callable[[], bool]) -> None:
    """Reads again from random offsets: what was seen once must be there when seen again."""
    chance = random.Random(arguments.name)
    hops = 0
    with PullConsumer(arguments.url) as consumer, Admin(arguments.url) as admin:
        consumer.assign(arguments.topic)
        while not stopped():
            try:
                queues = admin.describe_topic(arguments.topic).queues
                for queue in queues:
                    offset = chance.randint(queue.earliest, queue.latest)
                    consumer.seek(arguments.topic, queue.queue_id, offset)
            except ShardMQError:
                time.sleep(0.1)  # the coordinator or a shard restarts
                continue
            hops += 1
            notes.write(f"N {arguments.name}-{hops}\n")
            until = time.monotonic() + 2.0
            left = HOP_MESSAGES
            while left > 0 and time.monotonic() < until and not stopped():
                left -= _read(consumer, notes, 0.25)


def _read(consumer: PullConsumer, notes: Notes, seconds: float) -> int:
    try:
        messages = consumer.poll(timeout=seconds, max_messages=1_000)
    except ShardMQError as error:
        notes.write(f"E {type(error).__name__}\n")
        time.sleep(0.05)
        return 0
    if messages:
        notes.write("".join(f"R {m.queue_id} {m.offset} {m.body.decode()}\n" for m in messages))
    return len(messages)


ROLES: dict[str, Callable[[argparse.Namespace, Notes, Callable[[], bool]], None]] = {
    "produce": produce,
    "tail": tail,
    "hop": hop,
}


def main() -> None:
    """Runs one role until SIGTERM or until its parent is gone."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--url", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--name", required=True, help="names this life of this client")
    parser.add_argument("--notes", required=True, help="file to append to")
    parser.add_argument("--ack", choices=["synced", "written"], default="synced")
    parser.add_argument("--rate", type=float, default=1_000.0, help="messages a second, about")
    arguments = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    ROLES[arguments.role](
        arguments, Notes(arguments.notes), lambda: stop.is_set() or os.getppid() != parent
    )


if __name__ == "__main__":
    main()
