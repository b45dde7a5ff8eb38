"""The client of 100 lines against a real broker: what docs/protocol.md promises to any language."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
import zmq

from shardmq.actors.protocol.codes import CODE_ROWS, Code, CodeRow
from shardmq.actors.protocol.frames import Route, pack_reply, unpack_route
from shardmq.actors.protocol.verbs import Verb
from shardmq.router.broker import Broker
from support import repo
from support.scripts import load_script

PATH = "scripts/examples/minimal_client.py"
LINES_MAX = 100


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load_script(PATH)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    directory = tmp_path_factory.mktemp("minimal")
    with Broker(directory / "data", shards=2, listen="tcp://127.0.0.1:0") as running:
        yield running


@pytest.fixture
def client(example: ModuleType, broker: Broker) -> Iterator[Any]:
    client = example.Client(broker.url, timeout_s=20.0)
    yield client
    client.socket.close()


def create(client: Any, topic: str, queues: int = 8) -> None:
    client.call(11, {"topic": topic, "queues": queues}, also_ok=Code.TOPIC_EXISTS)


def bodies_of(client: Any, topic: str, offsets: dict[int, int] | None = None) -> list[str]:
    found = client.consume(topic, {} if offsets is None else offsets, quiet_s=1.5)
    return [message["body"] for message in found]


def test_it_needs_only_pyzmq_and_the_standard_library_and_100_lines() -> None:
    assert len(repo.text(PATH).splitlines()) <= LINES_MAX
    imported = [
        name.partition(".")[0]
        for node in repo.runtime_imports(repo.tree(PATH))
        for name in repo.imported_names(repo.Module(PATH, "minimal_client"), node)
    ]
    assert set(imported) <= {"argparse", "collections", "json", "os", "struct", "time", "typing",
                             "zmq"}  # fmt: skip


def test_keyed_messages_keep_their_order_on_whichever_shard_they_live(client: Any) -> None:
    create(client, "ordered")
    receipts = [client.produce("ordered", f"{at % 7}-{at}", key=f"k{at % 7}") for at in range(70)]
    assert len({receipt["message_id"] for receipt in receipts}) == 70
    by_key: dict[str, list[int]] = defaultdict(list)
    for body in bodies_of(client, "ordered"):
        key, at = body.split("-")
        by_key[key].append(int(at))
    assert {key: sorted(found) for key, found in by_key.items()} == dict(by_key)
    assert sorted(at for found in by_key.values() for at in found) == list(range(70))


def test_a_request_that_is_sent_again_is_stored_once(client: Any) -> None:
    create(client, "once")
    first = client.produce("once", "the only one", key="k")
    client.sequence -= 1  # as after a lost reply: the same message, the same sequence
    assert client.produce("once", "the only one", key="k") == first
    assert bodies_of(client, "once") == ["the only one"]


def test_messages_without_a_key_are_stored_too(client: Any) -> None:
    create(client, "keyless")
    for at in range(10):
        client.produce("keyless", str(at))
    assert sorted(bodies_of(client, "keyless")) == sorted(map(str, range(10)))


def test_a_consumer_goes_on_where_its_offsets_say(client: Any) -> None:
    create(client, "goes-on", queues=2)
    client.produce("goes-on", "before", key="k")
    offsets: dict[int, int] = {}
    assert bodies_of(client, "goes-on", offsets) == ["before"]
    client.produce("goes-on", "after", key="k")
    assert bodies_of(client, "goes-on", offsets) == ["after"]


def test_an_offset_that_does_not_exist_is_mended(client: Any) -> None:
    create(client, "out-of-range", queues=1)
    client.produce("out-of-range", "still there", key="k")
    (route,) = client.call(10, {"topics": ["out-of-range"]})["topics"]
    number = route["route"]["queues"][0]["number"]
    assert bodies_of(client, "out-of-range", {number: 1_000}) == ["still there"]


def test_a_long_poll_answers_when_a_message_comes(
    client: Any, example: ModuleType, broker: Broker
) -> None:
    create(client, "waiting", queues=1)
    waiting = client.consume("waiting", {}, quiet_s=20.0)
    other = example.Client(broker.url, timeout_s=20.0)
    other.produce("waiting", "here", key="k")
    assert next(waiting)["body"] == "here"
    other.socket.close()


def test_a_refusal_names_its_code_and_what_to_do(client: Any, example: ModuleType) -> None:
    with pytest.raises(example.Refused) as caught:
        client.produce("no-such-topic", "x", key="k")
    assert caught.value.args[0] == Code.TOPIC_NOT_FOUND
    assert "shardmq topic create" in caught.value.args[1]
    with pytest.raises(example.Refused) as caught:
        next(client.consume("no-such-topic", {}))
    assert caught.value.args[0] == Code.TOPIC_NOT_FOUND


@contextmanager
def scripted_broker(answers: list[tuple[int, dict[str, Any]]]) -> Iterator[tuple[str, list[Route]]]:
    """A peer that gives `answers` in order; yields its url and the routes it was sent."""
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    asked: list[Route] = []

    def answer() -> None:
        for code, header in answers:
            peer, route, _ = socket.recv_multipart()
            asked.append(unpack_route(route))
            reply = pack_reply(asked[-1], code)
            socket.send_multipart([peer, reply, json.dumps(header).encode()])

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{port}", asked
    finally:
        thread.join(10)
        context.destroy(linger=0)


@pytest.mark.parametrize("row", CODE_ROWS, ids=[row.code.name for row in CODE_ROWS])
def test_every_code_is_handled_by_what_its_row_says(example: ModuleType, row: CodeRow) -> None:
    refusal = {"name": row.code.name, "message": "because", "retryable": row.retryable, "shard": 3}
    answers: list[tuple[int, dict[str, Any]]] = [(row.code, refusal)]
    if row.retryable:
        answers += [(Code.OK, {})] * (2 if row.code is Code.UNKNOWN_SESSION else 1)
    with scripted_broker(answers) as (url, asked):
        client = example.Client(url, timeout_s=10.0)
        if row.retryable or row.code is Code.OK:
            client.call(Verb.OFFSETS, {}, shard=1)
        else:
            with pytest.raises(example.Refused, match="because"):
                client.call(Verb.OFFSETS, {}, shard=1)
        client.socket.close()
    if row.code is Code.UNKNOWN_SESSION:
        assert [route.verb for route in asked] == [Verb.OFFSETS, Verb.HELLO, Verb.OFFSETS]
    if row.code is Code.MOVED:
        assert [route.shard for route in asked] == [1, 3]


def test_nobody_there_is_a_timeout_that_says_the_outcome_is_open(example: ModuleType) -> None:
    client = example.Client("tcp://127.0.0.1:1", timeout_s=0.3)
    with pytest.raises(TimeoutError, match="may have been done"):
        client.produce("topic", "x")
    client.socket.close()


def test_it_is_a_program_with_help(broker: Broker) -> None:
    program = [sys.executable, str(repo.ROOT / PATH)]
    help_text = subprocess.run([*program, "--help"], capture_output=True, check=True, text=True)
    assert "--url" in help_text.stdout
    run = [*program, "--url", broker.url, "program", "hello", "world"]
    sent = subprocess.run(run, capture_output=True, check=True, text=True, timeout=30)
    receipts = [json.loads(line) for line in sent.stdout.splitlines()]
    assert len({receipt["message_id"] for receipt in receipts}) == 2
