"""Reading a topic's queues from some place up to their ends, or following them.

Owns the one loop behind `consume` without a group and behind `dlq`. Must not print, but for the
warning that a record is damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from shardmq.actors.protocol.retries import RETRY_PREFIX

from .errors import CliError
from .output import note
from .reading import Ends, Start

if TYPE_CHECKING:
    from shardmq.client import PullConsumer, QueueDescription, ReceivedMessage

__all__ = ["scanned"]

_POLL_SECONDS = 0.5
_POLL_MESSAGES = 1_000


def scanned(
    consumer: PullConsumer,
    topic: str,
    starts: Start | Mapping[int, Start],
    *,
    queue_ids: tuple[int, ...] = (),
    follow: bool = False,
    timeout: float,
    url: str,
) -> Iterator[ReceivedMessage]:
    """Messages from `starts` on; without `follow` up to what is the end of each queue now.

    Args:
        starts: of all queues, or of each that shall be read.
        queue_ids: only these, all if there are none.
        timeout: of the questions before the first message, in seconds.

    Raises:
        CliError: the topic has no such queue.
    """
    from shardmq.client import Admin
    from shardmq.client.errors import DamagedRecord

    with Admin(url, timeout=timeout) as admin:
        described = admin.describe_topic(topic)
    wanted = queue_ids if isinstance(starts, Start) else tuple(starts)
    chosen = [q for q in described.queues if q.readable and (not wanted or q.queue_id in wanted)]
    missing = set(wanted) - {queue.queue_id for queue in chosen}
    if missing:
        hint = f"queues are 0 to {len(described.queues) - 1}"
        raise CliError("INVALID_ARGUMENT", f"topic {topic} has no queue {min(missing)}", hint)
    consumer.assign(topic, [queue.queue_id for queue in chosen])
    positions = {}
    for queue in chosen:
        start = starts if isinstance(starts, Start) else starts[queue.queue_id]
        positions[queue.queue_id] = _seek(consumer, topic, queue, start)
    ends = Ends(positions, {queue.queue_id: queue.latest for queue in chosen})
    # What comes again is shown with the place where it was first, not with its place here.
    again = topic.startswith(RETRY_PREFIX)
    while follow or not ends.all_reached:
        try:
            batch = consumer.poll(timeout=_POLL_SECONDS, max_messages=_POLL_MESSAGES)
        except DamagedRecord as error:
            note(f"warning: {error}")
            ends.reached(error.queue_id, error.next_offset)
            continue  # the next poll goes on behind it
        for message in batch:
            if again or ends.reached(message.queue_id, message.offset + 1) or follow:
                yield message
        if again or not batch:
            # Retention may have taken what we came for: the position then is beyond it.
            for queue_id in positions:
                ends.reached(queue_id, consumer.position(topic, queue_id))


def _seek(consumer: PullConsumer, topic: str, queue: QueueDescription, start: Start) -> int:
    """Puts one queue to its start; returns the first offset that will be read."""
    if start.time_ms is not None:
        consumer.seek_to_time(topic, start.time_ms / 1000, queue_id=queue.queue_id)
        return consumer.position(topic, queue.queue_id)
    if start.offset is not None:
        offset = min(max(start.offset, queue.earliest), queue.latest)
    else:
        offset = queue.earliest if start.place == "earliest" else queue.latest
    consumer.seek(topic, queue.queue_id, offset)
    return offset
