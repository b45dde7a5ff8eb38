"""More queues on a shard than a request may name: administration and reading, on a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shardmq.actors.protocol.limits import REQUEST_QUEUES_MAX
from shardmq.client import Admin, Message, Producer, PullConsumer, errors
from shardmq.router import Broker

QUEUES = 10_000
"""On one shard, of one topic."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data: Path = tmp_path_factory.mktemp("many") / "data"
    with Broker(data, shards=1, listen="tcp://127.0.0.1:0") as broker:
        yield broker.url


def test_a_topic_of_ten_thousand_queues_is_administered_read_and_deleted(url: str) -> None:
    assert QUEUES > 2 * REQUEST_QUEUES_MAX
    with Admin(url) as admin, Producer(url) as producer:
        assert len(admin.create_topic("many", queues=QUEUES).queues) == QUEUES
        few = admin.create_topic("few", queues=1)
        producer.send_batch([Message("many", b"%d" % number) for number in range(QUEUES)])
        producer.send(Message("few", b"few"))
        assert admin.describe_topic("many").messages == QUEUES
        assert few.queues[0].latest == 0
        with PullConsumer(url) as consumer:
            consumer.assign("many")
            consumer.assign("few")
            bodies: list[bytes] = []
            while len(bodies) <= QUEUES:
                found = consumer.poll(timeout=10, max_messages=QUEUES)
                assert found, f"nothing came after {len(bodies)} messages"
                bodies += [message.body for message in found]
            assert sorted(bodies) == sorted([b"few", *(b"%d" % n for n in range(QUEUES))])
            for queue_id in (0, QUEUES // 2, QUEUES - 1):
                producer.send(Message("many", b"late"), queue_id=queue_id)
                (late,) = consumer.poll(timeout=10)
                assert (late.queue_id, late.body) == (queue_id, b"late")
            consumer.seek_to_beginning("many")
            assert len(consumer.poll(timeout=10)) > 0
        admin.delete_topic("many")
        with pytest.raises(errors.TopicNotFound):
            admin.describe_topic("many")


def test_a_group_of_more_queues_than_a_request_may_name_is_described(url: str) -> None:
    with Admin(url) as admin:
        for topic in ("a", "b"):
            admin.create_topic(topic, queues=3_000)
        with PullConsumer(url, group="wide", start_from="earliest") as consumer:
            consumer.subscribe("a")
            consumer.subscribe("b")
            consumer.start()
            assert len(admin.describe_group("wide").queues) == 6_000
