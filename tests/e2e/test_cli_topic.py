"""`shardmq topic` on a real broker: tables, JSON for programs, nothing gone by accident."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardmq.client import Admin
from shardmq.router import Broker
from support.cli import rows, run


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data: Path = tmp_path_factory.mktemp("topics") / "data"
    with Broker(data, shards=2, listen="tcp://127.0.0.1:0") as broker:
        yield broker.url


def test_a_topic_lives_from_create_to_delete(url: str) -> None:
    created = run("topic", "create", "life", "--queues", "4", "-o", "json", url=url)
    record = json.loads(created.stdout)
    assert (record["name"], len(record["queues"]), record["messages"]) == ("life", 4, 0)
    assert {queue["shard"] for queue in record["queues"]} == {0, 1}
    assert len(rows(run("topic", "update", "life", "--queues", "6", "-o", "jsonl", url=url))) == 6
    described = run("topic", "describe", "life", url=url)
    assert b"queue_id  shard  earliest  latest" in described.stdout
    assert run("topic", "delete", "life", "--yes", url=url).returncode == 0
    assert run("topic", "describe", "life", url=url).returncode == 1


def test_lists_have_a_table_and_lines_for_programs(url: str) -> None:
    for name in ("list-a", "list-b"):
        assert run("topic", "create", name, "--retention", "12h", url=url).returncode == 0
    listed = {row["name"]: row for row in rows(run("topic", "list", "-o", "jsonl", url=url))}
    assert listed["list-a"]["retention"] == 12 * 3_600
    assert listed["list-b"]["queues"] == 8
    table = run("topic", "list", url=url).stdout.decode().splitlines()
    assert table[0].split() == ["name", "queues", "messages", "retention", "created_at"]
    names = run("topic", "list", "--names", "-o", "json", url=url)
    assert {"name": "list-a"} in json.loads(names.stdout)


def test_delete_only_shows_what_it_would_do_unless_yes(url: str) -> None:
    assert run("topic", "create", "kept", url=url).returncode == 0
    assert run("send", "kept", "hello", url=url).returncode == 0
    shown = run("topic", "delete", "kept", "-o", "json", url=url)
    assert json.loads(shown.stdout) == {
        "topic": "kept",
        "queues": 8,
        "messages": 1,
        "deleted": False,
    }
    assert b"--yes" in shown.stderr
    with Admin(url) as admin:
        assert "kept" in admin.topics()


def test_queues_are_closed_for_writing_and_then_for_reading(url: str) -> None:
    assert run("topic", "create", "shrink", "--queues", "4", url=url).returncode == 0
    drained = rows(run("topic", "update", "shrink", "--write-queues", "2", "-o", "jsonl", url=url))
    assert [queue["writable"] for queue in drained] == [True, True, False, False]
    assert all(queue["readable"] for queue in drained)


@pytest.mark.parametrize("option", ["--read-queues", "--queues"])
def test_closing_queues_for_reading_shows_what_they_hold_and_needs_yes(
    url: str, option: str
) -> None:
    topic = f"undrained{option}"
    assert run("topic", "create", topic, "--queues", "4", url=url).returncode == 0
    for queue_id in ("1", "3", "3"):
        assert run("send", topic, "x", "--queue", queue_id, url=url).returncode == 0
    group = f"g{option}"
    read = run("consume", topic, "-g", group, "--from", "earliest", "-F", "raw", url=url)
    assert read.stdout == b"x\nx\nx\n"
    assert run("send", topic, "y", "--queue", "3", url=url).returncode == 0
    assert run("topic", "update", topic, "--write-queues", "2", url=url).returncode == 0
    shrink = ["topic", "update", topic, option, "2"]
    shown = run(*shrink, "-o", "json", url=url)
    assert json.loads(shown.stdout) == {
        "topic": topic,
        "closed_queues": [2, 3],
        "messages": 3,
        "not_done": {group: 1},
        "changed": False,
    }
    assert b"--yes" in shown.stderr
    (held,) = (row for row in rows(run("topic", "list", "-o", "jsonl", url=url))
               if row["name"] == topic)  # fmt: skip
    assert (held["queues"], held["messages"]) == (4, 4)
    done = rows(run(*shrink, "--yes", "-o", "jsonl", url=url))
    assert [queue["readable"] for queue in done].count(True) == 2


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (["describe", "nowhere"], "TOPIC_NOT_FOUND", 1),
        (["delete", "nowhere", "--yes"], "TOPIC_NOT_FOUND", 1),
        (["create", "no spaces"], "INVALID_NAME", 1),
        (["create", "%SYS%x"], "FORBIDDEN", 1),
        (["update", "nowhere"], "USAGE", 2),
        (["create", "x", "--queues", "0"], "USAGE", 2),
        (["create", "x", "--retention", "long"], "USAGE", 2),
    ],
)
def test_errors_are_code_message_and_hint(
    words: list[str], code: str, status: int, url: str
) -> None:
    finished = run("topic", *words, "-o", "json", url=url)
    told = json.loads(finished.stderr)
    assert (told["code"], finished.returncode) == (code, status)
    assert told["message"]
    assert told["hint"]
    assert finished.stdout == b""


def test_creating_again_is_refused(url: str) -> None:
    assert run("topic", "create", "twice", url=url).returncode == 0
    again = run("topic", "create", "twice", url=url)
    assert again.returncode == 1
    assert b"TOPIC_EXISTS" in again.stderr


def test_a_broker_that_is_not_there_may_come_later() -> None:
    finished = run("topic", "list", "--timeout", "300ms", "-o", "json", url="tcp://127.0.0.1:9")
    assert finished.returncode == 3
    assert json.loads(finished.stderr)["hint"]


def test_names_of_topics_complete(url: str) -> None:
    from click.shell_completion import get_completion_class

    from shardmq.router.cli.main import cli

    assert run("topic", "create", "completed", url=url).returncode == 0
    kind = get_completion_class("bash")
    assert kind is not None
    complete = kind(cli, {}, "shardmq", "_SHARDMQ_COMPLETE")
    words = ["topic", "describe", "--url", url]
    assert [item.value for item in complete.get_completions(words, "comp")] == ["completed"]
