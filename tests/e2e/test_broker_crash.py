"""Real processes, killed with -9: back within two seconds, and nobody else notices more than codes
that say "try again"."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codes import row_of
from shardmq.actors.protocol.verbs import Verb
from shardmq.router import Broker
from support.raw_client import RawClient

BACK_S = 2.0
NAMES = ("shard-0", "shard-1", "coordinator", "router-0")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    directory = tmp_path_factory.mktemp("broker") / "data"
    with Broker(directory, shards=2, listen="tcp://127.0.0.1:0", log_level="error") as running:
        yield running


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_process_is_back_within_two_seconds(broker: Broker, name: str) -> None:
    with RawClient(broker.url) as client:
        route = client.create_topic(f"crash-{name}", queues=2)
        for queue in route.queues:
            client.produce(queue, b"before", 0)
        killed = broker.pids()[name]
        others = {pid for other, pid in broker.pids().items() if other != name}
        os.kill(killed, signal.SIGKILL)
        started = time.monotonic()
        for queue in route.queues:
            assert client.produce(queue, b"after", 1) == 1
        client.insist(Verb.TOPIC_LIST, m.TopicList())
        # A call that was on its way when the process died proves nothing; now all have answered.
        for shard in (0, 1):
            client.insist(Verb.STATS, m.StatsRequest(), shard=shard)
        assert time.monotonic() - started < BACK_S
        assert all(row_of(code).retryable for code in client.codes_met)
        for queue in route.queues:
            assert client.fetch(queue) == [b"before", b"after"]
        assert broker.pids()[name] != killed
        assert others < set(broker.pids().values()), "nobody else was restarted"


def test_shards_serve_while_the_coordinator_is_away(broker: Broker) -> None:
    with RawClient(broker.url) as client:
        route = client.create_topic("alone", queues=2)
        coordinator = broker.pids()["coordinator"]
        os.kill(coordinator, signal.SIGSTOP)
        try:
            for queue in route.queues:
                client.produce(queue, b"served", 0)
                assert client.fetch(queue) == [b"served"]
            with pytest.raises(TimeoutError):
                client.call(Verb.TOPIC_LIST, m.TopicList(), m.TopicListReply, timeout=0.3)
        finally:
            os.kill(coordinator, signal.SIGCONT)
        client.insist(Verb.TOPIC_LIST, m.TopicList())


def test_the_port_stays_taken_while_the_router_restarts(broker: Broker) -> None:
    url = broker.url
    os.kill(broker.pids()["router-0"], signal.SIGKILL)
    started = time.monotonic()
    with RawClient(url) as client:
        assert client.welcome.shards == 2
    assert time.monotonic() - started < BACK_S
    assert broker.url == url


PROGRAM = """
import sys
from shardmq.router import Broker
broker = Broker(sys.argv[1], shards=2, listen="tcp://127.0.0.1:0").start()
print(*broker.pids().values(), flush=True)
sys.stdin.read()
"""


def test_processes_end_with_the_program_however_it_ends(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "data")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as program:
        assert program.stdout is not None
        children = [psutil.Process(int(pid)) for pid in program.stdout.readline().split()]
        assert len(children) == 4
        program.kill()
        program.wait()
    _gone, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    with Broker(tmp_path / "data", listen="tcp://127.0.0.1:0") as again:
        assert again.shards == 2


def test_a_program_that_just_ends_stops_its_broker_in_order(tmp_path: Path) -> None:
    program = PROGRAM.replace("sys.stdin.read()", "")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(tmp_path / "data")],
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert done.stderr == b""
    assert not any(psutil.pid_exists(int(pid)) for pid in done.stdout.split())
