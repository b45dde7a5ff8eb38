"""Reading as a member of a group: the other half of `consume`, for `--group`.

Owns when what was printed counts as done, and when a member that does not follow has all that it
came for. Must not print.

A batch is done once all of it was printed: it is committed when the next message is asked for, so a
`consume` that is killed, or whose reader goes away, prints again what it may not have printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .errors import EXIT_USAGE, CliError
from .output import note
from .reading import Start

if TYPE_CHECKING:
    from shardmq.client import PullConsumer, ReceivedMessage

__all__ = ["ends_of", "group_messages", "member"]

_POLL_SECONDS = 0.5
_POLL_MESSAGES = 1_000


def member(
    url: str, group: str, topic: str, tags: tuple[str, ...], start: Start, timeout: float
) -> PullConsumer:
    """A member of `group` that wants the messages of a topic, those with one of `tags` if given.

    Args:
        start: where the group begins if it has never been here.

    Raises:
        CliError: an offset as the start, which means something else in each queue.
    """
    from shardmq.client import PullConsumer

    if start.offset is not None:
        hint = "move a group with: shardmq group reset-offsets"
        text = "--from: a group starts at earliest, latest or a time, not at an offset"
        raise CliError("USAGE", text, hint, status=EXIT_USAGE)
    start_from: Any = start.place if start.time_ms is None else start.time_ms / 1000
    consumer = PullConsumer(
        url, group=group, start_from=start_from, auto_commit=False, on_out_of_range="earliest",
        timeout=timeout,
    )  # fmt: skip
    consumer.subscribe(topic, " || ".join(tags) or "*")
    return consumer


def ends_of(topic: str, url: str, timeout: float) -> dict[int, int]:
    """Offset behind the last message of each queue that can be read."""
    from shardmq.client import Admin

    with Admin(url, timeout=timeout) as admin:
        described = admin.describe_topic(topic)
    return {queue.queue_id: queue.latest for queue in described.queues if queue.readable}


def group_messages(
    consumer: PullConsumer,
    topic: str,
    ends: Mapping[int, int] | None,
    count: int | None,
    *,
    commit_each: bool,
) -> Iterator[ReceivedMessage]:
    """Messages that the group has not done yet, at most `count`.

    Args:
        ends: stop when the queues that this member holds are read so far; None: never.
        commit_each: commit batch by batch; else the caller commits when it has printed all.
    """
    from shardmq.client.errors import DamagedRecord

    left = count
    while left is None or left > 0:
        most = _POLL_MESSAGES if left is None else min(left, _POLL_MESSAGES)
        try:
            batch = consumer.poll(timeout=_POLL_SECONDS, max_messages=most)
        except DamagedRecord as error:
            note(f"warning: {error}")
            continue  # the next poll goes on behind it
        yield from batch
        if batch and commit_each:
            consumer.commit()
        if left is not None:
            left -= len(batch)
        if ends is not None:
            reached, held = _reached(consumer, topic, ends)
            # Queues may be on their way to this member from another one.
            if reached and (not batch or held == len(ends)):
                return


def _reached(consumer: PullConsumer, topic: str, ends: Mapping[int, int]) -> tuple[bool, int]:
    """Whether all queues that this member holds are read to their end, and how many it holds."""
    from shardmq.client.errors import InvalidArgument

    held = [queue_id for _, queue_id in consumer.assignment()]
    for queue_id in held:
        try:
            position = consumer.position(topic, queue_id)
        except InvalidArgument:  # it has just gone to another member
            continue
        if position < ends.get(queue_id, 0):
            return False, len(held)
    return True, len(held)
