"""`shardmq send` and `shardmq consume` on a real broker, in pipes, as a shell uses them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shardmq.client import Admin
from shardmq.router import Broker
from support.cli import command, environment, rows, run


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data: Path = tmp_path_factory.mktemp("messages") / "data"
    with Broker(data, shards=2, listen="tcp://127.0.0.1:0") as broker:
        yield broker.url


@pytest.fixture
def topic(url: str, request: pytest.FixtureRequest) -> str:
    name = f"t-{abs(hash(request.node.name))}"
    with Admin(url) as admin:
        admin.create_topic(name, queues=4)
    return name


def test_every_part_of_a_message_arrives(url: str, topic: str) -> None:
    words = ["--tag", "paid", "--key", "4711", "--key", "b", "--ordering-key", "o-1"]
    words += ["-p", "region=eu", "-p", "note=a=b", "-o", "json"]
    receipt = json.loads(run("send", topic, "order 4711", *words, url=url).stdout)
    (message,) = rows(run("consume", topic, "-o", "jsonl", url=url))
    assert message["body"] == "order 4711"
    assert (message["tag"], message["keys"]) == ("paid", ["4711", "b"])
    assert message["ordering_key"] == "o-1"
    assert message["properties"] == {"region": "eu", "note": "a=b"}
    for name in ("message_id", "queue_id", "offset", "topic"):
        assert message[name] == receipt[name]


def test_lines_of_standard_input_become_messages(url: str, topic: str) -> None:
    given = b"one\ntwo\n\nthree\r\n"
    sent = run("send", topic, "--lines", "--ordering-key", "k", url=url, given=given)
    assert sent.stderr == b"sent 3 messages\n"
    assert run("consume", topic, "-F", "raw", url=url).stdout == b"one\ntwo\nthree\n"


def test_json_of_lines_says_how_many_were_sent(url: str, topic: str) -> None:
    sent = run("send", topic, "--lines", "-o", "json", url=url, given=b"a\n\nb\n")
    assert (json.loads(sent.stdout), sent.stderr) == ({"messages": 2}, b"")


def test_receipts_of_lines_come_as_json_lines(url: str, topic: str) -> None:
    receipts = rows(run("send", topic, "-l", "-o", "jsonl", url=url, given=b"a\nb\n"))
    assert len({receipt["message_id"] for receipt in receipts}) == 2


def test_a_file_is_one_body_bytes_and_all(url: str, topic: str, tmp_path: Path) -> None:
    body = bytes(range(256)) * 20
    (tmp_path / "cat.jpg").write_bytes(body)
    words = ["--file", str(tmp_path / "cat.jpg"), "--queue", "3"]
    assert run("send", topic, *words, url=url).returncode == 0
    assert run("consume", topic, "-q", "3", "-F", "raw", url=url).stdout == body + b"\n"


def numbered(url: str, topic: str, count: int) -> None:
    given = b"".join(b"%d\n" % number for number in range(count))
    finished = run("send", topic, "-l", "--queue", "1", "--tag", "even", url=url, given=given)
    assert finished.returncode == 0, finished.stderr


def test_reading_starts_at_an_offset_and_stops_after_a_count(url: str, topic: str) -> None:
    numbered(url, topic, 20)
    words = ["--queue", "1", "--from", "5", "-n", "3", "-F", "{offset}:{body}"]
    assert run("consume", topic, *words, url=url).stdout == b"5:5\n6:6\n7:7\n"
    beyond = run("consume", topic, "--from", "999", "-F", "raw", url=url)
    assert (beyond.returncode, beyond.stdout) == (0, b"")


def test_reading_starts_at_a_time(url: str, topic: str) -> None:
    numbered(url, topic, 3)
    between = datetime.now(UTC).isoformat()
    time.sleep(0.05)
    assert run("send", topic, "later", url=url).returncode == 0
    assert run("consume", topic, "--from", between, "-F", "raw", url=url).stdout == b"later\n"
    ago = run("consume", topic, "--from", "-1h", "-F", "raw", url=url).stdout.splitlines()
    assert sorted(ago) == [b"0", b"1", b"2", b"later"]


def test_only_a_tag(url: str, topic: str) -> None:
    numbered(url, topic, 3)
    assert run("send", topic, "untagged", url=url).returncode == 0
    read = run("consume", topic, "--tag", "even", "-F", "raw", url=url)
    assert read.stdout == b"0\n1\n2\n"


def test_json_is_one_array(url: str, topic: str) -> None:
    assert json.loads(run("consume", topic, "-o", "json", url=url).stdout) == []
    numbered(url, topic, 3)
    bodies = [
        one["body"] for one in json.loads(run("consume", topic, "-o", "json", url=url).stdout)
    ]
    assert bodies == ["0", "1", "2"]


def followed(url: str, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command("consume", *words), env=environment(url), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def test_following_prints_what_comes_until_ctrl_c(url: str, topic: str) -> None:
    numbered(url, topic, 2)
    with followed(url, topic, "-f", "--from", "earliest", "-F", "raw") as consumer:
        assert consumer.stdout is not None
        assert consumer.stderr is not None
        assert [consumer.stdout.readline() for _ in range(2)] == [b"0\n", b"1\n"]
        assert run("send", topic, "new", url=url).returncode == 0
        assert consumer.stdout.readline() == b"new\n"
        consumer.send_signal(signal.SIGINT)
        assert consumer.wait(timeout=10) == 0
        assert consumer.stderr.read() == b""


@pytest.mark.parametrize("group", [(), ("--group", "followers")])
def test_following_as_json_prints_each_message_when_it_comes(
    url: str, topic: str, group: tuple[str, ...]
) -> None:
    numbered(url, topic, 2)
    words = [topic, "-f", "--from", "earliest", "-o", "json", *group]
    with followed(url, *words) as consumer:
        assert consumer.stdout is not None
        assert [json.loads(consumer.stdout.readline())["body"] for _ in range(2)] == ["0", "1"]
        consumer.send_signal(signal.SIGINT)
        assert consumer.wait(timeout=10) == 0


def test_following_starts_with_what_is_new(url: str, topic: str) -> None:
    numbered(url, topic, 5)
    with followed(url, topic, "--follow", "-n", "1", "-F", "raw") as consumer:
        assert consumer.stdout is not None
        give_up = time.monotonic() + 20
        while not select.select([consumer.stdout], [], [], 0.2)[0] and time.monotonic() < give_up:
            run("send", topic, "new", url=url)
        assert consumer.stdout.readline() == b"new\n"
        assert consumer.wait(timeout=10) == 0


def test_a_reader_that_has_enough_ends_it_quietly(url: str, topic: str) -> None:
    numbered(url, topic, 5_000)
    with followed(url, topic, "-o", "jsonl") as consumer:
        assert consumer.stdout is not None
        assert consumer.stderr is not None
        os.read(consumer.stdout.fileno(), 10)
        consumer.stdout.close()
        assert consumer.wait(timeout=10) == 0
        assert consumer.stderr.read() == b""


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (["send", "TOPIC"], "USAGE", 2),
        (["send", "TOPIC", "x", "--lines"], "USAGE", 2),
        (["send", "nowhere", "x"], "TOPIC_NOT_FOUND", 1),
        (["send", "TOPIC", "x", "--queue", "99"], "INVALID_ARGUMENT", 1),
        (["send", "TOPIC", "x", "-p", "novalue"], "USAGE", 2),
        (["send", "TOPIC", "x", "--tag", "a|b"], "INVALID_ARGUMENT", 1),
        (["consume", "nowhere"], "TOPIC_NOT_FOUND", 1),
        (["consume", "TOPIC", "-F", "{nope}"], "USAGE", 2),
        (["consume", "TOPIC", "--from", "soon"], "USAGE", 2),
        (["consume", "TOPIC", "--queue", "99"], "INVALID_ARGUMENT", 1),
    ],
)
def test_errors_are_code_message_and_hint(
    words: list[str], code: str, status: int, url: str, topic: str
) -> None:
    finished = run(*(topic if word == "TOPIC" else word for word in words), "-o", "json", url=url)
    told = json.loads(finished.stderr)
    assert (told["code"], finished.returncode) == (code, status), told
    assert told["message"]
