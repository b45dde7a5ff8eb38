#!/usr/bin/env python
"""How fast one process receives and settles the messages of a work queue, acks durable.

lists            SimpleConsumer in threads: receive up to 32, ack them with one call
single           the same lists, each message acked by a call of its own
aio lists, aio single    the same with the asyncio twin, in tasks

Each in a group of its own over the same backlog of 100 B messages, against a broker of its own on
an empty directory. Checks that every message came exactly once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import threading
import time
from typing import Any

from shardmq.client import Admin, Message, Producer, SimpleConsumer, aio
from shardmq.router import Broker

TOPIC = "rates"
BODY = b"x" * 100
LIST = 32
WAIT_S = 5.0


class Count:
    """Messages received and acked, up to a number, and the time that took."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.acked: list[Any] = []
        self.began_s = time.perf_counter()
        self.ended_s = 0.0

    def add(self, messages: list[Any]) -> None:
        self.acked += messages  # in one step, whatever other threads do
        if len(self.acked) >= self.wanted and not self.ended_s:
            self.ended_s = time.perf_counter()

    @property
    def is_done(self) -> bool:
        return self.ended_s > 0

    def rate(self) -> int:
        count = len(self.acked)
        assert self.is_done, f"only {count:,} of {self.wanted:,} came"
        places = {(message.queue_id, message.offset) for message in self.acked}
        assert len(places) == count, "some messages came twice"
        return round(self.wanted / (self.ended_s - self.began_s))


def in_threads(url: str, group: str, threads: int, count: Count, *, single: bool) -> int:
    """Messages a second of one SimpleConsumer in some threads."""
    with SimpleConsumer(url, group, start_from="earliest") as consumer:
        consumer.subscribe(TOPIC)
        consumer.start()

        def work() -> None:
            while not count.is_done:
                messages = consumer.receive(LIST, wait=WAIT_S)
                if single:
                    for message in messages:
                        consumer.ack(message)
                        count.add([message])
                elif messages:
                    consumer.ack(messages)
                    count.add(messages)
                else:
                    return

        workers = [threading.Thread(target=work) for _ in range(threads)]
        count.began_s = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return count.rate()


async def in_tasks(url: str, group: str, tasks: int, count: Count, *, single: bool) -> int:
    """Messages a second of one aio.SimpleConsumer in some tasks."""
    async with aio.SimpleConsumer(url, group, start_from="earliest") as consumer:
        consumer.subscribe(TOPIC)
        await consumer.start()

        async def work() -> None:
            while not count.is_done:
                messages = await consumer.receive(LIST, wait=WAIT_S)
                if single:
                    for message in messages:
                        await consumer.ack(message)
                        count.add([message])
                elif messages:
                    await consumer.ack(messages)
                    count.add(messages)
                else:
                    return

        count.began_s = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(tasks)))
    return count.rate()


def measured(url: str, options: argparse.Namespace) -> dict[str, int]:
    """All four."""
    whole, part = options.messages, options.single
    rates = {}
    rates["lists_per_second"] = in_threads(
        url, "lists", options.threads, Count(whole), single=False
    )
    rates["single_acks_per_second"] = in_threads(
        url, "single", options.single_threads, Count(part), single=True
    )
    rates["aio_lists_per_second"] = asyncio.run(
        in_tasks(url, "aio-lists", options.threads, Count(whole), single=False)
    )
    rates["aio_single_acks_per_second"] = asyncio.run(
        in_tasks(url, "aio-single", options.single_threads, Count(part), single=True)
    )
    return rates


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: work_rates.py --messages 1000000 --threads 32",
    )
    parser.add_argument("--messages", type=int, default=500_000, help="acked in lists")
    parser.add_argument("--single", type=int, default=50_000, help="acked one by one")
    parser.add_argument("--threads", type=int, default=64, help="or tasks, that ack lists")
    parser.add_argument("--single-threads", type=int, default=64, help="that ack one by one")
    parser.add_argument("--queues", type=int, default=8)
    parser.add_argument("--shards", type=int, default=2)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="shardmq-rates-") as folder,
        Broker(folder, shards=options.shards, listen="tcp://127.0.0.1:0") as broker,
    ):
        with Admin(broker.url) as admin, Producer(broker.url) as producer:
            admin.create_topic(TOPIC, queues=options.queues)
            for _ in range(0, max(options.messages, options.single), 50_000):
                producer.send_batch([Message(TOPIC, BODY)] * 50_000)
        print(json.dumps(measured(broker.url, options), indent=2))


if __name__ == "__main__":
    main()
