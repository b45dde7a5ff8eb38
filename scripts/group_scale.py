#!/usr/bin/env python
"""Many consumer groups at once: what they cost the coordinator, and what one group's change costs
the others.

Starts a broker, creates a topic for each group, and lets members (multiplexed: some hundred on one
connection, on the bare protocol) join, wait for events and commit. Then, for the same time each:

quiet      all members heartbeat and commit
rebalance  the same, while in some groups a second a member leaves and comes back

Prints, for both, the processor time of each process, how long commits took, and how long a leave or
a join took until the group's queues were all held again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from typing import Any

import psutil
from group_members import Group, Worker

from shardmq.client import Admin, Message, Producer
from shardmq.router import Broker


def work(pipe: Connection, url: str, names: list[str], queues: int, members: int) -> None:
    """A worker process: joins, then runs as the pipe says."""
    worker = Worker(url, [Group(name, name, queues) for name in names], members)
    worker.join_all()
    pipe.send("joined")
    while True:
        while not pipe.poll():
            worker.turn(20)
        order = pipe.recv()
        if order is None:
            return
        pipe.send(worker.run(*order))


def prepared(url: str, names: list[str], queues: int, messages: int) -> None:
    """Topics with some messages in each queue, so that commits have something to move over."""
    with Admin(url) as admin, Producer(url) as producer:
        for done, name in enumerate(names, 1):
            admin.create_topic(name, queues=queues)
            producer.send_batch([Message(name, b"x")] * (queues * messages))
            if done % 100 == 0:
                print(f"{done:,} of {len(names):,} topics", file=sys.stderr)


def cpu_seconds(pids: dict[str, int]) -> dict[str, float]:
    return {name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in pids.items()}


def quantile(values: list[float], part: float) -> float | None:
    ordered = sorted(values)
    return round(ordered[int(part * (len(ordered) - 1))], 2) if ordered else None


def measured(
    pipes: list[Connection], pids: dict[str, int], order: tuple[float, float, float]
) -> dict[str, Any]:
    """One phase: shares of a core, commits and changes."""
    before, began_s = cpu_seconds(pids), time.monotonic()
    for pipe in pipes:
        pipe.send(order)
    results = [pipe.recv() for pipe in pipes]
    seconds = time.monotonic() - began_s
    after = cpu_seconds(pids)
    commits = [one for result in results for one in result["commit_ms"]]
    changes = [one for result in results for one in result["change_ms"]]
    return {
        "core_percent": {
            name: round(100 * (after[name] - before[name]) / seconds, 1) for name in pids
        },
        "commits_per_second": round(len(commits) / seconds),
        "commit_p50_ms": quantile(commits, 0.5),
        "commit_p99_ms": quantile(commits, 0.99),
        "changes": len(changes),
        "change_p50_ms": quantile(changes, 0.5),
        "change_max_ms": quantile(changes, 1.0),
        "refused": [result["refused"] for result in results],
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: group_scale.py --groups 1000 --members 10 --seconds 30",
    )
    parser.add_argument("--groups", type=int, default=1_000)
    parser.add_argument("--members", type=int, default=10, help="of each group")
    parser.add_argument("--queues", type=int, default=10, help="of each group's topic")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase")
    parser.add_argument("--commit-every", type=float, default=5.0, help="seconds, each member")
    parser.add_argument("--changes", type=float, default=5.0, help="a second, in the second phase")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="processes with members")
    options = parser.parse_args()
    names = [f"group-{index}" for index in range(options.groups)]
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="shardmq-groups-") as folder,
        Broker(folder, shards=options.shards, listen="tcp://127.0.0.1:0") as broker,
    ):
        prepared(broker.url, names, options.queues, 100)
        pipes, processes = [], []
        for index in range(options.workers):
            ours, theirs = context.Pipe()
            part = names[index :: options.workers]
            process = context.Process(
                target=work,
                args=(theirs, broker.url, part, options.queues, options.members),
                daemon=True,
            )
            process.start()
            pipes.append(ours)
            processes.append(process)
        began_s = time.monotonic()
        for pipe in pipes:
            assert pipe.recv() == "joined"
        result: dict[str, Any] = {"all_joined_seconds": round(time.monotonic() - began_s, 2)}
        order = options.seconds, options.commit_every, 0.0
        result["quiet"] = measured(pipes, broker.pids(), order)
        changing = options.seconds, options.commit_every, options.changes / options.workers
        result["rebalance"] = measured(pipes, broker.pids(), changing)
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.send(None)
            process.join(10)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
