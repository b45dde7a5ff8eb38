"""`shardmq dlq`: list, show and resend dead letters."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import rich_click as click

from shardmq.actors.kernel.clock import SystemClock
from shardmq.actors.protocol.retries import DLQ_PREFIX, dlq_topic

from ..quantities import QuantityError
from .deadletters import Choice, DeadLetter, dead_letter, record_of, text_of
from .errors import EXIT_USAGE, CliError
from .options import COUNT, group_argument, output_option, timeout_option, url_option, yes_option
from .output import Form, json_text, note, print_list, print_record
from .reading import Start, start_of
from .scanning import scanned

if TYPE_CHECKING:
    from shardmq.client import Message

__all__ = ["command"]


@click.group("dlq")
def command() -> None:
    """List, show and resend dead letters: messages that a group gave up.

    \b
    Examples:
    $ shardmq dlq list
    $ shardmq dlq show billing --detail
    $ shardmq dlq resend billing                what would be sent again
    $ shardmq dlq resend billing --yes
    """


@command.command("list")
@click.option("-a", "--all", "is_all", is_flag=True, help="Groups that have none, too.")
@output_option
@timeout_option
@url_option
def list_letters(is_all: bool, form: Form, timeout: float, url: str) -> None:
    """List the groups that have dead letters.

    \b
    Examples:
    $ shardmq dlq list
    $ shardmq dlq list -o jsonl | jq -r .group
    $ shardmq dlq list --all
    """
    from shardmq.client import Admin

    rows = []
    with Admin(url, timeout=timeout) as admin:
        for name in admin.topics(system=True):
            if name.startswith(DLQ_PREFIX):
                letters = admin.describe_topic(name).messages
                if letters or is_all:
                    group = name.removeprefix(DLQ_PREFIX)
                    rows.append({"group": group, "letters": letters, "topic": name})
    print_list(rows, form, empty="no group has dead letters")


def _choosing(function: Any) -> Any:
    """The options that say which dead letters."""
    for option in (
        click.option("--from", "start", default="earliest", show_default=True, metavar="WHERE",
                     help="Only those that died then or later: a time (2013-01-31T08:00) or so long"
                     " ago (-10m)."),
        click.option("--place", "places", multiple=True, metavar="QUEUE/OFFSET",
                     help="Only this one, by its name in `dlq show`; repeatable."),
        click.option("--after", multiple=True, metavar="QUEUE/OFFSET",
                     help="Of this queue only those behind this one; repeatable."),
        click.option("--topic", help="Only messages of this topic."),
        click.option("--cause", default="", metavar="TEXT",
                     help="Only those whose cause contains this text."),
        click.option("-n", "--count", type=COUNT, metavar="COUNT", help="At most so many."),
    ):  # fmt: skip
        function = option(function)
    return function


@command.command("show")
@group_argument
@_choosing
@click.option("-d", "--detail", is_flag=True, help="With stack trace and history of attempts.")
@output_option
@timeout_option
@url_option
def show(
    group: str,
    start: str,
    places: tuple[str, ...],
    after: tuple[str, ...],
    topic: str | None,
    cause: str,
    count: int | None,
    detail: bool,
    form: Form,
    timeout: float,
    url: str,
) -> None:
    """Show a group's dead letters: what they were, where they were stored first, why they died.

    \b
    Examples:
    $ shardmq dlq show billing -n 10
    $ shardmq dlq show billing --place 0/12 --detail
    $ shardmq dlq show billing --cause ConnectionError -o jsonl | jq .body
    """
    choice = Choice(topic, cause, _places(places), _after(after))
    found = _letters(group, start, choice, count, timeout, url)
    if form == "json":
        print_list([record_of(letter) for letter in found], form)
        return
    for letter in found:
        print(json_text(record_of(letter)) if form == "jsonl" else text_of(letter, detail=detail))


@command.command("resend")
@group_argument
@_choosing
@click.option("--to", metavar="TOPIC", help="Send to this topic, not to where each came from.")
@click.option(
    "--rate", type=COUNT, default="1000", show_default=True, metavar="COUNT",
    help="At most so many a second.",
)  # fmt: skip
@yes_option
@output_option
@timeout_option
@url_option
def resend(
    group: str,
    start: str,
    places: tuple[str, ...],
    after: tuple[str, ...],
    topic: str | None,
    cause: str,
    count: int | None,
    to: str | None,
    rate: int,
    yes: bool,
    form: Form,
    timeout: float,
    url: str,
) -> None:
    """Send dead letters to their topics again, as new messages. Without --yes only count them.

    All groups of a topic get what is sent to it. The dead letters stay where they are, so the same
    command sends them once more: choose later ones with --from or --after. Those whose topic does
    not exist any more are left, and counted.

    \b
    Examples:
    $ shardmq dlq resend billing                              what would be sent
    $ shardmq dlq resend billing --yes --rate 100
    $ shardmq dlq resend billing --place 0/12 --place 1/7 --yes
    $ shardmq dlq resend billing --cause ConnectionError --from -1h --yes
    """
    choice = Choice(topic, cause, _places(places), _after(after))
    letters = _letters(group, start, choice, count, timeout, url)
    if yes:
        from .resending import Resending

        with Resending(url, rate, sys.stderr) as resending:
            for letter in letters:
                resending.send(letter, message_of(letter, to))
        _told(group, resending.sent, resending.left, form, is_sent=True)
        return
    targets = Counter(to or letter.topic for letter in letters)
    _told(group, targets, Counter(), form, is_sent=False)
    if targets:
        note("nothing was sent; to do it, say the same with --yes")


def _told(group: str, to: Counter[str], left: Counter[str], form: Form, *, is_sent: bool) -> None:
    """Raises CliError if some were left."""
    record = {"group": group, "letters": to.total(), "to": dict(to), "sent": is_sent}
    print_record({**record, "left": dict(left)} if left else record, form)
    if left:
        gone = ", ".join(sorted(left))
        every = left.total() + to.total()
        text = f"{left.total():,} of {every:,} were not sent: there is no topic {gone}"
        hint = f"send them elsewhere: --topic {min(left)} --to TOPIC; the others were sent"
        raise CliError("TOPIC_NOT_FOUND", text, hint)


def message_of(letter: DeadLetter, to: str | None) -> Message:
    """The new message that a dead letter becomes."""
    from shardmq.client import Message

    dead = letter.message
    return Message(
        to or letter.topic,
        dead.body,
        tag=dead.tag,
        keys=tuple(dead.keys or ()),
        properties=letter.properties,
        ordering_key=dead.ordering_key,
    )


def _letters(
    group: str, start: str, choice: Choice, count: int | None, timeout: float, url: str
) -> Iterator[DeadLetter]:
    """The dead letters of a group that were there at the begin."""
    from shardmq.client import PullConsumer
    from shardmq.client.errors import TopicNotFound

    starts = _starts(start, choice)
    left = len(choice.places) or count
    with PullConsumer(url, on_out_of_range="earliest", timeout=timeout) as consumer:
        try:
            for message in scanned(consumer, dlq_topic(group), starts, timeout=timeout, url=url):
                letter = dead_letter(message)
                if choice.takes(letter):
                    yield letter
                    if left is not None and (left := left - 1) <= 0:
                        return
        except TopicNotFound:
            hint = "groups that have any: shardmq dlq list"
            text = f"group {group} has never had a dead letter"
            raise CliError("TOPIC_NOT_FOUND", text, hint) from None


def _starts(text: str, choice: Choice) -> Start | dict[int, Start]:
    if choice.places:
        by_queue: dict[int, int] = {}
        for place in choice.places:
            queue_id, offset = map(int, place.split("/"))
            by_queue[queue_id] = min(offset, by_queue.get(queue_id, offset))
        return {queue_id: Start(offset=offset) for queue_id, offset in by_queue.items()}
    try:
        start = start_of(text, SystemClock().now().wall_ms)
    except QuantityError as error:
        raise CliError("USAGE", f"--from: {error}", status=EXIT_USAGE) from None
    if start.offset is not None:
        hint = "for single ones: --place QUEUE/OFFSET"
        text = "--from: an offset means something else in each queue"
        raise CliError("USAGE", text, hint, status=EXIT_USAGE)
    return start


def _after(places: tuple[str, ...]) -> dict[int, int]:
    """Offset by queue; of several the last."""
    after: dict[int, int] = {}
    for place in _places(places, "--after"):
        queue_id, offset = map(int, place.split("/"))
        after[queue_id] = max(offset, after.get(queue_id, 0))
    return after


def _places(places: tuple[str, ...], option: str = "--place") -> frozenset[str]:
    """Checked, and each in its plain form."""
    plain = set()
    for place in places:
        queue_id, slash, offset = place.partition("/")
        if not (slash and queue_id.isdigit() and offset.isdigit()):
            hint = "copy it from `shardmq dlq show`, such as 0/12"
            text = f"{option}: {place!r} is not QUEUE/OFFSET"
            raise CliError("USAGE", text, hint, status=EXIT_USAGE)
        plain.add(f"{int(queue_id)}/{int(offset)}")
    return frozenset(plain)
