"""`shardmq send`: messages from arguments, a file or the lines of standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import rich_click as click

from .errors import EXIT_USAGE, CliError
from .messages import moment_text
from .options import Pair, output_option, timeout_option, topic_argument, url_option
from .output import Form, note, print_list, print_record

if TYPE_CHECKING:
    from shardmq.actors.protocol.messages import AckMode
    from shardmq.client import Message, Producer, SendReceipt

__all__ = ["command"]

_LINES_AT_ONCE = 1_000


@click.command("send")
@topic_argument
@click.argument("body", required=False)
@click.option("-t", "--tag", help="What kind of message: consumers choose by it.")
@click.option(
    "-k", "--key", "keys", multiple=True, help="Key to look the message up by; repeatable."
)
@click.option("--ordering-key", help="Messages with the same one keep their order.")
@click.option(
    "-p", "--property", "properties", type=Pair(), multiple=True, metavar="NAME=VALUE",
    help="Property; repeatable.",
)  # fmt: skip
@click.option("--queue", "queue_id", type=click.IntRange(0), help="This queue and no other.")
@click.option(
    "-l",
    "--lines",
    is_flag=True,
    help="One message for each line of standard input; empty lines are left out.",
)
@click.option(
    "-f",
    "--file",
    "file",
    type=click.File("rb"),
    help="The body is this file's content (- is stdin).",
)
@click.option(
    "--ack", type=click.Choice(["synced", "written", "none"]), default="synced", show_default=True,
    help="Wait until the message is on the disk, in the page cache, or not at all.",
)  # fmt: skip
@output_option
@timeout_option
@url_option
def command(
    topic: str,
    body: str | None,
    lines: bool,
    file: BinaryIO | None,
    form: Form,
    timeout: float,
    url: str,
    ack: AckMode,
    queue_id: int | None,
    **parts: Any,
) -> None:
    """Send one message, or one for each line of standard input.

    \b
    Examples:
    $ shardmq send orders 'order 4711'
    $ shardmq send orders '{"id": 4711}' --tag paid --key 4711 -p region=eu
    $ shardmq send orders 'step 2' --ordering-key order-4711
    $ shardmq send pictures --file cat.jpg
    $ tail -F app.log | shardmq send logs --lines
    """
    if [body is not None, lines, file is not None].count(True) != 1:
        hint = "give the body as an argument, or --lines, or --file"
        raise CliError("USAGE", "one source of messages is needed", hint, status=EXIT_USAGE)
    from shardmq.client import Message, Producer

    common: dict[str, Any] = {
        "tag": parts["tag"],
        "keys": tuple(parts["keys"]),
        "properties": dict(parts["properties"]),
        "ordering_key": parts["ordering_key"],
    }
    with Producer(url, ack=ack, timeout=timeout) as producer:
        if lines:
            bodies = (line.rstrip(b"\r\n") for line in sys.stdin.buffer)
            messages = (Message(topic, body, **common) for body in bodies if body)
            _send_stream(producer, messages, queue_id, form)
            return
        content = file.read() if file is not None else str(body).encode()
        receipt = producer.send(Message(topic, content, **common), queue_id=queue_id)
    print_record(_receipt(receipt), form)


def _send_stream(
    producer: Producer, messages: Iterable[Message], queue_id: int | None, form: Form
) -> None:
    """Sends a stream as it comes: a slow line leaves at once, fast ones are batched."""
    count = 0
    for pending in _windows(producer, messages, queue_id):
        receipts = [future.result() for future in pending]
        count += len(receipts)
        if form == "jsonl":
            print_list([_receipt(receipt) for receipt in receipts], form)
    if form == "json":
        print_record({"messages": count}, form)
    elif form == "table":
        note(f"sent {count} messages")


def _windows(
    producer: Producer, messages: Iterable[Message], queue_id: int | None
) -> Iterator[list[Any]]:
    pending: list[Any] = []
    for message in messages:
        pending.append(producer.send_async(message, queue_id=queue_id))
        if len(pending) >= _LINES_AT_ONCE:
            yield pending
            pending = []
    producer.flush()
    yield pending


def _receipt(receipt: SendReceipt) -> dict[str, Any]:
    return {
        "message_id": receipt.message_id,
        "topic": receipt.topic,
        "queue_id": receipt.queue_id,
        "offset": receipt.offset,
        "stored_at": moment_text(receipt.stored_at),
        "duplicate": receipt.duplicate,
    }
