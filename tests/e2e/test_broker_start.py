"""Real processes: how fast they are there, what they cost while idle, and when they refuse."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shardmq.router import Broker
from shardmq.router.errors import AddressInUse, DataDirInUse, DataDirShards, StartFailed
from support.raw_client import RawClient

FIRST_ACK_S = 10.0
"""Only that it does not hang: how long it takes is measured by scripts/footprint.py."""
IDLE_RSS_BYTES = 160_000_000
IDLE_CPU = 0.02
"""Processor time by time, all processes together."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    directory = tmp_path_factory.mktemp("broker") / "data"
    with Broker(directory, shards=2, listen="tcp://127.0.0.1:0") as running:
        yield running


def test_the_first_message_is_acknowledged_soon_after_the_start(tmp_path: Path) -> None:
    started = time.monotonic()
    with (
        Broker(tmp_path / "data", shards=2, listen="tcp://127.0.0.1:0") as broker,
        RawClient(broker.url) as client,
    ):
        [queue] = client.create_topic("first", queues=1).queues
        client.produce(queue, b"hello", 0)
        took = time.monotonic() - started
        assert client.codes_met == set(), "ready means ready"
    assert took < FIRST_ACK_S


def test_an_idle_broker_costs_little(broker: Broker) -> None:
    processes = [psutil.Process(pid) for pid in broker.pids().values()]
    resident = sum(one.memory_info().rss for one in processes)

    def cpu_seconds() -> float:
        return sum(sum(one.cpu_times()[:2]) for one in processes)

    before = cpu_seconds()
    time.sleep(2.0)
    assert (cpu_seconds() - before) / 2.0 < IDLE_CPU
    # The supervisor's share: this process has all of pytest in it, so a bare one is measured.
    program = (
        "import os, psutil\n"
        "from shardmq.router.broker import Broker\n"
        "print(psutil.Process().memory_info().rss)"
    )
    bare = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert resident + int(bare.stdout) < IDLE_RSS_BYTES


def test_the_directory_has_one_broker_and_the_refusal_says_which(broker: Broker) -> None:
    second = Broker(broker.data_dir, listen="tcp://127.0.0.1:0")
    with pytest.raises(DataDirInUse, match=rf"process {psutil.Process().pid} on .* since 20"):
        second.start()
    assert second.pids() == {}
    second.stop()


def test_the_port_has_one_broker(broker: Broker, tmp_path: Path) -> None:
    with pytest.raises(AddressInUse, match="listens on this port already"):
        Broker(tmp_path / "other", listen=broker.url).start()
    with RawClient(broker.url) as client:
        assert client.welcome.shards == 2
    with Broker(tmp_path / "other", listen="tcp://127.0.0.1:0", shards=1) as other:
        assert other.url != broker.url, "the refused start left nothing locked"


def test_a_port_that_is_shared_by_others_is_taken_too(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        for routers in (1, 2):
            with pytest.raises(AddressInUse):
                Broker(tmp_path / "data", listen=address, routers=routers).start()


def test_a_port_can_be_taken_again_at_once(tmp_path: Path) -> None:
    with Broker(tmp_path / "data", shards=1, listen="tcp://127.0.0.1:0") as first:
        url = first.url
        client = RawClient(url)
    with Broker(tmp_path / "data", listen=url) as second:
        assert second.url == url
        client.hello()
    client.close()


def test_the_number_of_shards_is_fixed(broker: Broker) -> None:
    directory = broker.data_dir.parent / "fixed"
    Broker(directory, shards=1, listen="tcp://127.0.0.1:0").start().stop()
    with pytest.raises(DataDirShards, match=r"made for 1 shard.*, not 2"):
        Broker(directory, shards=2, listen="tcp://127.0.0.1:0").start()


def test_a_process_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    Broker(directory, shards=1, listen="tcp://127.0.0.1:0").start().stop()
    segment = next((directory / "shard-0").glob("*.log"))
    for other in (directory / "coordinator").glob("*.log"):
        other.write_bytes(segment.read_bytes())
        other.rename(other.with_name(segment.name))
    broken = Broker(directory, listen="tcp://127.0.0.1:0", log_level="error")
    with pytest.raises(StartFailed, match="coordinator: "):
        broken.start()
    assert broken.pids() == {}


def test_it_can_be_started_in_a_thread_that_ends_and_stopped_in_another(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "data", shards=1, listen="tcp://127.0.0.1:0")
    thread = threading.Thread(target=broker.start)
    thread.start()
    thread.join()
    with RawClient(broker.url) as client:
        [queue] = client.create_topic("threads", queues=1).queues
        client.produce(queue, b"hello", 0)
    assert not broker.wait(timeout=0.05)
    stopper = threading.Thread(target=broker.request_stop)
    stopper.start()
    assert broker.wait(timeout=10)
    stopper.join()
    broker.stop()
    broker.stop()


def test_a_broker_can_be_started_again(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "data", shards=1, listen="tcp://127.0.0.1:0")
    for _ in range(2):
        with broker as running, RawClient(running.url) as client:
            assert client.welcome.shards == 1
