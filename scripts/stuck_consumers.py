#!/usr/bin/env python
"""Consumers that never ack, never return and never read, at full rate: memory has to stay flat.

One process sends as fast as it can, one reads as fast as it can in a group of its own, and beside
them, each a process:

    never-acks     a PullConsumer that reads everything and commits nothing
    never-returns  a PushConsumer whose listeners hang for ever
    never-settles  a SimpleConsumer that receives, again and again, and settles nothing
    never-reads    a client that asks for messages again and again and never looks at an answer

The log is bounded (--retention), so what grows is memory that somebody forgot. The run fails if a
process exceeds --most, or if, in a run of a minute or more, its memory at the end is more than
--slack above what it had in the middle, or if sender or reader stand still for --still seconds.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import zmq

from shardmq.actors.protocol.codec import decode_header, encode_header
from shardmq.actors.protocol.frames import SHARD_ANY, pack_request
from shardmq.actors.protocol.messages import (
    Fetch,
    FetchQueue,
    Hello,
    RouteReply,
    RouteRequest,
)
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import Admin, Message, Producer, PullConsumer, PushConsumer, SimpleConsumer
from shardmq.router import Broker

TOPIC = "flood"
BODY = b"x" * 100
SEND_BATCH = 20_000
TELL_EVERY_S = 0.2
GROWTH_FROM_S = 60.0
"""Shorter runs do not say whether memory grows."""
MIB = 1 << 20


# --- the roles, each a process of its own ----------------------------------------------------


def feed(url: str) -> None:
    """Sends as fast as it can."""
    messages = [Message(TOPIC, BODY)] * SEND_BATCH
    with Producer(url, ack="written", timeout=60.0) as producer:
        while True:
            producer.send_batch(messages)
            said(SEND_BATCH)


def read(url: str) -> None:
    """Reads as fast as it can."""
    with PullConsumer(url, group="reader", start_from="latest") as consumer:
        consumer.subscribe(TOPIC)
        while True:
            said(len(consumer.poll(timeout=5.0, max_messages=10_000)))


def never_ack(url: str) -> None:
    """Reads everything, commits nothing."""
    with PullConsumer(url, group="never-acks", auto_commit=False, start_from="latest") as consumer:
        consumer.subscribe(TOPIC)
        while True:
            said(len(consumer.poll(timeout=5.0, max_messages=10_000)))


def never_return(url: str) -> None:
    """Its listeners hang."""
    with PushConsumer(url, group="never-returns", message_timeout=None) as consumer:
        consumer.subscribe(TOPIC, "*", lambda message: threading.Event().wait())
        consumer.start()
        threading.Event().wait()


def never_settle(url: str) -> None:
    """Receives and settles nothing."""
    with SimpleConsumer(url, group="never-settles", start_from="latest") as consumer:
        consumer.subscribe(TOPIC)
        while True:
            said(len(consumer.receive(max_messages=32, invisible_for=30, wait=1)))


def never_read(url: str) -> None:
    """Asks for messages again and again and never looks at an answer."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.set(zmq.RCVHWM, 1)
    socket.connect(url)
    ask(socket, Verb.HELLO, 1, Hello(client="never-reads"))
    socket.recv_multipart()
    ask(socket, Verb.ROUTE, 2, RouteRequest(topics=[TOPIC]))
    route = decode_header(socket.recv_multipart()[1], RouteReply).topics[0].route
    assert route is not None
    number = 2
    while True:
        for queue in route.queues:
            number += 1
            fetch = Fetch(queues=[FetchQueue(queue=queue.number, offset=0)])
            try:
                ask(socket, Verb.FETCH, number, fetch, queue.shard)
                said(1)
            except zmq.Again:
                time.sleep(0.01)


def ask(
    socket: zmq.Socket[bytes], verb: Verb, number: int, header: msgspec.Struct,
    shard: int = SHARD_ANY,
) -> None:  # fmt: skip
    frames = [pack_request(verb, number, 5_000, shard=shard), encode_header(header)]
    socket.send_multipart(frames, zmq.NOBLOCK)


class _Progress:
    """What a role tells the parent, a few times a second."""

    done = 0
    told_s = 0.0


def said(count: int) -> None:
    """So many messages more."""
    _Progress.done += count
    now_s = time.monotonic()
    if count and now_s - _Progress.told_s >= TELL_EVERY_S:
        _Progress.told_s = now_s
        print(_Progress.done, flush=True)


ROLES: dict[str, Callable[[str], None]] = {
    "feeder": feed,
    "reader": read,
    "never-acks": never_ack,
    "never-returns": never_return,
    "never-settles": never_settle,
    "never-reads": never_read,
}
MUST_MOVE = ("feeder", "reader")


# --- watching them ---------------------------------------------------------------------------


class Role:
    """One process, and how far it says it has come."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.done = 0
        self.moved_at_s = time.monotonic()
        self.still_s = 0.0
        words = ["--role", name, "--url", url]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.done = int(line)
            now_s = time.monotonic()
            self.still_s = max(self.still_s, now_s - self.moved_at_s)
            self.moved_at_s = now_s


class Memory:
    """Resident bytes of processes, second by second."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self.bytes: dict[str, list[int]] = {name: [] for name in pids}

    def sample(self) -> None:
        for name, process in self._processes.items():
            self.bytes[name].append(process.memory_info().rss)

    def figures(self) -> dict[str, dict[str, float]]:
        """MiB: the most of each third, and of all."""
        found = {}
        for name, samples in self.bytes.items():
            third = max(1, len(samples) // 3)
            parts = samples[:third], samples[third : 2 * third] or samples, samples[-third:]
            first, middle, last = (round(max(part) / MIB, 1) for part in parts)
            found[name] = {"first": first, "middle": middle, "last": last}
        return found


def run(options: argparse.Namespace) -> tuple[list[str], dict[str, Any]]:
    """Violations and figures of a whole run."""
    violations: list[str] = []
    retention = options.retention * MIB
    with tempfile.TemporaryDirectory(prefix="shardmq-stuck-", dir=options.directory) as folder:
        broker = Broker(
            Path(folder) / "data", shards=options.shards, listen="tcp://127.0.0.1:0",
            retention_bytes=retention, segment_bytes=min(64 * MIB, retention // 2),
        )  # fmt: skip
        with broker, Admin(broker.url) as admin:
            admin.create_topic(TOPIC, queues=options.queues)
            roles = [Role(name, broker.url) for name in ROLES]
            try:
                pids = broker.pids() | {role.name: role.process.pid for role in roles}
                memory = Memory(pids)
                until_s = time.monotonic() + options.seconds
                while time.monotonic() < until_s:
                    time.sleep(1.0)
                    violations += [
                        f"{role.name} ended" for role in roles if role.process.poll() is not None
                    ]
                    if violations:
                        break
                    memory.sample()
                after = broker.pids()
            finally:
                for role in roles:
                    role.process.send_signal(signal.SIGKILL)
                    role.process.wait()
    violations += [f"{name} was started anew" for name, pid in after.items() if pids[name] != pid]
    violations += judged(memory.figures(), roles, options)
    done = {one.name: one.done for one in roles}
    return violations, {"memory_mib": memory.figures(), "done": done}


def judged(
    memory: dict[str, dict[str, float]], roles: list[Role], options: argparse.Namespace
) -> list[str]:
    found = []
    for name, mib in memory.items():
        if max(mib.values()) > options.most:
            found.append(f"{name}: {max(mib.values())} MiB, at most {options.most} are allowed")
        if options.seconds >= GROWTH_FROM_S and mib["last"] > mib["middle"] + options.slack:
            found.append(f"{name} grows: {mib['middle']} MiB in the middle, {mib['last']} at last")
    for role in roles:
        if role.name in MUST_MOVE and (not role.done or role.still_s > options.still):
            found.append(f"{role.name} stood still for {role.still_s:.1f} s")
    return found


def main() -> None:
    """Runs, prints, and ends with 1 if memory was not flat."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: stuck_consumers.py --seconds 600",
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--queues", type=int, default=8)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--retention", type=int, default=512, help="MiB of log on each shard")
    parser.add_argument("--most", type=int, default=400, help="MiB of each process")
    parser.add_argument("--slack", type=int, default=24, help="MiB that a process may gain")
    parser.add_argument("--still", type=float, default=10.0, help="seconds without progress")
    parser.add_argument("--directory", help="where the data lies; default: the temporary one")
    for name in ("--role", "--url"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        ROLES[options.role](options.url)
        return
    violations, figures = run(options)
    for violation in violations:
        print(violation)
    print(json.dumps(figures, indent=2))
    print(f"{options.seconds:,.0f} s at full rate, {len(violations)} violations")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
