"""`shardmq topic`: create, list, describe, update, delete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import rich_click as click

from ..quantities import duration_text
from .errors import EXIT_USAGE, CliError
from .messages import moment_text
from .options import (
    DURATION,
    output_option,
    timeout_option,
    topic_argument,
    url_option,
    yes_option,
)
from .output import Form, note, print_list, print_record

if TYPE_CHECKING:
    from shardmq.client import Admin, TopicDescription

__all__ = ["command"]


@click.group("topic")
def command() -> None:
    """Create, list, describe, update and delete topics.

    \b
    Examples:
    $ shardmq topic create orders --queues 8
    $ shardmq topic list
    $ shardmq topic list -o json
    $ shardmq topic describe orders
    $ shardmq topic update orders --queues 16
    $ shardmq topic delete orders --yes
    """


@command.command("create")
@topic_argument
@click.option(
    "-q", "--queues", type=click.IntRange(1, 16_384), default=8, show_default=True,
    help="How many queues: as many consumers of a group can work side by side.",
)  # fmt: skip
@click.option(
    "--retention", type=DURATION, metavar="DURATION",
    help="Keep messages for so long (12h), not longer than the broker does; default: as long.",
)  # fmt: skip
@output_option
@timeout_option
@url_option
def create(
    topic: str, queues: int, retention: float | None, form: Form, timeout: float, url: str
) -> None:
    """Create a topic.

    \b
    Examples:
    $ shardmq topic create orders
    $ shardmq topic create audit --queues 2 --retention 12h
    """
    with _admin(url, timeout) as admin:
        _print_topic(admin.create_topic(topic, queues, retention=retention), form)


@command.command("list")
@click.option("--system", is_flag=True, help="Also topics that belong to the broker (%...).")
@click.option("--names", is_flag=True, help="Only names: quick with thousands of topics.")
@output_option
@timeout_option
@url_option
def list_topics(system: bool, names: bool, form: Form, timeout: float, url: str) -> None:
    """List topics.

    \b
    Examples:
    $ shardmq topic list
    $ shardmq topic list --names
    $ shardmq topic list -o jsonl | jq -r .name
    """
    with _admin(url, timeout) as admin:
        found = admin.topics(system=system)
        if names:
            rows: list[dict[str, Any]] = [{"name": name} for name in found]
        else:
            rows = [_row(topic, form) for topic in _described(admin, found)]
    print_list(rows, form, empty="no topics yet; make one: shardmq topic create NAME")


@command.command("describe")
@topic_argument
@output_option
@timeout_option
@url_option
def describe(topic: str, form: Form, timeout: float, url: str) -> None:
    """Show a topic's queues: where each is and what it holds.

    \b
    Examples:
    $ shardmq topic describe orders
    $ shardmq topic describe orders -o json | jq .messages
    """
    with _admin(url, timeout) as admin:
        _print_topic(admin.describe_topic(topic), form)


@command.command("update")
@topic_argument
@click.option("-q", "--queues", type=click.IntRange(1, 16_384), help="Queues, to read and write.")
@click.option(
    "--write-queues", type=click.IntRange(1, 16_384),
    help="Queues that take messages; the ones behind are closed for writing, to be drained.",
)  # fmt: skip
@click.option(
    "--read-queues", type=click.IntRange(1, 16_384),
    help="Queues that are read; close those behind once they are drained.",
)  # fmt: skip
@click.option("--retention", type=DURATION, metavar="DURATION", help="Keep messages for so long.")
@yes_option
@output_option
@timeout_option
@url_option
def update(
    topic: str,
    queues: int | None,
    write_queues: int | None,
    read_queues: int | None,
    retention: float | None,
    yes: bool,
    form: Form,
    timeout: float,
    url: str,
) -> None:
    """Change a topic. Every ordering key keeps its queue when queues are added.

    Queues that are closed for reading are gone with their messages: without --yes the command only
    says what they hold, and how much of it groups have not done yet.

    \b
    Examples:
    $ shardmq topic update orders --queues 16
    $ shardmq topic update orders --write-queues 4     first stop writing
    $ shardmq topic update orders --read-queues 4      then see what is left
    $ shardmq topic update orders --read-queues 4 --yes
    $ shardmq topic update audit --retention 24h
    """
    changes = {
        "queues": queues,
        "write_queues": write_queues,
        "read_queues": read_queues,
        "retention": retention,
    }
    wanted: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    if not wanted:
        hint = "give --queues, --write-queues, --read-queues or --retention"
        raise CliError("USAGE", "nothing to change", hint, status=EXIT_USAGE)
    left = read_queues if read_queues is not None else queues
    with _admin(url, timeout) as admin:
        if left is not None and not yes:
            closing = _closing(admin, admin.describe_topic(topic), left)
            if closing is not None:
                print_record(closing, form)
                note("nothing was changed; to close these queues, say the same with --yes")
                return
        _print_topic(admin.update_topic(topic, **wanted), form)


@command.command("delete")
@topic_argument
@yes_option
@output_option
@timeout_option
@url_option
def delete(topic: str, yes: bool, form: Form, timeout: float, url: str) -> None:
    """Delete a topic and its messages. Without --yes only say what would go.

    \b
    Examples:
    $ shardmq topic delete orders          what would be deleted
    $ shardmq topic delete orders --yes
    """
    with _admin(url, timeout) as admin:
        described = admin.describe_topic(topic)
        record = {
            "topic": topic,
            "queues": len(described.queues),
            "messages": described.messages,
            "deleted": yes,
        }
        if yes:
            admin.delete_topic(topic)
    print_record(record, form)
    if not yes:
        note(f"nothing was deleted; to do it: shardmq topic delete {topic} --yes")


def _admin(url: str, timeout: float) -> Admin:
    from shardmq.client import Admin

    return Admin(url, timeout=timeout)


def _closing(admin: Admin, topic: TopicDescription, left: int) -> dict[str, Any] | None:
    """What goes if only the first `left` queues stay readable; None if no queue is closed."""
    queues = [queue for queue in topic.queues if queue.readable and queue.queue_id >= left]
    if not queues:
        return None
    lags = _lags(admin, topic.name, {queue.queue_id for queue in queues})
    return {
        "topic": topic.name,
        "closed_queues": [queue.queue_id for queue in queues],
        "messages": sum(queue.latest - queue.earliest for queue in queues),
        "not_done": lags,
        "changed": False,
    }


def _lags(admin: Admin, topic: str, queue_ids: set[int]) -> dict[str, int]:
    """Of each group that reads some of these queues, how many of their messages it has not done."""
    from shardmq.client.errors import GroupNotFound

    lags: dict[str, int] = {}
    for name in admin.groups():
        try:
            queues = admin.describe_group(name).queues
        except GroupNotFound:  # deleted while we ask
            continue
        found = [q.lag for q in queues if q.topic == topic and q.queue_id in queue_ids]
        if found:
            lags[name] = sum(found)
    return lags


def _described(admin: Admin, names: list[str]) -> Iterator[TopicDescription]:
    """Descriptions; a topic that is deleted while we ask is left out."""
    from shardmq.client.errors import TopicNotFound

    for name in names:
        try:
            yield admin.describe_topic(name)
        except TopicNotFound:
            continue


def _row(topic: TopicDescription, form: Form) -> dict[str, Any]:
    retention: Any = topic.retention
    if form == "table":
        retention = "broker's" if retention is None else duration_text(retention)
    return {
        "name": topic.name,
        "queues": len(topic.queues),
        "messages": topic.messages,
        "retention": retention,
        "created_at": moment_text(topic.created_at),
    }


def _print_topic(topic: TopicDescription, form: Form) -> None:
    rows = [
        {
            "queue_id": queue.queue_id,
            "shard": queue.shard,
            "earliest": queue.earliest,
            "latest": queue.latest,
            "messages": queue.latest - queue.earliest,
            "writable": queue.writable,
            "readable": queue.readable,
        }
        for queue in topic.queues
    ]
    if form == "jsonl":
        print_list(rows, form)
    elif form == "json":
        print_record({**_row(topic, form), "queues": rows}, form)
    else:
        print_record(_row(topic, form), form)
        print_list(rows, form)
