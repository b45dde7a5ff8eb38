"""Backups: what docs/operations.md promises of a copy, of a stopped broker and of a running one."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from shardmq.client import Admin, Message, Producer, PullConsumer
from shardmq.router import Broker

TOPIC = "orders"
QUEUES = 4


def broker_on(data: Path) -> Broker:
    return Broker(data, shards=2, listen="tcp://127.0.0.1:0")


def send(url: str, first: int, count: int) -> None:
    with Producer(url) as producer:
        producer.send_batch(
            [
                Message(TOPIC, b"%d" % number, ordering_key=f"k{number % 10}")
                for number in range(first, first + count)
            ]
        )


def stored(url: str) -> dict[int, list[bytes]]:
    """Every body of the topic, by queue, in order."""
    found: dict[int, list[bytes]] = {queue_id: [] for queue_id in range(QUEUES)}
    with Admin(url) as admin:
        left = admin.describe_topic(TOPIC).messages
    with PullConsumer(url) as consumer:
        consumer.assign(TOPIC)
        while left > 0:
            messages = consumer.poll(timeout=20)
            assert messages, f"{left} messages do not come"
            left -= len(messages)
            for message in messages:
                assert message.offset == len(found[message.queue_id]), "no gap"
                found[message.queue_id].append(message.body)
    return found


def test_a_copy_of_a_stopped_broker_is_complete_and_stands_alone(tmp_path: Path) -> None:
    with broker_on(tmp_path / "data") as broker:
        with Admin(broker.url) as admin:
            admin.create_topic(TOPIC, queues=QUEUES)
        send(broker.url, 0, 3_000)
        before = stored(broker.url)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    with broker_on(tmp_path / "data") as original, broker_on(tmp_path / "copy") as copy:
        assert stored(original.url) == stored(copy.url) == before
        send(copy.url, 3_000, 100)
        assert stored(original.url) == before, "the copy is a broker of its own"


class Sender(threading.Thread):
    """Sends on and on, so that files grow while they are copied."""

    def __init__(self, url: str, first: int) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._first = first
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            send(self._url, self._first, 200)
            self._first += 200


@pytest.mark.parametrize("run", range(3))
def test_a_copy_of_a_running_broker_has_all_that_was_acknowledged_before(
    run: int, tmp_path: Path
) -> None:
    """Shards first, the coordinator last, as the page says: a topic is never newer than its map."""
    data, copied = tmp_path / "data", tmp_path / "copy"
    with broker_on(data) as broker:
        with Admin(broker.url) as admin:
            admin.create_topic(TOPIC, queues=QUEUES)
        send(broker.url, 0, 2_000)
        before = stored(broker.url)
        sender = Sender(broker.url, 2_000)
        sender.start()
        copied.mkdir()
        shutil.copyfile(data / "format.json", copied / "format.json")
        for part in ("shard-0", "shard-1", "coordinator"):
            shutil.copytree(data / part, copied / part)
        sender.stopped.set()
        sender.join()
        after = stored(broker.url)
    with broker_on(copied) as copy:
        there = stored(copy.url)
    for queue_id in range(QUEUES):
        kept = there[queue_id]
        assert kept[: len(before[queue_id])] == before[queue_id], "acknowledged before the copy"
        assert kept == after[queue_id][: len(kept)], "a prefix of what the original has"


def test_a_copy_of_everything_does_not_disturb_the_original(tmp_path: Path) -> None:
    """Also the note that says where the sockets of the original are."""
    with broker_on(tmp_path / "data") as original:
        with Admin(original.url) as admin:
            admin.create_topic(TOPIC, queues=QUEUES)
        send(original.url, 0, 100)
        shutil.copytree(tmp_path / "data", tmp_path / "copy")
        with broker_on(tmp_path / "copy") as copy:
            assert sum(map(len, stored(copy.url).values())) == 100
        send(original.url, 100, 100)
        assert sum(map(len, stored(original.url).values())) == 200
        sockets = original._data
        assert sockets is not None
        assert list(sockets.run.iterdir()), "the original's sockets are still there"
