"""Consumer groups with a real broker: sharing, moving, conflicts, cursors that survive; pulled.

The first scenarios run with the threaded client and its asyncio twin alike.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shardmq.client import Admin, Message, Producer, PullConsumer, aio, errors
from shardmq.router import Broker

WAIT_SECONDS = 20.0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("broker") / "data"
    with Broker(str(data), shards=2, listen="tcp://127.0.0.1:0") as broker:
        yield broker.url


def until(true: Callable[[], object], what: str) -> float:
    """Seconds until `true()` holds."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < WAIT_SECONDS, f"{what}: not within {WAIT_SECONDS} s"
        time.sleep(0.01)
    return time.monotonic() - began


def fill(url: str, topic: str, count: int, queues: int = 8, tag: str | None = None) -> None:
    with Admin(url) as admin, Producer(url) as producer:
        if topic not in admin.topics():
            admin.create_topic(topic, queues=queues)
        producer.send_batch([Message(topic, b"%d" % n, tag=tag) for n in range(count)])


def drained(consumer: PullConsumer, count: int) -> list[bytes]:
    """`count` messages, and nothing behind them."""
    got: list[bytes] = []
    while len(got) < count:
        messages = consumer.poll(timeout=WAIT_SECONDS)
        assert messages, f"only {len(got)} of {count} messages came"
        got += [message.body for message in messages]
    return got


def test_one_member_reads_everything_once_and_the_group_remembers(url: str) -> None:
    fill(url, "once", 200)
    with PullConsumer(url, group="once") as consumer:
        consumer.subscribe("once")
        consumer.start()
        assert len(consumer.assignment()) == 8
        assert sorted(drained(consumer, 200)) == sorted(b"%d" % n for n in range(200))
        consumer.commit()
        assert sum(consumer.committed("once", queue_id) for queue_id in range(8)) == 200
    with PullConsumer(url, group="once") as consumer, Admin(url) as admin:
        consumer.subscribe("once")
        assert consumer.poll(timeout=0.3) == []
        described = admin.describe_group("once")
        assert (described.lag, len(described.members)) == (0, 1)
        assert {queue.owner for queue in described.queues} == {described.members[0].name}
    with Admin(url) as admin:
        assert "once" in admin.groups()
        admin.delete_group("once")
        with pytest.raises(errors.GroupNotFound):
            admin.describe_group("once")


def test_the_asyncio_twin_reads_commits_and_remembers(url: str) -> None:
    fill(url, "twin", 100, queues=4)

    async def scenario() -> None:
        async with aio.PullConsumer(url, group="twin") as consumer:
            consumer.subscribe("twin")
            got = 0
            async for message in consumer:
                assert message.topic == "twin"
                got += 1
                if got == 60:
                    break
            await consumer.commit()
        async with aio.PullConsumer(url, group="twin") as consumer:
            consumer.subscribe("twin")
            left = 0
            while left < 40:
                left += len(await consumer.poll(timeout=WAIT_SECONDS))
            assert await consumer.poll(timeout=0.2) == []
            await consumer.commit()
            committed = [await consumer.committed("twin", queue_id) for queue_id in range(4)]
            assert sum(committed) == 100
        async with aio.Admin(url) as admin:
            assert "twin" in await admin.groups()
            assert (await admin.describe_group("twin")).lag == 0

    asyncio.run(scenario())


def test_two_members_share_and_one_that_leaves_gives_its_queues_back(url: str) -> None:
    fill(url, "share", 0)
    with PullConsumer(url, group="share") as first:
        first.subscribe("share")
        first.start()
        second = PullConsumer(url, group="share")
        second.subscribe("share")
        second.start()

        def shared() -> bool:
            assert first.poll(timeout=0.01) == second.poll(timeout=0.01) == []
            held = set(first.assignment()), set(second.assignment())
            return len(held[0]) == len(held[1]) == 4 and not held[0] & held[1]

        assert until(shared, "both have their share") < 2.0
        fill(url, "share", 100)
        seen: list[bytes] = []
        while len(seen) < 100:
            seen += [message.body for message in first.poll(timeout=0.05)]
            seen += [message.body for message in second.poll(timeout=0.05)]
        assert sorted(seen) == sorted(b"%d" % n for n in range(100))
        second.close()
        moved = until(lambda: len(first.assignment()) == 8, "the first has everything again")
        assert moved < 2.0
        assert first.poll(timeout=0.2) == [], "what the second read it has committed"


def test_members_of_one_group_subscribe_alike(url: str) -> None:
    fill(url, "alike", 0)
    with (
        PullConsumer(url, group="alike", name="left") as first,
        PullConsumer(url, group="alike", name="right") as second,
    ):
        first.subscribe("alike", "a || b")
        first.start()
        second.subscribe("alike", "c")
        with pytest.raises(errors.SubscriptionConflict) as caught:
            second.poll(timeout=1)
        assert "left" in str(caught.value)
        assert "a || b" in str(caught.value)
        with PullConsumer(url, group="alike") as third:
            third.subscribe("alike", "b||a")
            third.start()


def test_modes_do_not_mix_and_wrong_names_are_told(url: str) -> None:
    fill(url, "modes", 0)
    with PullConsumer(url, group="modes") as member, PullConsumer(url) as reader:
        with pytest.raises(errors.InvalidArgument, match="is given its queues"):
            member.assign("modes")
        with pytest.raises(errors.InvalidArgument, match="needs a group"):
            reader.subscribe("modes")
        with pytest.raises(errors.InvalidArgument, match="nothing was subscribed to"):
            member.poll()
        member.subscribe("not-there")
        with pytest.raises(errors.TopicNotFound):
            member.poll()
    with Admin(url) as admin, pytest.raises(errors.GroupNotFound):
        admin.describe_group("not-there")


def test_only_what_is_subscribed_to_comes_and_counts(url: str) -> None:
    fill(url, "tagged", 100, tag="paid")
    fill(url, "tagged", 100, tag="open")
    with PullConsumer(url, group="tagged") as consumer, Admin(url) as admin:
        consumer.subscribe("tagged", "open")
        consumer.start()
        assert admin.describe_group("tagged").lag == 100
        assert len(drained(consumer, 100)) == 100
        consumer.commit()
        assert admin.describe_group("tagged").lag == 0


def test_a_start_at_the_end_misses_nothing_that_is_sent_after_it(url: str) -> None:
    fill(url, "latest", 50)
    with PullConsumer(url, group="latest", start_from="latest") as consumer:
        consumer.subscribe("latest")
        consumer.start()
        fill(url, "latest", 20)
        assert len(drained(consumer, 20)) == 20


MEMBER = """
    import sys
    from shardmq.client import PullConsumer
    consumer = PullConsumer(sys.argv[1], group=sys.argv[2], lease=float(sys.argv[4]))
    consumer.subscribe(sys.argv[3])
    consumer.start()
    while True:
        bodies = [message.body.decode() for message in consumer.poll(timeout=0.05)]
        print(len(consumer.assignment()), *bodies, flush=True)
"""


@contextmanager
def member(url: str, group: str, lease: float = 10.0) -> Iterator[subprocess.Popen[str]]:
    """Another member in a process of its own, of a topic that is called like the group."""
    command = [sys.executable, "-c", textwrap.dedent(MEMBER), url, group, group, str(lease)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_killed_members_queues_move_at_once(url: str) -> None:
    fill(url, "killed", 0)
    with PullConsumer(url, group="killed") as consumer:
        consumer.subscribe("killed")
        consumer.start()
        with member(url, "killed") as other:

            def shared() -> bool:
                assert consumer.poll(timeout=0.01) == []
                return len(consumer.assignment()) == 4

            until(shared, "the other has its share")
            os.kill(other.pid, signal.SIGKILL)
            moved = until(lambda: len(consumer.assignment()) == 8, "its queues have moved")
        assert moved < 2.0, "the broker sees the connection close"


def test_a_member_that_was_stopped_past_its_lease_comes_back_and_nothing_is_lost(
    url: str,
) -> None:
    fill(url, "stopped", 0)
    with PullConsumer(url, group="stopped") as consumer:
        consumer.subscribe("stopped")
        consumer.start()
        with member(url, "stopped", lease=1.0) as other:
            seen: list[bytes] = []

            def holds(count: int) -> bool:
                seen.extend(message.body for message in consumer.poll(timeout=0.01))
                return len(consumer.assignment()) == count

            until(lambda: holds(4), "the other has its share")
            os.kill(other.pid, signal.SIGSTOP)
            fill(url, "stopped", 100)
            until(lambda: holds(8), "its queues have moved")
            until(lambda: holds(8) and len(seen) >= 100, "nothing waits for the other")
            os.kill(other.pid, signal.SIGCONT)
            until(lambda: holds(4), "it has come back")
        assert sorted(seen) == sorted(b"%d" % n for n in range(100))


def test_offsets_survive_a_restart_of_the_broker(tmp_path: Path) -> None:
    with Broker(str(tmp_path / "data"), shards=2, listen="tcp://127.0.0.1:0") as broker:
        port = broker.url.rpartition(":")[2]
        fill(broker.url, "kept", 100)
        with PullConsumer(broker.url, group="kept", auto_commit=False) as consumer:
            consumer.subscribe("kept")
            first = drained(consumer, 100)
            consumer.commit()
        # Who left is noted at most every 50 ms; a broker that stops before that waits for it later.
        time.sleep(0.1)
    fresh = f"tcp://127.0.0.1:{port}"
    with Broker(str(tmp_path / "data"), shards=2, listen=fresh) as broker:
        fill(broker.url, "kept", 10)
        with PullConsumer(broker.url, group="kept") as consumer, Admin(broker.url) as admin:
            consumer.subscribe("kept")
            assert admin.describe_group("kept").lag == 10
            second = drained(consumer, 10)
    assert (len(first), len(second)) == (100, 10)


def test_a_member_lives_through_a_restart_of_the_broker(tmp_path: Path) -> None:
    data, listen = str(tmp_path / "data"), "tcp://127.0.0.1:0"
    with Broker(data, shards=2, listen=listen) as broker:
        url = broker.url
        fill(url, "through", 50)
        consumer = PullConsumer(url, group="through")
        consumer.subscribe("through")
        assert len(drained(consumer, 50)) == 50
        consumer.commit()
    with Broker(data, shards=2, listen=url), consumer:
        fill(url, "through", 30)
        assert len(drained(consumer, 30)) == 30
        consumer.commit()


def test_a_reset_moves_members_that_are_online_at_once(url: str) -> None:
    fill(url, "reset", 100)
    with PullConsumer(url, group="reset") as consumer, Admin(url) as admin:
        consumer.subscribe("reset")
        drained(consumer, 100)
        consumer.commit()
        planned = admin.reset_offsets("reset", "reset", to="earliest", dry_run=True)
        assert sum(queue.before or 0 for queue in planned) == 100
        assert [queue.after for queue in planned] == [0] * 8
        assert admin.describe_group("reset").lag == 0
        admin.reset_offsets("reset", "reset", to="earliest")
        assert len(drained(consumer, 100)) == 100
        consumer.commit()
        admin.reset_offsets("reset", "reset", to={0: 5})
        assert admin.describe_group("reset").queues[0].committed == 5
