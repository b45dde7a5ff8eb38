"""`shardmq demo`: a broker, a year of flights through it, and the proof."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from ..quantities import bytes_text, count_text, duration_text
from .errors import EXIT_REFUSED, CliError
from .options import COUNT, output_option
from .output import Form, json_text, note

if TYPE_CHECKING:
    from ..bench.figures import LatencyFigures
    from ..demo.proof import Statement
    from ..demo.replay import Replay

__all__ = ["command"]

_QUEUES = 8


@click.command("demo")
@click.option("--flights", "count", type=COUNT, metavar="COUNT",
              help="Only the first so many; default is all 336,776.")  # fmt: skip
@click.option("--shards", type=click.IntRange(1, 256), default=2, show_default=True,
              help="Shards of the broker.")  # fmt: skip
@click.option("--directory", metavar="DIRECTORY", type=click.Path(exists=True, file_okay=False),
              help="Where the broker keeps its data meanwhile; default is the temporary"
              " directory.")  # fmt: skip
@output_option
def command(count: int | None, shards: int, directory: str | None, form: Form) -> None:
    """Replay a year of flights through a broker and prove that nothing was lost.

    Starts a broker in a temporary directory, sends all 336,776 departures from New York in 2013 as
    messages (tag: carrier, ordering key: tail number), consumes them back with a group of three
    processes of which one is killed half-way, and compares: none missing, none changed, none twice
    but for what the killed one had not acknowledged, counts per carrier and order per aircraft as
    in the file. The exit status is 0 only if all of it holds.

    \b
    Examples:
    $ shardmq demo
    $ shardmq demo --flights 20k -o json
    """
    from ..broker import Broker
    from ..demo.flights import FLIGHTS_IN_FILE, packaged_flights
    from ..demo.proof import prove
    from ..demo.replay import MEMBERS, VICTIM, ReplayError, replay
    from ..demo.sender import TOPIC

    note(f"reading {min(count or FLIGHTS_IN_FILE, FLIGHTS_IN_FILE):,} flights of 2013 ...")
    flights = list(packaged_flights(count or FLIGHTS_IN_FILE))
    with (
        tempfile.TemporaryDirectory(prefix="shardmq-demo-", dir=directory) as folder,
        Broker(Path(folder) / "data", shards=shards, listen="tcp://127.0.0.1:0") as broker,
    ):
        note(f"broker with {shards} shards listens on {broker.url}")
        note(f"a group of {MEMBERS} consumes; one of them is killed half-way")
        _create_topic(broker.url, TOPIC)
        try:
            with _Bars(len(flights)) as bars:
                took, arrived = replay(broker.url, flights, _QUEUES, bars.progressed)
        except ReplayError as error:
            raise CliError("REPLAY_FAILED", str(error)) from None
    note("comparing with the file ...")
    statements = prove(flights, arrived, killed=VICTIM)
    if form == "table":
        _print(took, statements)
    else:
        proofs = [statement._asdict() for statement in statements]
        print(json_text({"replay": took, "proofs": proofs}))
    broken = [statement.text for statement in statements if not statement.holds]
    if broken:
        raise CliError("PROOF_FAILED", f"does not hold: {'; '.join(broken)}", status=EXIT_REFUSED)


def _create_topic(url: str, topic: str) -> None:
    from shardmq.client import Admin

    with Admin(url) as admin:
        admin.create_topic(topic, queues=_QUEUES)


class _Bars:
    """Two progress bars on a terminal, a line for each quarter elsewhere."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._quarters = {"sent": 0, "received": 0}
        self._progress: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _Bars:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

            self._progress = Progress(
                "{task.description:<9}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                console=Console(file=sys.stderr),
            )  # fmt: skip
            self._progress.start()
            for name in self._quarters:
                self._tasks[name] = self._progress.add_task(name, total=self._total)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def progressed(self, name: str, count: int) -> None:
        if self._progress is not None:
            self._progress.update(self._tasks[name], completed=count)
            return
        quarter = 4 * count // self._total
        if quarter > self._quarters[name]:
            self._quarters[name] = quarter
            note(f"{name:<9} {count:>9,} of {self._total:,}")


def _print(took: Replay, statements: list[Statement]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    each = took.bytes / took.flights
    sent, received = took.sent_per_second, took.received_per_second
    table = Table(box=box.SIMPLE_HEAD, title=f"{took.flights:,} flights, every send synced to disk")
    for name in ("", "rate", "bodies", "p50", "p99", "p99.9"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    none = ["-"] * 3
    table.add_row("send in batches", f"{count_text(sent)}/s", f"{bytes_text(sent * each)}/s", *none)
    table.add_row(
        "  to the consumer",
        f"{count_text(received)}/s",
        f"{bytes_text(received * each)}/s",
        *_latency(took.batch_to_consumer),
    )
    table.add_row(f"send {took.lone:,} singly", "-", "-", *_latency(took.lone_send))
    table.add_row("  to the consumer", "-", "-", *_latency(took.lone_to_consumer))
    console = Console(highlight=False)
    console.print(table)
    if took.takeover_seconds is not None:
        console.print(
            f"  one of {took.members} members was killed after {took.killed_after:,} flights; the"
            f" others had its\n  queues {duration_text(took.takeover_seconds)} later\n",
            soft_wrap=True,
        )
    for statement in statements:
        mark, style = ("holds ", "green") if statement.holds else ("BROKEN", "bold red")
        console.print(f"  [{style}]{mark}[/]  {statement.text}: {statement.found}", soft_wrap=True)


def _latency(figures: LatencyFigures | None) -> list[str]:
    if figures is None:
        return ["-"] * 3
    # Short enough that the table fits into 80 columns on a slow machine, too.
    values = (figures.p50_ms, figures.p99_ms, figures.p999_ms)
    return [f"{value:.2f} ms" if value < 100 else f"{value:.0f} ms" for value in values]
