"""`shardmq consume`: prints messages of a topic, and follows it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import rich_click as click

from shardmq.actors.kernel.clock import SystemClock

from ..quantities import QuantityError
from .errors import EXIT_USAGE, CliError
from .messages import FORMAT_HELP, formatter
from .options import COUNT, timeout_option, topic_argument, url_option
from .output import note
from .reading import Ends, Start, start_of

if TYPE_CHECKING:
    from shardmq.client import PullConsumer, QueueDescription, ReceivedMessage

__all__ = ["command"]

_POLL_SECONDS = 0.5
_POLL_MESSAGES = 1_000


@click.command("consume")
@topic_argument
@click.option(
    "-f", "--follow", is_flag=True, help="Wait for new messages in the queues there are now."
)
@click.option(
    "--from", "start", default=None, metavar="WHERE",
    help="earliest, latest, an offset, a time (2013-01-31T08:00) or so long ago (-10m); default is"
    " earliest, with --follow latest.",
)  # fmt: skip
@click.option("-q", "--queue", "queue_ids", type=click.IntRange(0), multiple=True,
              help="Only this queue; repeatable.")  # fmt: skip
@click.option("-n", "--count", type=COUNT, metavar="COUNT", help="Stop after so many messages.")
@click.option("--tag", "tags", multiple=True, help="Only messages with this tag; repeatable.")
@click.option("-F", "--format", "form", metavar="FORMAT", help=FORMAT_HELP)
@click.option("-o", "--output", "output", type=click.Choice(["text", "json", "jsonl"]),
              help="A format by name, which errors follow, too. [default: text]")  # fmt: skip
@timeout_option
@url_option
def command(
    topic: str,
    follow: bool,
    start: str | None,
    queue_ids: tuple[int, ...],
    count: int | None,
    tags: tuple[str, ...],
    form: str | None,
    output: str | None,
    timeout: float,
    url: str,
) -> None:
    """Print the messages of a topic. Nothing is taken away: consuming never deletes.

    \b
    Examples:
    $ shardmq consume orders                          all there is
    $ shardmq consume orders -f                       what comes from now on
    $ shardmq consume orders --from -10m -f           the last ten minutes, then what comes
    $ shardmq consume orders --queue 3 --from 4711 -n 10
    $ shardmq consume orders -o jsonl | jq .body
    $ shardmq consume orders -F '{offset} {tag} {body}'
    $ shardmq consume orders -F raw > bodies
    """
    form = form or output or "text"
    render = formatter(form)
    where = _start(start or ("latest" if follow else "earliest"))
    from shardmq.client import PullConsumer

    try:
        with PullConsumer(url, on_out_of_range="earliest", timeout=timeout) as consumer:
            messages = _messages(consumer, topic, where, queue_ids, follow, timeout, url)
            wanted = (message for message in messages if not tags or message.tag in tags)
            _print(_at_most(wanted, count), render, form)
    except KeyboardInterrupt:
        if not follow:
            raise
        # Following has no other end than Ctrl-C: that is its success.


def _start(text: str) -> Start:
    try:
        return start_of(text, SystemClock().now().wall_ms)
    except QuantityError as error:
        raise CliError("USAGE", f"--from: {error}", status=EXIT_USAGE) from None


def _messages(
    consumer: PullConsumer,
    topic: str,
    start: Start,
    queue_ids: tuple[int, ...],
    follow: bool,
    timeout: float,
    url: str,
) -> Iterator[ReceivedMessage]:
    """Messages from `start` on; without `follow` up to what is the end of each queue now."""
    from shardmq.client import Admin
    from shardmq.client.errors import DamagedRecord

    with Admin(url, timeout=timeout) as admin:
        described = admin.describe_topic(topic)
    chosen = [
        q for q in described.queues if q.readable and (not queue_ids or q.queue_id in queue_ids)
    ]
    missing = set(queue_ids) - {queue.queue_id for queue in chosen}
    if missing:
        hint = f"queues are 0 to {len(described.queues) - 1}"
        raise CliError("INVALID_ARGUMENT", f"topic {topic} has no queue {min(missing)}", hint)
    consumer.assign(topic, [queue.queue_id for queue in chosen])
    positions = {}
    for queue in chosen:
        positions[queue.queue_id] = _seek(consumer, topic, queue, start)
    ends = Ends(positions, {queue.queue_id: queue.latest for queue in chosen})
    while follow or not ends.all_reached:
        try:
            batch = consumer.poll(timeout=_POLL_SECONDS, max_messages=_POLL_MESSAGES)
        except DamagedRecord as error:
            note(f"warning: {error}")
            ends.reached(error.queue_id, error.next_offset)
            continue  # the next poll goes on behind it
        for message in batch:
            if ends.reached(message.queue_id, message.offset + 1) or follow:
                yield message
        if not batch and not follow:
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


def _at_most(messages: Iterable[Any], count: int | None) -> Iterator[Any]:
    if count is None:
        yield from messages
        return
    for number, message in enumerate(messages, 1):
        yield message
        if number >= count:
            return


def _print(messages: Iterable[Any], render: Callable[[Any], bytes], form: str) -> None:
    """Each message at once; `json` is one array and so complete only at the end."""
    out = sys.stdout.buffer
    if form == "json":
        rendered = b",\n ".join(map(render, messages))
        out.write(b"[" + rendered + b"]\n")
    else:
        for message in messages:
            out.write(render(message) + b"\n")
            out.flush()
    out.flush()
