"""Real processes: a message's way through them, and what survives a restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import (
    FLAG_JSON,
    SHARD_ANY,
    SHARD_COORDINATOR,
    SHARD_ROUTER,
    pack_request,
    unpack_route,
)
from shardmq.actors.protocol.verbs import Verb
from shardmq.router import Broker
from support.raw_client import RawClient, Refusal


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    directory = tmp_path_factory.mktemp("broker") / "data"
    with Broker(directory, shards=2, listen="tcp://127.0.0.1:0", routers=2) as running:
        yield running


@pytest.fixture
def client(broker: Broker) -> Iterator[RawClient]:
    with RawClient(broker.url) as connected:
        yield connected


def test_messages_go_in_and_come_out_on_every_shard(client: RawClient) -> None:
    route = client.create_topic("path", queues=4)
    assert {queue.shard for queue in route.queues} == {0, 1}
    for queue in route.queues:
        for sequence in range(3):
            body = b"%d-%d" % (queue.queue_id, sequence)
            assert client.produce(queue, body, sequence) == sequence
    for queue in route.queues:
        wanted = [b"%d-%d" % (queue.queue_id, sequence) for sequence in range(3)]
        assert client.fetch(queue) == wanted


def test_a_large_batch_passes_without_a_copy(client: RawClient) -> None:
    [queue] = client.create_topic("large", queues=1).queues
    body = bytes(range(256)) * 12_000
    client.produce(queue, body, 0)
    assert client.fetch(queue) == [body]


def test_a_parked_fetch_is_woken_by_a_message(broker: Broker, client: RawClient) -> None:
    [queue] = client.create_topic("parked", queues=1).queues
    header = m.Fetch(queues=[m.FetchQueue(queue=queue.number, offset=0)], wait_ms=20_000)
    request_id = client.send(Verb.FETCH, header, shard=queue.shard, timeout=30)
    with pytest.raises(TimeoutError):
        client.receive(request_id, timeout=0.2)
    with RawClient(broker.url) as other:
        other.produce(queue, b"wake", 0)
    frames = client.receive(request_id, timeout=2)
    assert unpack_route(frames[0]).tail == Code.OK
    assert len(frames) == 3


@pytest.mark.parametrize(
    ("shard", "actor"),
    [(0, "shard-0"), (1, "shard-1"), (SHARD_COORDINATOR, "coordinator"), (SHARD_ROUTER, "router")],
)
def test_every_actor_tells_its_figures(client: RawClient, shard: int, actor: str) -> None:
    reply = client.call(Verb.STATS, m.StatsRequest(), m.StatsReply, shard=shard)
    assert reply.actor.startswith(actor)
    assert reply.pid > 1
    assert reply.figures["rss_bytes"] > 1_000_000
    assert reply.figures["turns"] > 0


def test_json_is_enough(broker: Broker, client: RawClient) -> None:
    client.create_topic("plain", queues=2)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(broker.url)

    def ask(verb: Verb, header: object) -> tuple[int, dict[str, object]]:
        route = pack_request(verb, 1, 5_000, shard=SHARD_ANY, flags=FLAG_JSON)
        socket.send_multipart([route, json.dumps(header).encode()])
        assert socket.poll(5_000)
        answer, content = socket.recv_multipart()[:2]
        return unpack_route(answer).tail, json.loads(content)

    try:
        assert ask(Verb.PRODUCE, {})[0] == Code.UNKNOWN_SESSION
        assert ask(Verb.HELLO, {"client": "json"})[0] == Code.OK
        code, reply = ask(Verb.PRODUCE, {"topic": "plain", "messages": [{"body": "hello"}]})
        assert (code, len(msgspec.convert(reply, m.ProduceReply).messages)) == (Code.OK, 1)
        code, reply = ask(Verb.TOPIC_DELETE, {"topic": "none"})
        assert (code, reply["name"]) == (Code.TOPIC_NOT_FOUND, "TOPIC_NOT_FOUND")
    finally:
        context.destroy(linger=0)


def test_the_brokers_own_verbs_are_closed_to_the_outside(client: RawClient) -> None:
    with pytest.raises(Refusal, match="FORBIDDEN"):
        client.call(Verb.DEFINE, m.Define(live_topic_ids=[]), m.DefineReply, shard=0)


def test_topics_grow_drain_and_go(client: RawClient) -> None:
    first = client.create_topic("life", queues=2)
    wish = m.TopicUpdate(topic="life", queues=3)
    grown = client.call(Verb.TOPIC_UPDATE, wish, m.TopicReply).route
    assert client.produce(grown.queues[2], b"new", 0) == 0
    closing = m.TopicUpdate(topic="life", write_queues=2)
    closed = client.call(Verb.TOPIC_UPDATE, closing, m.TopicReply).route
    assert client.fetch(closed.queues[2]) == [b"new"]
    with pytest.raises(AssertionError, match="411"):
        client.produce(closed.queues[2], b"late", 1)
    client.call(Verb.TOPIC_UPDATE, m.TopicUpdate(topic="life", read_queues=2), m.TopicReply)
    client.call(Verb.TOPIC_DELETE, m.TopicDelete(topic="life"), m.TopicReply)
    with pytest.raises(AssertionError, match="411"):
        client.produce(first.queues[0], b"gone", 0)
    again = client.create_topic("life", queues=2)
    assert not {queue.number for queue in again.queues} & {one.number for one in grown.queues}


def test_many_clients_share_the_routers(broker: Broker) -> None:
    clients = [RawClient(broker.url) for _ in range(16)]
    try:
        epochs = {client.welcome.router_epoch for client in clients}
        assert len(epochs) == 2
    finally:
        for client in clients:
            client.close()


def test_a_stop_answers_who_waits_and_a_start_finds_everything(tmp_path: Path) -> None:
    with Broker(tmp_path / "data", shards=2, listen="tcp://127.0.0.1:0") as broker:
        client = RawClient(broker.url)
        [queue] = client.create_topic("kept", queues=1).queues
        client.produce(queue, b"one", 0)
        header = m.Fetch(queues=[m.FetchQueue(queue=queue.number, offset=1)], wait_ms=30_000)
        request_id = client.send(Verb.FETCH, header, shard=queue.shard, timeout=60)
        with pytest.raises(TimeoutError):
            client.receive(request_id, timeout=0.2)
        broker.stop()
        answer = client.receive(request_id, timeout=2)
        assert unpack_route(answer[0]).tail == Code.SHUTTING_DOWN
        client.close()
    with (
        Broker(tmp_path / "data", listen="tcp://127.0.0.1:0") as again,
        RawClient(again.url) as client,
    ):
        assert again.shards == 2
        assert client.fetch(queue) == [b"one"]
        assert client.produce(queue, b"one", 0) == 0, "a retry across the restart is recognised"
