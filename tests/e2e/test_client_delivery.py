"""What is sent is stored once, in order, and read back: through real processes, killed or not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardmq.client import Admin, Message, Producer, PullConsumer, errors
from shardmq.router import Broker


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("broker") / "data"
    with Broker(str(data), shards=2, listen="tcp://127.0.0.1:0") as broker:
        yield broker.url


def read_all(url: str, topic: str, count: int | None = None) -> dict[int, list[bytes]]:
    """Bodies of every queue, in order of their offsets. `count`: of messages that may have been
    acknowledged before they were durable, and so not be told of yet."""
    with Admin(url) as admin, PullConsumer(url) as consumer:
        left = admin.describe_topic(topic).messages if count is None else count
        consumer.assign(topic)
        queues: dict[int, list[bytes]] = {}
        while left:
            messages = consumer.poll(timeout=10, max_messages=10_000)
            assert messages, f"{left} messages of {topic} never came"
            left -= len(messages)
            for message in messages:
                queue = queues.setdefault(message.queue_id, [])
                assert message.offset == len(queue)
                queue.append(message.body)
        assert consumer.poll(timeout=0.05) == []
        return queues


def test_a_message_comes_back_as_it_was_sent(url: str) -> None:
    sent = Message(
        "echo", b"body", tag="tag", keys=("a", "b"), properties={"p": "v"}, ordering_key="key"
    )
    with Admin(url) as admin, Producer(url) as producer, PullConsumer(url) as consumer:
        admin.create_topic("echo", queues=4)
        receipt = producer.send(sent)
        consumer.assign("echo")
        (got,) = consumer.poll(timeout=10)
        for name in ("topic", "body", "tag", "keys", "properties", "ordering_key"):
            assert getattr(got, name) == getattr(sent, name)
        assert (got.message_id, got.queue_id, got.offset) == (
            receipt.message_id, receipt.queue_id, receipt.offset,
        )  # fmt: skip
        assert got.stored_at == receipt.stored_at
        assert got.attempt == 1
        assert producer.send(got).offset == receipt.offset + 1, "a received message can be sent"


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_a_large_batch_is_dealt_over_all_queues(url: str, compression: str | None) -> None:
    topic = f"large-{compression}"
    with Admin(url) as admin, Producer(url, ack="written", compression=compression) as producer:
        admin.create_topic(topic, queues=8)
        receipts = producer.send_batch(Message(topic, b"%09d" % n) for n in range(50_000))
        assert len(receipts) == 50_000
        first, last = receipts[0], receipts[-1]
    queues = read_all(url, topic, 50_000)
    assert {len(bodies) for bodies in queues.values()} == {6_250}
    assert queues[first.queue_id][first.offset] == b"%09d" % 0
    assert queues[last.queue_id][last.offset] == b"%09d" % 49_999


def test_the_largest_body_passes_and_one_byte_more_is_refused(url: str) -> None:
    with Admin(url) as admin, Producer(url, timeout=20) as producer:
        admin.create_topic("huge", queues=1)
        producer.send(Message("huge", b"x" * (4 << 20)))
        with pytest.raises(errors.MessageTooLarge, match="1 over"):
            producer.send(Message("huge", b"x" * ((4 << 20) + 1)))
    assert [len(body) for body in read_all(url, "huge")[0]] == [4 << 20]


def test_many_threads_share_one_connection(url: str) -> None:
    with Admin(url) as admin:
        admin.create_topic("threads", queues=4)
    failures: list[BaseException] = []

    def work(name: int, producer: Producer) -> None:
        try:
            for number in range(50):
                message = Message("threads", b"%d %d" % (name, number), ordering_key=f"k{name}")
                if number % 2:
                    producer.send(message)
                else:
                    producer.send_async(message)
        except BaseException as error:
            failures.append(error)
            raise

    with Producer(url, timeout=20) as one, Producer(url, timeout=20) as two:
        workers = [
            threading.Thread(target=work, args=(name, one if name % 2 else two))
            for name in range(8)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert failures == []
    bodies = [body for queue in read_all(url, "threads").values() for body in queue]
    assert len(bodies) == 400
    for name in range(8):
        mine = [int(body.split()[1]) for body in bodies if int(body.split()[0]) == name]
        assert mine == list(range(50)), "each thread's key is in order"


def test_callbacks_may_use_the_client(url: str) -> None:
    done = threading.Event()
    with Admin(url) as admin, Producer(url) as producer:
        admin.create_topic("callbacks", queues=1)
        second: list[int] = []

        def send_more(_: object) -> None:
            second.append(producer.send(Message("callbacks", b"2")).offset)
            done.set()

        producer.send_async(Message("callbacks", b"1")).add_done_callback(send_more)
        assert done.wait(10)
        assert second == [1]


def test_a_topic_may_be_deleted_and_created_while_a_producer_sends(url: str) -> None:
    with Admin(url) as admin, Producer(url, timeout=10) as producer:
        admin.create_topic("phoenix", queues=2)
        producer.send(Message("phoenix", b"old"))
        admin.delete_topic("phoenix")
        with pytest.raises(errors.TopicNotFound):
            producer.send(Message("phoenix", b"nowhere"))
        admin.create_topic("phoenix", queues=4)
        assert producer.send(Message("phoenix", b"new")).offset == 0


def test_queues_can_be_closed_for_writing_while_keys_stay_in_order(url: str) -> None:
    with Admin(url) as admin, Producer(url, timeout=10) as producer:
        admin.create_topic("shrink", queues=4)
        futures = []
        for number in range(2_000):
            key = f"k{number % 10}"
            message = Message("shrink", b"%d" % number, ordering_key=key)
            futures.append(producer.send_async(message))
            if number == 1_000:
                admin.update_topic("shrink", write_queues=2)
        receipts = [future.result() for future in futures]
    bodies = read_all(url, "shrink")
    assert sum(map(len, bodies.values())) == 2_000
    for key in range(10):
        later = [r for n, r in enumerate(receipts) if n % 10 == key and r.queue_id < 2]
        in_queue = {
            r.queue_id: [x.offset for x in later if x.queue_id == r.queue_id] for r in later
        }
        assert all(offsets == sorted(offsets) for offsets in in_queue.values())


@pytest.mark.parametrize("ack", ["synced", "written"])
def test_a_killed_shard_neither_loses_nor_doubles_nor_reorders(tmp_path: Path, ack: str) -> None:
    total = 6_000
    with Broker(str(tmp_path / "data"), shards=2, listen="tcp://127.0.0.1:0") as broker:
        with Admin(broker.url) as admin:
            admin.create_topic("kill", queues=4)
            pids = [int(admin.stats(f"shard-{number}")["pid"]) for number in range(2)]
        with Producer(broker.url, ack=ack, timeout=30) as producer:  # type: ignore[arg-type]
            futures = []
            for number in range(total):
                message = Message("kill", b"%d" % number, ordering_key=f"k{number % 20}")
                futures.append(producer.send_async(message))
                if number in (total // 3, 2 * total // 3):
                    futures[-1].result()
                    os.kill(pids[number // (total // 2)], signal.SIGKILL)
            receipts = [future.result() for future in futures]
        # A killed process loses nothing that it wrote: all are there, if perhaps not yet visible.
        queues = read_all(broker.url, "kill", total)
    numbers = [int(body) for bodies in queues.values() for body in bodies]
    assert len(numbers) == len(set(numbers)), "nothing twice"
    if ack == "synced":
        assert sorted(numbers) == list(range(total)), "nothing acknowledged is lost"
        for number, receipt in enumerate(receipts):
            assert queues[receipt.queue_id][receipt.offset] == b"%d" % number
    for bodies in queues.values():
        for key in range(20):
            of_key = [number for number in map(int, bodies) if number % 20 == key]
            assert of_key == sorted(of_key), "nothing reordered"
