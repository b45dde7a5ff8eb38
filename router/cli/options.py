"""Options that many commands share, and the types of their values.

Owns: `--url`, `--output`, `--yes`, and click types for durations, sizes, start positions and
name=value pairs. Must not talk to a broker, except to complete names of topics and groups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click
from click.shell_completion import CompletionItem

from ..quantities import QuantityError, bytes_of, count_of, seconds_of

if TYPE_CHECKING:
    from shardmq.client import Admin

__all__ = [
    "COUNT",
    "DEFAULT_URL",
    "DURATION",
    "SIZE",
    "Pair",
    "group_argument",
    "group_names",
    "output_option",
    "timeout_option",
    "topic_argument",
    "url_option",
    "yes_option",
]

DEFAULT_URL = "tcp://127.0.0.1:5680"
_COMPLETION_SECONDS = 1.0

F = TypeVar("F", bound=Callable[..., Any])


class _Quantity(click.ParamType[Any]):
    """A quantity in its written form, converted by `parse`."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except QuantityError as error:
            self.fail(str(error), param, ctx)


DURATION = _Quantity("duration", seconds_of)
"""Seconds, written `90s`, `15m`, `7d`."""
SIZE = _Quantity("size", bytes_of)
"""Bytes, written `100`, `64KiB`, `1MiB`."""
COUNT = _Quantity("count", count_of)
"""A number of messages, written `5000`, `20k`, `1.5m`."""


class Pair(click.ParamType[tuple[str, str]]):
    """`name=value` as a tuple."""

    name = "name=value"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, content = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not name=value", param, ctx)
        return name, content


def url_option(function: F) -> F:
    return click.option(
        "--url",
        default=DEFAULT_URL,
        envvar="SHARDMQ_URL",
        show_default=True,
        show_envvar=True,
        metavar="URL",
        help="Broker to talk to.",
    )(function)


def timeout_option(function: F) -> F:
    return click.option(
        "--timeout",
        type=DURATION,
        default="5s",
        show_default=True,
        metavar="DURATION",
        help="Give up after so long.",
    )(function)


def output_option(function: F) -> F:
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(["table", "json", "jsonl"]),
        default="table",
        show_default=True,
        help="How to print the result; errors follow suit.",
    )(function)


def yes_option(function: F) -> F:
    return click.option(
        "-y", "--yes", is_flag=True, help="Do it; without, only show what would be."
    )(function)


def topic_argument(function: F) -> F:
    return click.argument("topic", shell_complete=_topic_names)(function)


def group_argument(function: F) -> F:
    return click.argument("group", shell_complete=group_names)(function)


def _topic_names(ctx: Any, _param: Any, incomplete: str) -> list[CompletionItem]:
    return _completed(ctx, incomplete, lambda admin: admin.topics())


def group_names(ctx: Any, _param: Any, incomplete: str) -> list[CompletionItem]:
    """Names of consumer groups."""
    return _completed(ctx, incomplete, lambda admin: admin.groups())


def _completed(
    ctx: Any, incomplete: str, names: Callable[[Admin], list[str]]
) -> list[CompletionItem]:
    """Names, if a broker answers at once; an unreachable one completes to nothing."""
    from shardmq.client import Admin
    from shardmq.client.errors import ShardMQError

    url = ctx.params.get("url") or DEFAULT_URL
    try:
        with Admin(url, timeout=_COMPLETION_SECONDS) as admin:
            found = names(admin)
    except ShardMQError:
        return []
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


# Help pages: a blank line between the summary and the examples, which rich-click leaves out.
click.rich_click.PADDING_HELPTEXT_FIRST_LINE = (0, 0, 1, 0)
