"""`shardmq consume`: prints messages of a topic, and follows it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import rich_click as click

from shardmq.actors.kernel.clock import SystemClock

from ..quantities import QuantityError
from .errors import EXIT_USAGE, CliError
from .membership import ends_of, group_messages, member
from .messages import FORMAT_HELP, formatter
from .options import COUNT, group_names, timeout_option, topic_argument, url_option
from .reading import Start, start_of
from .scanning import scanned

__all__ = ["command"]


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
@click.option("-g", "--group", metavar="GROUP", shell_complete=group_names,
              help="Read as a member of this group: what it has not done yet, shared with its other"
              " members. What is printed is done.")  # fmt: skip
@click.option("-F", "--format", "form", metavar="FORMAT", help=FORMAT_HELP)
@click.option("-o", "--output", "output", type=click.Choice(["text", "json", "jsonl"]),
              help="A format by name, which errors follow, too; json with --follow is one object a"
              " line. [default: text]")  # fmt: skip
@timeout_option
@url_option
def command(
    topic: str,
    follow: bool,
    start: str | None,
    queue_ids: tuple[int, ...],
    count: int | None,
    tags: tuple[str, ...],
    group: str | None,
    form: str | None,
    output: str | None,
    timeout: float,
    url: str,
) -> None:
    """Print the messages of a topic. Nothing is taken away: consuming never deletes.

    With --group only what the group has not done yet; what is printed is done.

    \b
    Examples:
    $ shardmq consume orders                          all there is
    $ shardmq consume orders -f                       what comes from now on
    $ shardmq consume orders --from -10m -f           the last ten minutes, then what comes
    $ shardmq consume orders --queue 3 --from 4711 -n 10
    $ shardmq consume orders -o jsonl | jq .body
    $ shardmq consume orders -F '{offset} {tag} {body}'
    $ shardmq consume orders -F raw > bodies
    $ shardmq consume orders --group billing -f       in several terminals: they share
    """
    form = form or output or "text"
    if follow and form == "json":
        form = "jsonl"  # an array would be complete only at an end that does not come
    render = formatter(form)
    where = _start(start or ("latest" if follow else "earliest"))
    from shardmq.client import PullConsumer

    try:
        if group is not None:
            if queue_ids:
                text = "--queue: the group decides which queues a member reads"
                raise CliError("USAGE", text, "leave out --group", status=EXIT_USAGE)
            with member(url, group, topic, tags, where, timeout) as consumer:
                ends = None if follow else ends_of(topic, url, timeout)
                each = form != "json"
                messages = group_messages(consumer, topic, ends, count, commit_each=each)
                _print(messages, render, form)
                consumer.commit()
            return
        with PullConsumer(url, on_out_of_range="earliest", timeout=timeout) as consumer:
            messages = scanned(
                consumer, topic, where, queue_ids=queue_ids, follow=follow, timeout=timeout, url=url
            )
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


def _at_most(messages: Iterable[Any], count: int | None) -> Iterator[Any]:
    if count is None:
        yield from messages
        return
    for number, message in enumerate(messages, 1):
        yield message
        if number >= count:
            return


def _print(messages: Iterable[Any], render: Callable[[Any], bytes], form: str) -> None:
    """Each message at once; `json` is one array, which is closed also when reading is cut short."""
    out = sys.stdout.buffer
    if form == "json":
        lead = b"["
        try:
            for message in messages:
                out.write(lead + render(message))
                lead = b",\n "
        finally:
            out.write(b"[]\n" if lead == b"[" else b"]\n")
            out.flush()
        return
    for message in messages:
        out.write(render(message) + b"\n")
        out.flush()
    out.flush()
