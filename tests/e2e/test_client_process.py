"""The client in a user's program: fork, exit without close, no broker, a broker that comes back."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardmq.client import Admin, Message, Producer, errors
from shardmq.router import Broker


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("broker") / "data"
    with Broker(str(data), shards=1, listen="tcp://127.0.0.1:0") as broker:
        with Admin(broker.url) as admin:
            admin.create_topic("t", queues=2)
        yield broker.url


def run(program: str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env={**os.environ, "SHARDMQ_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def count(url: str) -> int:
    with Admin(url) as admin:
        return admin.describe_topic("t").messages


def test_a_program_that_forgets_to_close_loses_nothing(url: str) -> None:
    before = count(url)
    program = """
        from shardmq.client import Message, Producer
        producer = Producer(linger=5)
        for number in range(1000):
            producer.send_async(Message("t", b"x"))
    """
    done = run(program, url)
    assert done.returncode == 0, done.stderr
    assert count(url) == before + 1_000


def test_a_forked_child_gets_a_clear_error_and_may_connect_anew(url: str) -> None:
    program = """
        import os
        from shardmq.client import Admin, Message, Producer, PullConsumer, errors
        producer, consumer, admin = Producer(), PullConsumer(), Admin()
        producer.send(Message("t", b"parent"))
        consumer.assign("t")
        child = os.fork()
        if child == 0:
            code = 0
            uses = (
                lambda: producer.send(Message("t", b"x")),
                lambda: producer.send_async(Message("t", b"x")),
                lambda: producer.send_batch([Message("t", b"x")]),
                lambda: consumer.poll(),
                lambda: admin.topics(),
            )
            for use in uses:
                try:
                    use()
                    code = 2
                except errors.ForkedError:
                    pass
            with Producer() as mine:
                mine.send(Message("t", b"child"))
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        producer.send(Message("t", b"parent again"))
        producer.close(), consumer.close(), admin.close()
    """
    before = count(url)
    done = run(program, url)
    assert done.returncode == 0, done.stderr
    assert count(url) == before + 3


@pytest.mark.parametrize("leave", ["sys.exit(0)", "pass"])
def test_a_forked_child_that_leaves_the_blocks_of_its_parent_ends_well(
    url: str, leave: str
) -> None:
    program = f"""
        import os, sys
        from shardmq.client import Admin, Message, Producer, PullConsumer, SimpleConsumer
        with Producer() as p, PullConsumer() as c, SimpleConsumer(group="g") as s, Admin() as a:
            p.send(Message("t", b"x"))
            c.assign("t"), s.subscribe("t"), a.topics(), s.receive(wait=0)
            child = os.fork()
            if child == 0:
                {leave}
            else:
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                p.send(Message("t", b"y"))
    """
    done = run(program, url)
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_is_quick_and_brings_no_event_loop() -> None:
    program = """
        import sys
        from shardmq.client import Admin, Message, Producer, PullConsumer, errors
        assert "asyncio" not in sys.modules
    """
    assert run(program, "tcp://127.0.0.1:1").returncode == 0


def test_an_unclosed_producer_is_warned_about() -> None:
    producer = Producer("tcp://127.0.0.1:9")
    with pytest.warns(ResourceWarning, match="unclosed"):
        producer.__del__()
    producer.close()


def test_without_a_broker_a_send_fails_for_certain_within_its_timeout() -> None:
    with Producer("tcp://127.0.0.1:9", timeout=0.5) as producer:
        started = time.monotonic()
        with pytest.raises(errors.SendFailed, match="no broker answered"):
            producer.send(Message("t", b"x"))
        assert 0.4 < time.monotonic() - started < 5
        with pytest.raises(errors.SendFailed):
            producer.send_batch([Message("t", b"x")])
    unanswered = pytest.raises(errors.Unavailable, match="no broker answered")
    with Admin("tcp://127.0.0.1:9", timeout=0.2) as admin, unanswered:
        admin.topics()


def test_a_broker_that_restarts_is_found_again(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    with Broker(data, shards=1, listen="tcp://127.0.0.1:0") as broker:
        url = broker.url
        with Admin(url) as admin:
            admin.create_topic("t", queues=1)
        producer = Producer(url, timeout=30)
        assert producer.send(Message("t", b"0")).offset == 0
    with producer:
        pending = producer.send_async(Message("t", b"1"))
        with Broker(data, shards=1, listen=url):
            assert pending.result().offset == 1
            assert producer.send(Message("t", b"2")).offset == 2
