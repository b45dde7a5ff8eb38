"""`shardmq bench`: how fast is it here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from ..quantities import bytes_text, count_text
from .errors import CliError
from .options import COUNT, DURATION, SIZE, output_option
from .output import Form, json_text

if TYPE_CHECKING:
    from ..bench.conduct import BenchResult, Side

__all__ = ["command"]

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--messages", type=COUNT, metavar="COUNT",
                 help="Stop after so many messages: 5000, 20k, 2m."),
    click.option("--seconds", type=DURATION, metavar="DURATION", help="Stop after so long."),
    click.option("--size", type=SIZE, default="100", show_default=True, help="Bytes of a body."),
    click.option("--queues", type=click.IntRange(1, 16_384), default=8, show_default=True,
                 help="Queues of the topic."),
    click.option("--ack", type=click.Choice(["synced", "written", "none"]), default="synced",
                 show_default=True, help="What an acknowledgement means."),
    click.option("--url", envvar="SHARDMQ_URL", metavar="URL",
                 help="A running broker; without, one is started in a temporary directory."),
    click.option("--shards", type=click.IntRange(1, 256), default=2, show_default=True,
                 help="Shards of the broker that is started."),
    click.option("--directory", metavar="DIRECTORY", type=click.Path(exists=True, file_okay=False),
                 help="Where the broker that is started keeps its data; the file system decides"
                 " what a sync costs."),
    click.option("--raw/--no-raw", default=True, show_default=True,
                 help="Also measure bare sockets and bare writev, and give ratios."),
)  # fmt: skip
_BATCH = click.option(
    "--batch", type=COUNT, default="100k", show_default=True, metavar="COUNT",
    help="Messages that one call of send_batch takes; the client makes batches of 256 KiB of them.",
)  # fmt: skip
_MODE = click.option(
    "--mode", type=click.Choice(["batch", "async", "send"]), default="batch", show_default=True,
    help="send_batch with many, send_async with one message a call, or lone sends.",
)  # fmt: skip


def _options(function: F) -> F:
    for option in reversed(_OPTIONS):
        function = option(function)
    return output_option(function)


@click.group("bench")
def command() -> None:
    """Measure how fast it is here: real broker, real client, every process its own.

    Messages are built once and sent again and again, which is outside the measured time; all the
    rest is inside: a producer's time ends with its last acknowledgement, a consumer makes every
    message and reads its body.

    \b
    Examples:
    $ shardmq bench both
    $ shardmq bench produce --ack written --messages 5m
    $ shardmq bench produce --mode send --seconds 5s
    $ shardmq bench consume --size 1KiB --messages 1m
    $ shardmq bench latency --rate 20000 -o json
    """


@command.command("produce")
@_options
@_MODE
@_BATCH
def produce(**options: Any) -> None:
    """One producer process, as fast as it can.

    \b
    Examples:
    $ shardmq bench produce
    $ shardmq bench produce --mode async --ack written
    $ shardmq bench produce --mode send --seconds 5s      round trip of lone sends
    """
    _run("produce", 5.0, **options)


@command.command("consume")
@_options
def consume(**options: Any) -> None:
    """One consumer process reads a backlog that is made first.

    \b
    Examples:
    $ shardmq bench consume
    $ shardmq bench consume --messages 5m -o json
    """
    _run("consume", 5.0, **options)


@command.command("both")
@_options
@_MODE
@_BATCH
def both(**options: Any) -> None:
    """A producer and a consumer process at once.

    \b
    Examples:
    $ shardmq bench both
    $ shardmq bench both --seconds 30s --size 1KiB
    """
    _run("both", 5.0, **options)


@command.command("latency")
@_options
@click.option(
    "--rate", type=click.FloatRange(1), default=20_000, show_default=True,
    help="Messages a second that are meant to be sent, whatever happens.",
)  # fmt: skip
def latency(**options: Any) -> None:
    """Time from the moment a message was meant to be sent until a consumer has it.

    An open loop: a message that leaves late because something was slow counts from the moment
    it should have left. The first second is not counted.

    \b
    Examples:
    $ shardmq bench latency
    $ shardmq bench latency --rate 1000 --seconds 30s --ack written
    """
    _run("latency", 10.0, **options)


def _run(kind: str, seconds_default: float, *, form: Form, raw: bool, **options: Any) -> None:
    from ..bench.conduct import BenchSettings, run_bench
    from ..bench.team import WorkerError
    from .progress import Rates

    if options["messages"] is None and options["seconds"] is None:
        options["seconds"] = seconds_default
    given = {name: value for name, value in options.items() if value is not None}
    settings = BenchSettings(kind=kind, raw_seconds=2.0 if raw else 0.0, **given)
    try:
        with Rates(sys.stderr) as rates:
            result = run_bench(settings, rates.progressed)
    except WorkerError as error:
        raise CliError("BENCH_FAILED", str(error), "the broker's log tells more") from None
    if form == "table":
        _print(result)
    else:
        print(json_text(result, pretty=form == "json" and sys.stdout.isatty()))
    failed = sum(sum(side.errors.values()) for side in (result.produce, result.consume) if side)
    if failed:
        raise CliError("BENCH_FAILED", f"{failed} messages were not acknowledged")


def _print(result: BenchResult) -> None:
    settings = result.settings
    where = settings.url or f"own broker, {settings.shards} shards"
    print(
        f"bench {settings.kind}: {bytes_text(settings.size)} messages, {settings.queues} queues,"
        f" ack {settings.ack}, {where}"
    )
    for name, side in (("produce", result.produce), ("consume", result.consume)):
        if side is not None:
            _print_side(name, side)
    if result.raw is not None:
        raw = result.raw
        print(
            f"  limits    bare sockets {bytes_text(raw.sockets_bytes_per_second)}/s,"
            f" writev {bytes_text(raw.writev_bytes_per_second)}/s,"
            f" writev + fdatasync {bytes_text(raw.writev_synced_bytes_per_second)}/s"
        )
        shown = (f"{name.replace('_', ' ')} {value:.2f}" for name, value in result.ratios.items())
        print(f"  ratios    {', '.join(shown)}")
    for one in result.processes:
        print(
            f"  {one.name:<28} {one.cpu_seconds:6.1f} CPU s, peak {bytes_text(one.rss_peak_bytes)}"
        )


def _print_side(name: str, side: Side) -> None:
    print(
        f"  {name:<9} {count_text(side.messages_per_second)} messages/s,"
        f" {bytes_text(side.bytes_per_second)}/s ({side.messages:,} in {side.seconds:.2f} s;"
        f" {side.cpu_seconds:.1f} CPU s, peak {bytes_text(side.rss_peak_bytes)})"
    )
    if side.latency is not None:
        figures = side.latency
        print(
            f"  {'':<9} p50 {figures.p50_ms:.2f} ms, p99 {figures.p99_ms:.2f} ms,"
            f" p99.9 {figures.p999_ms:.2f} ms, max {figures.max_ms:.2f} ms"
        )
