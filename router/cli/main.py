"""The root command: which commands there are, loaded when used; one place where errors end.

Owns: the table of commands, the top help page, the mapping from exception to exit status. Must not
import any command's module before it is called: `shardmq --help` shows the table below and loads
click, nothing else.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import click

from .errors import EXIT_INTERRUPTED, problem_of
from .output import print_problem

__all__ = ["COMMANDS", "cli", "main"]


class Row(NamedTuple):
    """One command: where it is and what the help page says."""

    name: str
    module: str
    about: str
    section: str


COMMANDS = (
    Row("serve", "serve", "Run a broker here.", "Broker"),
    Row("config", "config", "Show the settings, and where each comes from.", "Broker"),
    Row("topic", "topic", "Create, list, describe, update and delete topics.", "Messages"),
    Row("send", "send", "Send messages from arguments, a file or standard input.",
        "Messages"),
    Row("consume", "consume", "Print messages of a topic, and follow it.", "Messages"),
    Row("group", "group", "List, describe and delete consumer groups, and move their cursors.",
        "Groups"),
    Row("dlq", "dlq", "List, show and resend dead letters.", "Groups"),
    Row("demo", "demo", "A broker, 336,776 real flights through it, and the proof.", "Try it"),
    Row("bench", "bench", "Measure how fast producing and consuming is here.", "Try it"),
    Row("completion", "completion", "Print the completion script of your shell.", "Shell"),
)  # fmt: skip

EPILOG = """\
First steps:

\b
  shardmq serve                                  start a broker (leave it running)
  shardmq topic create orders                    in a second terminal
  shardmq send orders 'hello' --tag greeting
  shardmq consume orders

Commands find the broker by --url or SHARDMQ_URL. Each has examples in its own --help."""

_ROWS = {row.name: row for row in COMMANDS}


class RootGroup(click.Group):
    """Commands by table; the help page is printed from the table alone."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [row.name for row in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        row = _ROWS.get(cmd_name)
        if row is None:
            return None
        module = importlib.import_module(f".{row.module}", __package__)
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:  # before click sees it, who calls it a failure
            _leave_broken_pipe()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in dict.fromkeys(row.section for row in COMMANDS):
            with formatter.section(_bold(section)):
                formatter.write_dl(
                    [(row.name, row.about) for row in COMMANDS if row.section == section]
                )


def _bold(text: str) -> str:
    return click.style(text, bold=True) if sys.stdout.isatty() else text


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"shardmq {version('shardmq')}")
        ctx.exit()


@click.group(cls=RootGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Print the version.",
)  # fmt: skip
def cli() -> None:
    """ShardMQ: a message broker that installs with one pip install and starts with one command."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and ends the process with its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = cli.main(args=given, prog_name="shardmq", standalone_mode=False)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except BaseException as error:
        problem = problem_of(error)
        if problem is None:
            raise
        if problem.status == EXIT_INTERRUPTED:
            sys.exit(EXIT_INTERRUPTED)
        if isinstance(error, click.exceptions.NoArgsIsHelpError):
            click.echo(error.format_message())
            sys.exit(0)
        print_problem(problem, as_json=_wants_json(given))
        sys.exit(problem.status)
    sys.exit(status if isinstance(status, int) else 0)


def _leave_broken_pipe() -> NoReturn:
    """The reader of our output is gone (`| head`): leave quietly, as the signal would."""
    # What is still buffered must not be flushed at exit into the closed pipe.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether `-o json` was asked for; read from the raw words, since parsing may have failed."""
    joined: Any = " ".join(arguments) + " "
    forms = ("json", "jsonl")
    return any(f"{flag}{form} " in joined for flag in ("-o ", "-o", "--output ", "--output=")
               for form in forms)  # fmt: skip
