#!/usr/bin/env python
"""How fast members of a consumer group are: messages a second of one process, and end to end.

push     a backlog of 100 B messages, one PushConsumer with a listener that only counts
batch    the same, the listener gets lists of 32
pull     the same with PullConsumer.poll and auto-commit
members  the same with 1, 2 and 4 PushConsumers of one group, each a process; with the processor
         seconds of each run's members and broker for a million messages
latency  an open-loop stream at --rate, of a process of its own, through a PushConsumer: from the
         send to the listener, without the first second

Each in a group of its own, started fresh, against a broker of its own on an empty directory.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import psutil

from shardmq.client import Admin, Message, Producer, PullConsumer, PushConsumer
from shardmq.router import Broker

TOPIC = "rates"
BODY = b"x" * 100
STAMP = struct.Struct("<d")
WAIT_S = 120.0


class Count:
    """Messages so far, and when the first and the last of `total` came."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.seen = 0
        self.began_s = 0.0
        self.ended_s = 0.0
        self.whole = threading.Event()
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            if not self.seen:
                self.began_s = time.perf_counter()
            self.seen += count
            if self.seen >= self.total:
                self.ended_s = time.perf_counter()
                self.whole.set()

    def rate(self) -> int:
        assert self.whole.wait(WAIT_S), f"only {self.seen:,} of {self.total:,} came"
        return round(self.total / (self.ended_s - self.began_s))


def pushed(url: str, total: int, batch: int | None) -> int:
    """Messages a second of one PushConsumer."""
    count = Count(total)
    one_by_one = batch is None
    with PushConsumer(url, group=f"push-{batch}", start_from="earliest") as consumer:
        if one_by_one:
            consumer.subscribe(TOPIC, "*", lambda message: count.add(1))
        else:
            consumer.subscribe(TOPIC, "*", lambda messages: count.add(len(messages)), batch=batch)
        consumer.start()
        return count.rate()


def pulled(url: str, total: int) -> int:
    """Messages a second of one PullConsumer."""
    count = Count(total)
    with PullConsumer(url, group="pull") as consumer:
        consumer.subscribe(TOPIC)
        while not count.whole.is_set():
            messages = consumer.poll(timeout=5.0, max_messages=10_000)
            assert messages, f"only {count.seen:,} of {total:,} came"
            count.add(len(messages))
    return count.rate()


def member(url: str, group: str) -> None:
    """One member, in a process of its own: says when its first and its last message came."""
    count = Count(sys.maxsize)
    ended_s = 0.0

    def listener(message: Any) -> None:
        nonlocal ended_s
        count.add(1)
        ended_s = time.perf_counter()

    with PushConsumer(url, group=group, start_from="earliest") as consumer:
        consumer.subscribe(TOPIC, "*", listener)
        consumer.start()
        print("ready", flush=True)
        sys.stdin.readline()
    print(json.dumps([count.seen, count.began_s, ended_s]), flush=True)


def of_members(broker: Broker, total: int, members: int) -> dict[str, float]:
    """Messages a second of several members of one group, and what they cost."""
    group = f"members-{members}"
    words = [sys.executable, __file__, "--member", group, "--url", broker.url]
    before = {pid: sum(psutil.Process(pid).cpu_times()[:2]) for pid in broker.pids().values()}
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) for _ in range(members)
    ]
    with Admin(broker.url) as admin:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        until_s = time.perf_counter() + WAIT_S
        while admin.describe_group(group).lag and time.perf_counter() < until_s:
            time.sleep(0.2)
    cpu_s = sum(sum(psutil.Process(one.pid).cpu_times()[:2]) for one in processes)
    cpu_s += sum(sum(psutil.Process(pid).cpu_times()[:2]) - was for pid, was in before.items())
    rows = [json.loads(process.communicate("end\n")[0]) for process in processes]
    seen = sum(row[0] for row in rows)
    assert seen >= total, f"only {seen:,} of {total:,} came"
    began_s = min(row[1] for row in rows if row[0])
    ended_s = max(row[2] for row in rows)
    return {
        "per_second": round(seen / (ended_s - began_s)),
        "cpu_seconds_a_million": round(1e6 * cpu_s / seen, 2),
    }


def rates(broker: Broker, total: int) -> dict[str, Any]:
    """All that read the backlog of `total` messages."""
    return {
        "push_per_second": pushed(broker.url, total, None),
        "batch_of_32_per_second": pushed(broker.url, total, 32),
        "pull_per_second": pulled(broker.url, total),
        "members": {count: of_members(broker, total, count) for count in (1, 2, 4)},
    }


def stream(url: str, rate: int, seconds: float) -> None:
    """Sends `rate` messages a second whatever comes back, in a process of its own."""
    pad = b"x" * (len(BODY) - STAMP.size)
    with Producer(url, linger=0.001) as producer:
        began_s = time.perf_counter()
        sent = 0
        while (now_s := time.perf_counter()) < began_s + seconds:
            due = int((now_s - began_s) * rate)
            for number in range(sent, due):
                # Stamped with the time at which it was due: a late send counts.
                stamp = STAMP.pack(began_s + number / rate)
                producer.send_async(Message("latency", stamp + pad))
            sent = due
            time.sleep(0.0005)
        producer.flush()
    print(sent, flush=True)


def latencies(url: str, rate: int, seconds: float) -> dict[str, float]:
    """Milliseconds from send to listener, of an open-loop stream."""
    taken_ms: list[float] = []

    def listener(message: Any) -> None:
        # One clock for all processes of a machine.
        (sent_s,) = STAMP.unpack(message.body[: STAMP.size])
        taken_ms.append((time.perf_counter() - sent_s) * 1e3)

    words = [sys.executable, __file__, "--stream", "--url", url]
    words += ["--rate", str(rate), "--seconds", str(seconds)]
    with PushConsumer(url, group="latency", start_from="latest") as consumer:
        consumer.subscribe("latency", "*", listener)
        consumer.start()
        done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=WAIT_S)
        sent = int(done.stdout)
        until_s = time.perf_counter() + 10
        while len(taken_ms) < sent and time.perf_counter() < until_s:
            time.sleep(0.01)
    assert len(taken_ms) == sent, f"{sent - len(taken_ms)} of {sent} never came"
    ordered = sorted(taken_ms[rate:])  # without the first second
    points = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {
        name: round(ordered[int(part * (len(ordered) - 1))], 3) for name, part in points.items()
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: group_rates.py --messages 2000000",
    )
    parser.add_argument("--messages", type=int, default=1_000_000, help="of the backlog")
    parser.add_argument("--rate", type=int, default=20_000, help="of the stream, a second")
    parser.add_argument("--seconds", type=float, default=5.0, help="of the stream")
    parser.add_argument("--queues", type=int, default=8)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--only", choices=("rates", "latency"), help="leave the others out")
    for name in ("--member", "--url"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--stream", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stream:
        stream(options.url, options.rate, options.seconds)
        return
    if options.member:
        member(options.url, options.member)
        return
    with (
        tempfile.TemporaryDirectory(prefix="shardmq-rates-") as folder,
        Broker(folder, shards=options.shards, listen="tcp://127.0.0.1:0") as broker,
    ):
        with Admin(broker.url) as admin, Producer(broker.url) as producer:
            admin.create_topic(TOPIC, queues=options.queues)
            admin.create_topic("latency", queues=options.queues)
            for _ in range(0, options.messages if options.only != "latency" else 0, 100_000):
                producer.send_batch([Message(TOPIC, BODY)] * 100_000)
        result: dict[str, Any] = {}
        if options.only != "latency":
            result |= rates(broker, -(-options.messages // 100_000) * 100_000)
        if options.only != "rates":
            result["latency_ms"] = latencies(broker.url, options.rate, options.seconds)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
