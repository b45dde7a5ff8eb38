#!/usr/bin/env python
"""What one request costs: a lone `send`, again and again, on a broker of its own.

wall    from the call to the receipt (p50, p99), and the mean round trip of the same frames through
        bare ZeroMQ sockets over the same two hops
cpu     time that each thread of each process ran, for each send, as the scheduler counted it: main
        is the actor's loop or the caller, zeromq the library's I/O thread, other the disk's thread
        of a shard and the client's background thread
calls   function calls of the client for each send, counted by the profiler in a run of its own

With --cpus all processes are kept on the processors named. On one processor nothing is woken on
another one, so the sum of `cpu` is about the wall time; what it has more on two is what waking
threads across processors costs.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import tempfile
import time
from pathlib import Path
from typing import Any

from shardmq.client import Admin, Message, Producer
from shardmq.router import Broker
from shardmq.router.bench.raw import raw_sockets

BODY_BYTES = 100
FRAME_BYTES = 170
"""Of a batch with one such message."""
WARM_UP = 300
ACKS = ("written", "synced")


def measure(sends: int, directory: str | None) -> dict[str, Any]:
    """All figures, by ack mode."""
    figures: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory(prefix="shardmq-cost-", dir=directory) as folder,
        Broker(Path(folder) / "data", shards=2, listen="tcp://127.0.0.1:0") as broker,
    ):
        with Admin(broker.url) as admin:
            admin.create_topic("cost", queues=8)
        for ack in ACKS:
            with Producer(broker.url, ack=ack) as producer:  # type: ignore[arg-type]
                figures[ack] = of_sends(producer, {**broker.pids(), "client": os.getpid()}, sends)
    figures["bare_round_trip_us"] = round(1e6 / raw_sockets(FRAME_BYTES, 2.0, window=1))
    return figures


def of_sends(producer: Producer, pids: dict[str, int], sends: int) -> dict[str, Any]:
    """Wall, processor time and calls of one producer's sends."""
    message = Message("cost", b"x" * BODY_BYTES)
    for _ in range(WARM_UP):
        producer.send(message)
    before = {name: ran_ns(pid) for name, pid in pids.items()}
    samples_ns = []
    for _ in range(sends):
        start_ns = time.monotonic_ns()
        producer.send(message)
        samples_ns.append(time.monotonic_ns() - start_ns)
    cpu_us: dict[str, dict[str, float]] = {}
    for name, pid in pids.items():
        spent = {
            thread: round((ns - before[name].get(thread, 0)) / sends / 1e3, 1)
            for thread, ns in ran_ns(pid).items()
        }
        cpu_us[name] = {thread: us for thread, us in spent.items() if us >= 1}
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(WARM_UP):
        producer.send(message)
    profile.disable()
    calls: Any = pstats.Stats(profile)
    samples_ns.sort()
    return {
        "p50_us": samples_ns[sends // 2] / 1e3,
        "p99_us": samples_ns[sends * 99 // 100] / 1e3,
        "cpu_us": {name: threads for name, threads in cpu_us.items() if threads},
        "client_calls": round(calls.total_calls / WARM_UP),
    }


def ran_ns(pid: int) -> dict[str, int]:
    """Processor time of a process so far, by kind of thread."""
    spent: dict[str, int] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text()
        if int(task.name) == pid:
            kind = "main"
        else:
            kind = "zeromq" if name.startswith("ZMQ") else "other"
        spent[kind] = spent.get(kind, 0) + int((task / "schedstat").read_text().split()[0])
    return spent


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sends", type=int, default=3_000)
    parser.add_argument("--cpus", help="processors to stay on, as 0 or 0,1")
    parser.add_argument("--directory", help="where to keep the data meanwhile")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    if arguments.cpus:
        os.sched_setaffinity(0, {int(cpu) for cpu in arguments.cpus.split(",")})
    figures = measure(arguments.sends, arguments.directory)
    if arguments.json:
        print(json.dumps(figures))
        return
    for ack in ACKS:
        row = figures[ack]
        print(f"{ack}: p50 {row['p50_us']:.0f} us, p99 {row['p99_us']:.0f} us,", end=" ")
        print(f"{row['client_calls']} function calls in the client")
        for name, threads in row["cpu_us"].items():
            parts = ", ".join(f"{thread} {us:.0f}" for thread, us in sorted(threads.items()))
            print(f"  {name:<12} {sum(threads.values()):>5.0f} us of processor: {parts}")
    print(f"bare sockets over the same hops: {figures['bare_round_trip_us']} us a round trip")


if __name__ == "__main__":
    main()
