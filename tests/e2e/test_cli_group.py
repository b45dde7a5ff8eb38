"""`shardmq group` and `shardmq consume --group` on a real broker."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol import work_messages as w
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import Admin, Message, Producer
from shardmq.client.errors import GroupNotFound
from shardmq.client.groups import GroupMember
from shardmq.router import Broker
from support.actors import eventually
from support.cli import command, environment, rows, run
from support.raw_client import RawClient


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data: Path = tmp_path_factory.mktemp("groups") / "data"
    with Broker(data, shards=2, listen="tcp://127.0.0.1:0") as broker:
        yield broker.url


def filled(url: str, topic: str, count: int = 12) -> str:
    """A topic with 4 queues and `count` messages, half of them with the tag `odd`."""
    with Admin(url) as admin:
        admin.create_topic(topic, queues=4)
    with Producer(url) as producer:
        for number in range(count):
            tag = ("even", "odd")[number % 2]
            producer.send(Message(topic, b"%d" % number, tag=tag), queue_id=number // 3 % 4)
    return topic


def read(url: str, topic: str, group: str, *words: str) -> list[bytes]:
    """The bodies that `consume --group` prints, sorted."""
    finished = run("consume", topic, "--group", group, "-F", "raw", *words, url=url)
    assert finished.returncode == 0, finished.stderr.decode()
    return sorted(finished.stdout.splitlines(), key=int)


def bodies(*numbers: int) -> list[bytes]:
    return [b"%d" % number for number in numbers]


@contextmanager
def members(
    url: str, topic: str, group: str, count: int
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Members that follow, in processes of their own."""
    words = ["consume", topic, "--group", group, "-f", "--from", "earliest", "-F", "raw"]
    started = [
        subprocess.Popen(command(*words), env=environment(url), stdout=subprocess.PIPE)
        for _ in range(count)
    ]
    try:
        yield started
    finally:
        for one in started:
            one.kill()
            one.wait()
            assert one.stdout is not None
            one.stdout.close()


def test_what_a_group_has_printed_it_does_not_print_again(url: str) -> None:
    topic = filled(url, "printed")
    assert read(url, topic, "once") == bodies(*range(12))
    assert read(url, topic, "once") == []
    with Producer(url) as producer:
        producer.send(Message(topic, b"99"))
    assert read(url, topic, "once") == bodies(99)


def test_a_count_takes_no_more_from_the_group_than_it_prints(url: str) -> None:
    topic = filled(url, "counted")
    first = read(url, topic, "bit-by-bit", "-n", "5")
    second = read(url, topic, "bit-by-bit", "-n", "5")
    rest = read(url, topic, "bit-by-bit")
    assert (len(first), len(second), len(rest)) == (5, 5, 2)
    assert sorted(first + second + rest, key=int) == bodies(*range(12))


def test_tags_are_the_groups_subscription(url: str) -> None:
    topic = filled(url, "tagged")
    assert read(url, topic, "odd", "--tag", "odd") == bodies(1, 3, 5, 7, 9, 11)
    described = run("group", "describe", "odd", "-o", "json", url=url)
    record = json.loads(described.stdout)
    assert record["subscriptions"] == {topic: "odd"}
    assert (record["lag"], record["oldest_at"], record["members"]) == (0, None, [])


def test_members_share_the_queues_and_one_that_leaves_gives_them_back(url: str) -> None:
    topic = filled(url, "shared")
    with members(url, topic, "sharing", 2) as started:
        with Admin(url) as admin:
            wait_for(lambda: [one.queues for one in members_of(admin, "sharing")], [2, 2])
        (leaving, staying) = started
        leaving.send_signal(signal.SIGINT)
        assert leaving.wait(timeout=10) == 0
        with Admin(url) as admin:
            wait_for(lambda: [one.queues for one in members_of(admin, "sharing")], [4])
            wait_for(lambda: admin.describe_group("sharing").lag, 0)
        staying.send_signal(signal.SIGINT)
        printed = [one.communicate()[0].splitlines() for one in started]
    assert sorted({*printed[0], *printed[1]}, key=int) == bodies(*range(12))


def test_a_list_and_a_description_say_who_is_where(url: str) -> None:
    topic = filled(url, "listed")
    read(url, topic, "lister", "-n", "5")
    (row,) = (
        one for one in rows(run("group", "list", "-o", "jsonl", url=url)) if one["name"] == "lister"
    )
    assert (row["members"], row["topics"], row["queues"], row["lag"]) == (0, [topic], 4, 7)
    assert {"name": "lister"} in json.loads(
        run("group", "list", "--names", "-o", "json", url=url).stdout
    )
    queues = rows(run("group", "describe", "lister", "-o", "jsonl", url=url))
    assert [queue["queue_id"] for queue in queues] == [0, 1, 2, 3]
    assert sum(queue["lag"] for queue in queues) == 7
    table = run("group", "describe", "lister", url=url).stdout.decode()
    assert "queue_id  shard  owner  committed  latest  lag" in table


def test_a_reset_shows_what_it_would_do_and_then_does_it(url: str) -> None:
    topic = filled(url, "reset")
    read(url, topic, "again")
    words = ["group", "reset-offsets", "again", topic]
    shown = run(*words, "--to", "earliest", "-o", "jsonl", url=url)
    assert b"--yes" in shown.stderr
    wanted = {"before": 3, "after": 0, "latest": 3, "lag": 0, "to_read": 3, "moved": False}
    assert rows(shown) == [{"queue_id": queue_id, **wanted} for queue_id in range(4)]
    assert read(url, topic, "again") == []
    moved = rows(run(*words, "-q", "2=1", "--yes", "-o", "jsonl", url=url))
    assert [(row["queue_id"], row["before"], row["after"], row["moved"]) for row in moved] == [
        (2, 3, 1, True)
    ]
    assert read(url, topic, "again") == bodies(7, 8)
    run(*words, "--to", "-1h", "--yes", url=url)
    assert read(url, topic, "again") == bodies(*range(12))


def test_a_group_is_deleted_only_with_yes_and_without_members(url: str) -> None:
    topic = filled(url, "deleted")
    read(url, topic, "short")
    shown = run("group", "delete", "short", "-o", "json", url=url)
    assert json.loads(shown.stdout)["deleted"] is False
    assert b"--yes" in shown.stderr
    with members(url, topic, "short", 1):
        with Admin(url) as admin:
            wait_for(lambda: len(members_of(admin, "short")), 1)
        refused = run("group", "delete", "short", "--yes", "-o", "json", url=url)
        assert json.loads(refused.stderr)["code"] == "GROUP_IN_USE"
        assert refused.returncode == 1
    with Admin(url) as admin:
        wait_for(lambda: len(members_of(admin, "short")), 0)
    assert run("group", "delete", "short", "--yes", url=url).returncode == 0
    gone = run("group", "describe", "short", "-o", "json", url=url)
    assert json.loads(gone.stderr)["code"] == "GROUP_NOT_FOUND"


def test_a_work_group_is_everybodys_and_is_reset_and_deleted_like_others(url: str) -> None:
    topic = filled(url, "work")
    with RawClient(url) as client, RawClient(url) as other:
        group_id, _ = worker(client, "jobs", topic, "ann")
        worker(other, "jobs", topic, "bob")
        shown = run("group", "describe", "jobs", "-o", "json", url=url)
        record = json.loads(shown.stdout)
        assert (record["model"], record["strategy"], record["lag"]) == ("work", None, 12)
        assert [(one["member"], one["queues"]) for one in record["members"]] == [
            ("ann", 4),
            ("bob", 4),
        ]
        assert {(one["owner"], one["in_flight"]) for one in record["queues"]} == {("*", 0)}
        listed = rows(run("group", "list", "-o", "jsonl", url=url))
        (row,) = (one for one in listed if one["name"] == "jobs")
        assert (row["model"], row["members"], row["queues"], row["lag"]) == ("work", 2, 4, 12)
        words = ["group", "reset-offsets", "jobs", topic, "--to", "latest", "-o", "jsonl"]
        tried = rows(run(*words, url=url))
        assert [(one["before"], one["after"], one["moved"]) for one in tried] == [(0, 3, False)] * 4
        moved = rows(run(*words, "--yes", url=url))
        assert [(one["before"], one["after"], one["moved"]) for one in moved] == [(0, 3, True)] * 4
        with Admin(url) as admin:
            assert (admin.describe_group("jobs").lag, admin.describe_group("jobs").in_flight) == (
                0,
                0,
            )
        refused = json.loads(run("group", "delete", "jobs", "--yes", "-o", "json", url=url).stderr)
        assert (refused["code"], "ann, bob" in refused["message"]) == ("GROUP_IN_USE", True)
        for one, name in ((client, "ann"), (other, "bob")):
            one.insist(Verb.GROUP_LEAVE, g.GroupLeave(group_id=group_id, member=name))
    table = run("group", "describe", "jobs", url=url).stdout.decode()
    assert "owner  committed  latest  lag  lag_seconds  in_flight" in table
    assert run("group", "delete", "jobs", "--yes", url=url).returncode == 0


def test_what_a_receiver_has_in_hand_is_in_flight_until_it_is_done(url: str) -> None:
    topic = filled(url, "in-hand")
    with RawClient(url) as client:
        group_id, queues = worker(client, "hands", topic, "ann")
        shard = queues[0].shard
        wish = w.Receive(group_id=group_id, receipt=77, count_max=2, invisible_ms=60_000)
        part, other = client.insist(Verb.RECEIVE, wish, shard=shard).parts
        assert (part.queue, part.count, other.count) == (other.queue, 1, 1)
        assert figures(url, "hands") == (12, 2)
        queue = next(one for one in queues if one.queue == part.queue)
        listed = rows(run("group", "describe", "hands", "-o", "jsonl", url=url))
        assert {row["queue_id"]: row["in_flight"] for row in listed if row["in_flight"]} == {
            queue.queue_id: 2
        }
        done = w.SettleItem(
            queue=part.queue, generation=part.generation, receipt=77, start=part.offset,
            stop=part.offset + 1,
        )  # fmt: skip
        settle = w.Settle(group_id=group_id, items=[done])
        (result,) = client.insist(Verb.SETTLE, settle, shard=shard).results
        assert result.code == Code.OK
        assert figures(url, "hands") == (11, 1)
        words = ["group", "reset-offsets", "hands", topic, "--to", "earliest", "--yes"]
        assert run(*words, url=url).returncode == 0
        assert figures(url, "hands") == (12, 0), "what was in hand is nobody's after a reset"


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (["group", "describe", "nobody"], "GROUP_NOT_FOUND", 1),
        (["group", "delete", "nobody", "--yes"], "GROUP_NOT_FOUND", 1),
        (["group", "reset-offsets", "nobody", "nowhere", "--to", "latest"], "GROUP_NOT_FOUND", 1),
        (["group", "reset-offsets", "nobody", "nowhere"], "USAGE", 2),
        (["group", "describe", "no spaces"], "INVALID_NAME", 1),
        (["consume", "nowhere", "--group", "g"], "TOPIC_NOT_FOUND", 1),
        (["consume", "nowhere", "--group", "g", "--queue", "1"], "USAGE", 2),
        (["consume", "nowhere", "--group", "g", "--from", "4711"], "USAGE", 2),
    ],
)
def test_errors_are_code_message_and_hint(
    words: list[str], code: str, status: int, url: str
) -> None:
    finished = run(*words, "-o", "json", url=url)
    told = json.loads(finished.stderr)
    assert (told["code"], finished.returncode) == (code, status)
    assert told["message"]
    assert told["hint"]


def test_other_subscriptions_are_refused_and_the_other_member_is_named(url: str) -> None:
    topic = filled(url, "conflict")
    with members(url, topic, "strict", 1), Admin(url) as admin:
        wait_for(lambda: len(members_of(admin, "strict")), 1)
        (other,) = members_of(admin, "strict")
        words = ["consume", topic, "--group", "strict", "--tag", "odd", "-o", "json"]
        told = json.loads(run(*words, url=url).stderr)
    assert told["code"] == "SUBSCRIPTION_CONFLICT"
    assert other.name in told["message"]


def test_names_of_groups_complete(url: str) -> None:
    from click.shell_completion import get_completion_class

    from shardmq.router.cli.main import cli

    read(url, filled(url, "completes"), "completed-group")
    kind = get_completion_class("bash")
    assert kind is not None
    complete = kind(cli, {}, "shardmq", "_SHARDMQ_COMPLETE")
    for words in (
        ["group", "describe", "--url", url],
        ["dlq", "show", "--url", url],
        ["consume", "t", "--url", url, "--group"],
    ):
        found = complete.get_completions(words, "completed-")
        assert [item.value for item in found] == ["completed-group"]


def figures(url: str, group: str) -> tuple[int, int]:
    """Lag of a group, and what is in flight of it, as the list tells them."""
    listed = rows(run("group", "list", "-o", "jsonl", url=url))
    (row,) = (one for one in listed if one["name"] == group)
    return row["lag"], row["in_flight"]


def worker(
    client: RawClient, group: str, topic: str, name: str
) -> tuple[int, list[g.AssignedQueue]]:
    """A new member of a work group: the group's id and the queues that everybody has."""
    join = g.GroupJoin(
        group=group, member=name, subscriptions=[g.Subscription(topic=topic)], model="work",
        start=g.Start(at="earliest"), retries=True,
    )  # fmt: skip
    group_id = client.insist(Verb.GROUP_JOIN, join).group_id
    events = g.Events(group_id=group_id, member=name)
    queues: list[g.AssignedQueue] = eventually(lambda: client.insist(Verb.EVENTS, events).queues)
    return group_id, queues


def members_of(admin: Admin, group: str) -> list[GroupMember]:
    """The members of a group that may not be there yet."""
    try:
        return admin.describe_group(group).members
    except GroupNotFound:
        return []


def wait_for(look: Any, wanted: Any) -> None:
    """Looks until it is as wanted."""
    eventually(lambda: look() == wanted, what=f"it does not become {wanted}")
