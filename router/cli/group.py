"""`shardmq group`: list, describe, delete, reset-offsets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import rich_click as click

from shardmq.actors.kernel.clock import SystemClock
from shardmq.actors.protocol.work_messages import WORK_MODELS

from ..quantities import QuantityError
from .errors import EXIT_USAGE, CliError
from .messages import moment_text
from .options import (
    Pair,
    group_argument,
    output_option,
    timeout_option,
    topic_argument,
    url_option,
    yes_option,
)
from .output import Form, note, print_list, print_record
from .reading import start_of

if TYPE_CHECKING:
    from shardmq.client import Admin, GroupDescription
    from shardmq.client.groups import GroupQueue

__all__ = ["command"]


@click.group("group")
def command() -> None:
    """List, describe and delete consumer groups, and move their cursors.

    \b
    Examples:
    $ shardmq group list
    $ shardmq group describe billing
    $ shardmq group reset-offsets billing orders --to -1h        what would be
    $ shardmq group reset-offsets billing orders --to -1h --yes
    $ shardmq group delete billing --yes
    """


@command.command("list")
@click.option("--names", is_flag=True, help="Only names: quick with thousands of groups.")
@output_option
@timeout_option
@url_option
def list_groups(names: bool, form: Form, timeout: float, url: str) -> None:
    """List consumer groups: who is there, and how far behind.

    \b
    Examples:
    $ shardmq group list
    $ shardmq group list -o jsonl | jq 'select(.lag > 1000)'
    """
    with _admin(url, timeout) as admin:
        found = admin.groups()
        if names:
            rows: list[dict[str, Any]] = [{"name": name} for name in found]
        else:
            rows = [_summary(group) for group in _described(admin, found)]
    print_list(rows, form, empty="no groups yet; a group comes to be with its first member")


@command.command("describe")
@group_argument
@output_option
@timeout_option
@url_option
def describe(group: str, form: Form, timeout: float, url: str) -> None:
    """Show a group: its members, who reads which queue, and how far behind.

    Lag counts the messages that the subscription selects and that are not done yet; `lag_seconds`
    is the age of the oldest. A broadcasting group has rows for every member, those away,
    too. In a work group all members read all queues: the owner is `*`, and of the lag so many
    messages are in flight, in the hands of a receiver for now.

    \b
    Examples:
    $ shardmq group describe billing
    $ shardmq group describe billing -o json | jq .lag
    $ shardmq group describe billing -o jsonl                     a line for each queue
    """
    with _admin(url, timeout) as admin:
        described = admin.describe_group(group)
    queues = _queue_rows(described)
    if form == "jsonl":
        print_list(queues, form)
    elif form == "json":
        members = _member_rows(described)
        print_record({**_record(described), "members": members, "queues": queues}, form)
    else:
        print_record(_record(described), form)
        print_list(_member_rows(described), form, empty="no members are there")
        print_list(queues, form)


@command.command("delete")
@group_argument
@yes_option
@output_option
@timeout_option
@url_option
def delete(group: str, yes: bool, form: Form, timeout: float, url: str) -> None:
    """Forget a group and where it is. Without --yes only say what would go.

    A group with members is not deleted: stop them first. What waits for another attempt goes, too;
    its dead letters stay.

    \b
    Examples:
    $ shardmq group delete billing          what would be forgotten
    $ shardmq group delete billing --yes
    """
    with _admin(url, timeout) as admin:
        record = {**_summary(admin.describe_group(group)), "deleted": yes}
        if yes:
            admin.delete_group(group)
    print_record(record, form)
    if not yes:
        note(f"nothing was deleted; to do it: shardmq group delete {group} --yes")


@command.command("reset-offsets")
@group_argument
@topic_argument
@click.option(
    "--to", metavar="WHERE",
    help="earliest, latest, a time (2013-01-31T08:00) or so long ago (-10m): of each queue the"
    " first message stored then or later.",
)  # fmt: skip
@click.option(
    "-q", "--queue", "queues", type=Pair(), multiple=True, metavar="QUEUE=OFFSET",
    help="Only this queue, to this offset; repeatable, instead of --to.",
)  # fmt: skip
@yes_option
@output_option
@timeout_option
@url_option
def reset_offsets(
    group: str,
    topic: str,
    to: str | None,
    queues: tuple[tuple[str, str], ...],
    yes: bool,
    form: Form,
    timeout: float,
    url: str,
) -> None:
    """Move a group's cursors in a topic, also while its members run: they go on from there.

    Without --yes only shows where each queue is and where it would be. `to_read` are the messages
    from there on, those that the subscription leaves out included.

    \b
    Examples:
    $ shardmq group reset-offsets billing orders --to -1h          what would be
    $ shardmq group reset-offsets billing orders --to -1h --yes
    $ shardmq group reset-offsets billing orders --to earliest --yes
    $ shardmq group reset-offsets billing orders -q 3=4711 -q 5=0 --yes
    """
    target = _target(to, queues)
    with _admin(url, timeout) as admin:
        described = admin.describe_group(group)
        moved = admin.reset_offsets(group, topic, to=target, dry_run=not yes)
    is_own = described.model == "broadcasting"
    before = {
        (queue.owner if is_own else None, queue.queue_id): queue
        for queue in described.queues
        if queue.topic == topic
    }
    rows = []
    for queue in moved:
        known = before.get((queue.member, queue.queue_id))
        latest = known.latest if known is not None else None
        rows.append(
            {
                **({"member": queue.member} if is_own else {}),
                "queue_id": queue.queue_id,
                "before": queue.before,
                "after": queue.after,
                "latest": latest,
                "lag": known.lag if known is not None else None,
                "to_read": None if latest is None else max(0, latest - queue.after),
                "moved": yes,
            }
        )
    print_list(rows, form)
    if not yes:
        note("nothing was moved; to do it, say the same with --yes")


def _target(to: str | None, queues: tuple[tuple[str, str], ...]) -> Any:
    """What `Admin.reset_offsets` takes as `to`.

    Raises:
        CliError: not exactly one of both ways to say it, or it is malformed.
    """
    if (to is None) == (not queues):
        hint = "give --to WHERE for all queues, or --queue QUEUE=OFFSET for some"
        raise CliError("USAGE", "where to is not clear", hint, status=EXIT_USAGE)
    if to is None:
        if not all(name.isdigit() and offset.isdigit() for name, offset in queues):
            text = "--queue is QUEUE=OFFSET, such as 3=4711"
            raise CliError("USAGE", text, "both are numbers from 0 on", status=EXIT_USAGE)
        return {int(name): int(offset) for name, offset in queues}
    try:
        start = start_of(to, SystemClock().now().wall_ms)
    except QuantityError as error:
        raise CliError("USAGE", f"--to: {error}", status=EXIT_USAGE) from None
    if start.offset is not None:
        hint = "for single queues: --queue QUEUE=OFFSET"
        text = "--to: an offset means something else in each queue"
        raise CliError("USAGE", text, hint, status=EXIT_USAGE)
    return start.place if start.time_ms is None else start.time_ms / 1000


def _admin(url: str, timeout: float) -> Admin:
    from shardmq.client import Admin

    return Admin(url, timeout=timeout)


def _described(admin: Admin, names: list[str]) -> Iterator[GroupDescription]:
    """Descriptions; a group that is deleted while we ask is left out."""
    from shardmq.client.errors import GroupNotFound

    for name in names:
        try:
            yield admin.describe_group(name)
        except GroupNotFound:
            continue


def _summary(group: GroupDescription) -> dict[str, Any]:
    return {
        "name": group.name,
        "model": group.model,
        "members": len(group.members),
        "topics": sorted(group.subscriptions),
        "queues": len(group.queues),
        "lag": group.lag,
        "lag_seconds": _rounded(group.lag_seconds),
        "in_flight": _in_flight(group, group),
    }


def _record(group: GroupDescription) -> dict[str, Any]:
    return {
        "name": group.name,
        "model": group.model,
        "strategy": None if group.model in WORK_MODELS else group.strategy,
        "subscriptions": dict(group.subscriptions),
        "lag": group.lag,
        "lag_seconds": _rounded(group.lag_seconds),
        "in_flight": _in_flight(group, group),
        "oldest_at": moment_text(group.oldest_at),
        "away": group.away if group.model == "broadcasting" else None,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _in_flight(group: GroupDescription, counted: GroupDescription | GroupQueue) -> int | None:
    """None where nothing is ever handed out message by message."""
    return counted.in_flight if group.model in WORK_MODELS else None


def _member_rows(group: GroupDescription) -> list[dict[str, Any]]:
    return [
        {
            "member": member.name,
            "queues": member.queues,
            "silent_seconds": round(member.silent, 1),
            "lease_seconds": member.lease,
        }
        for member in group.members
    ]


def _queue_rows(group: GroupDescription) -> list[dict[str, Any]]:
    return [
        {
            "topic": queue.topic,
            "queue_id": queue.queue_id,
            "shard": queue.shard,
            "owner": queue.owner,
            "committed": queue.committed,
            "latest": queue.latest,
            "lag": queue.lag,
            "lag_seconds": _rounded(queue.lag_seconds),
            "in_flight": _in_flight(group, queue),
            "oldest_at": moment_text(queue.oldest_at),
        }
        for queue in group.queues
    ]
