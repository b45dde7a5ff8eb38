"""`shardmq dlq` on a real broker: dead letters are listed, shown and sent again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import Admin, Message, Producer, aio, errors
from shardmq.router import Broker
from support.actors import eventually
from support.cli import rows, run
from support.raw_client import RawClient


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data: Path = tmp_path_factory.mktemp("letters") / "data"
    with Broker(data, shards=2, listen="tcp://127.0.0.1:0") as broker:
        yield broker.url


def died(url: str, topic: str, group: str, *causes: str) -> None:
    """Fills a topic with a message for each cause, which the group then gives up for it."""
    with Admin(url) as admin:
        admin.create_topic(topic, queues=2)
    with Producer(url) as producer:
        for number, cause in enumerate(causes):
            message = Message(
                topic, b"%d: %s" % (number, cause.encode()), tag="paid", keys=["k"],
                properties={"colour": "red"}, ordering_key="o",
            )  # fmt: skip
            receipt = producer.send(message)
    with RawClient(url) as client:
        join = g.GroupJoin(
            group=group, member="undertaker", subscriptions=[g.Subscription(topic=topic)],
            start=g.Start(at="earliest"), retries=True,
        )  # fmt: skip
        joined = client.insist(Verb.GROUP_JOIN, join)
        events = g.Events(group_id=joined.group_id, member="undertaker")

        def held() -> list[g.AssignedQueue]:
            queues: list[g.AssignedQueue] = client.insist(Verb.EVENTS, events).queues
            return [
                one for one in queues if one.topic == topic and one.queue_id == receipt.queue_id
            ]

        (queue,) = eventually(held)
        messages = [
            g.NackMessage(offset=offset, dead=True, cause=cause, detail=f"Traceback\n  {cause}")
            for offset, cause in enumerate(causes)
        ]
        failed = g.NackQueue(queue=queue.queue, generation=queue.generation, messages=messages)
        nack = g.Nack(group_id=joined.group_id, queues=[failed])
        (result,) = client.insist(Verb.NACK, nack, shard=queue.shard).queues
        assert (result.code, len(result.dead)) == (Code.OK, len(causes)), result.message
        leave = g.GroupLeave(group_id=joined.group_id, member="undertaker")
        client.insist(Verb.GROUP_LEAVE, leave)


def bodies(url: str, topic: str) -> list[bytes]:
    return run("consume", topic, "-F", "raw", url=url).stdout.splitlines()


def test_dead_letters_are_listed_and_shown_with_what_they_were(url: str) -> None:
    died(url, "shown", "show", "ValueError: no amount", "TimeoutError")
    listed = rows(run("dlq", "list", "-o", "jsonl", url=url))
    assert {"group": "show", "letters": 2, "topic": "%DLQ%show"} in listed
    first, second = rows(run("dlq", "show", "show", "-o", "jsonl", url=url))
    assert first["cause"] == "ValueError: no amount"
    assert first["detail"] == "Traceback\n  ValueError: no amount"
    assert (first["origin"]["topic"], first["origin"]["offset"]) == ("shown", 0)
    assert (first["body"], first["tag"], first["keys"]) == (
        "0: ValueError: no amount",
        "paid",
        ["k"],
    )
    assert (first["properties"], first["attempts"]) == ({"colour": "red"}, 1)
    assert [one["attempt"] for one in first["history"]] == [1]
    assert second["cause"] == "TimeoutError"
    text = run(
        "dlq", "show", "show", "--place", second["place"], "--detail", url=url
    ).stdout.decode()
    assert text.startswith(second["place"])
    assert "after 1 attempt: TimeoutError" in text
    assert "Traceback" in text
    assert "ValueError" not in text


def test_groups_without_dead_letters_are_listed_only_when_asked_for(url: str) -> None:
    with Admin(url) as admin:
        admin.create_topic("lively", queues=1)
    with RawClient(url) as client:
        join = g.GroupJoin(
            group="careful", member="a", subscriptions=[g.Subscription(topic="lively")],
            retries=True,
        )  # fmt: skip
        client.insist(Verb.GROUP_JOIN, join)
    listed = rows(run("dlq", "list", "-o", "jsonl", url=url))
    assert "careful" not in [row["group"] for row in listed]
    listed = rows(run("dlq", "list", "--all", "-o", "jsonl", url=url))
    assert {"group": "careful", "letters": 0, "topic": "%DLQ%careful"} in listed


def test_resend_shows_what_it_would_send_and_then_sends_it(url: str) -> None:
    died(url, "resent", "resend", "ValueError", "TimeoutError", "ValueError")
    shown = run("dlq", "resend", "resend", "-o", "json", url=url)
    assert json.loads(shown.stdout) == {
        "group": "resend",
        "letters": 3,
        "to": {"resent": 3},
        "sent": False,
    }
    assert b"--yes" in shown.stderr
    assert len(bodies(url, "resent")) == 3
    words = ["dlq", "resend", "resend", "--cause", "timeout", "--yes", "-o", "json"]
    assert json.loads(run(*words, url=url).stdout)["letters"] == 1
    assert bodies(url, "resent").count(b"1: TimeoutError") == 2
    (again,) = rows(run("consume", "resent", "-o", "jsonl", "--from", "3", url=url))
    assert (again["tag"], again["keys"], again["ordering_key"]) == ("paid", ["k"], "o")
    assert again["properties"] == {"colour": "red"}


def test_resend_goes_elsewhere_and_not_faster_than_its_rate(url: str) -> None:
    died(url, "slow", "slow", *["no"] * 4)
    with Admin(url) as admin:
        admin.create_topic("elsewhere", queues=1)
    began_s = time.monotonic()
    words = ["dlq", "resend", "slow", "--to", "elsewhere", "--rate", "4", "--yes"]
    assert run(*words, url=url).returncode == 0
    assert time.monotonic() - began_s > 0.75
    assert len(bodies(url, "elsewhere")) == 4
    assert len(bodies(url, "slow")) == 4


def test_a_resend_sends_what_can_be_sent_and_says_what_is_left(url: str) -> None:
    died(url, "there", "lost", *["no"] * 3)
    died(url, "lost", "lost", "no", "no")
    with Admin(url) as admin:
        admin.delete_topic("lost")
        admin.create_topic("found", queues=1)
    words = ["dlq", "resend", "lost", "--yes", "-o", "json"]
    finished = run(*words, url=url)
    told = json.loads(finished.stderr)
    assert (told["code"], finished.returncode) == ("TOPIC_NOT_FOUND", 1)
    assert "2 of 5" in told["message"]
    assert json.loads(finished.stdout) == {
        "group": "lost",
        "letters": 3,
        "to": {"there": 3},
        "sent": True,
        "left": {"lost": 2},
    }
    assert len(bodies(url, "there")) == 6
    assert "--topic lost --to" in told["hint"]
    words += ["--topic", "lost", "--to", "found"]
    assert json.loads(run(*words, url=url).stdout)["to"] == {"found": 2}
    shown = rows(run("dlq", "show", "lost", "-o", "jsonl", url=url))
    first, *others = [row["place"] for row in shown if row["place"][0] == shown[0]["place"][0]]
    found = rows(run("dlq", "show", "lost", "--after", first, "-o", "jsonl", url=url))
    assert len(found) == 4
    assert first not in [row["place"] for row in found]
    assert set(others) <= {row["place"] for row in found}


def test_an_admin_sends_what_can_be_sent_once_and_says_what_is_left(url: str) -> None:
    died(url, "kept", "half", *["no"] * 3)
    died(url, "deleted", "half", "no", "no")
    with Admin(url) as admin:
        admin.delete_topic("deleted")
        with pytest.raises(errors.TopicNotFound, match="3 of 5 dead letters") as caught:
            admin.resend_dead_letters("half")
        left = caught.value.left  # type: ignore[attr-defined]
        assert [letter.topic for letter in left] == ["deleted"] * 2
        assert admin.describe_topic("kept").messages == 6
        with pytest.raises(errors.TopicNotFound, match="0 of 2"):
            admin.resend_dead_letters("half", left)
        assert admin.describe_topic("kept").messages == 6

    async def again() -> None:
        async with aio.Admin(url) as admin:
            with pytest.raises(errors.TopicNotFound, match="3 of 5 dead letters"):
                await admin.resend_dead_letters("half")
            with pytest.raises(errors.InvalidArgument, match="rate"):
                await admin.resend_dead_letters("half", rate=float("inf"))
            assert len(await admin.dead_letters("half", count=4)) == 4

    asyncio.run(again())


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (["show", "nobody"], "TOPIC_NOT_FOUND", 1),
        (["resend", "nobody", "--yes"], "TOPIC_NOT_FOUND", 1),
        (["show", "nobody", "--place", "3"], "USAGE", 2),
        (["resend", "nobody", "--after", "x/1"], "USAGE", 2),
        (["show", "nobody", "--from", "4711"], "USAGE", 2),
        (["resend", "nobody", "--rate", "none"], "USAGE", 2),
    ],
)
def test_errors_are_code_message_and_hint(
    words: list[str], code: str, status: int, url: str
) -> None:
    finished = run("dlq", *words, "-o", "json", url=url)
    told = json.loads(finished.stderr)
    assert (told["code"], finished.returncode) == (code, status)
    assert told["message"]
    assert told["hint"]
