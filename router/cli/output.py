"""What commands print: a table on a terminal, JSON or JSON lines for programs.

Owns: the three forms of a list or record, and how a problem is shown. Must not know any command.
Results go to standard output, everything else (problems, progress, notes) to standard error, so
that a pipe carries data and nothing but data.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from .errors import Problem

__all__ = [
    "Form", "json_text", "note", "print_list", "print_problem", "print_record", "printable",
]  # fmt: skip

Form = Literal["table", "json", "jsonl"]


def json_text(value: Any, *, pretty: bool = False) -> str:
    """`value` (msgspec structs allowed) as JSON."""
    import msgspec

    text = msgspec.json.encode(value)
    return (msgspec.json.format(text, indent=2) if pretty else text).decode()


def print_list(rows: Sequence[Mapping[str, Any]], form: Form, *, empty: str = "") -> None:
    """All rows; the keys of the first are the columns of the table."""
    if form == "json":
        _write(json_text(rows, pretty=sys.stdout.isatty()))
    elif form == "jsonl":
        for row in rows:
            _write(json_text(row))
    elif rows:
        _print_table(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows])
    elif empty:
        note(empty)


def print_record(record: Mapping[str, Any], form: Form) -> None:
    """One record; as a table it has a line for each field."""
    if form == "table":
        for name, value in record.items():
            _write(f"{name.replace('_', ' '):<14} {_cell(value)}")
    else:
        _write(json_text(record, pretty=form == "json" and sys.stdout.isatty()))


def printable(text: str) -> str:
    """`text` as one line that drives no terminal: what is not printable is escaped."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def note(text: str) -> None:
    """A remark for the person at the terminal."""
    print(text, file=sys.stderr)


def print_problem(problem: Problem, *, as_json: bool) -> None:
    """The problem on standard error: a JSON object, or two lines."""
    if as_json:
        print(json_text(problem.as_dict()), file=sys.stderr)
        return
    coloured = sys.stderr.isatty()
    red, dim, off = ("\x1b[1;31m", "\x1b[2m", "\x1b[0m") if coloured else ("", "", "")
    print(f"{red}error{off} {problem.code}: {problem.message}", file=sys.stderr)
    if problem.hint:
        print(f"{dim}hint{off}  {problem.hint}", file=sys.stderr)


def _write(text: str) -> None:
    print(text)


def _cell(value: Any) -> str:
    """One field as one line; names of members, instances and the like are anybody's text."""
    return printable(_plain_cell(value))


def _plain_cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(str(item) for item in value)
    return str(value)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """On a terminal with rich; in a pipe as plain aligned columns that are never cut."""
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
        for row in (columns, *rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            _write("  ".join(cells).rstrip())
        return
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    numeric = [all(_is_number(row[index]) for row in rows) for index in range(len(columns))]
    for name, right in zip(columns, numeric, strict=True):
        table.add_column(name.replace("_", " "), justify="right" if right else "left")
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(".", "", 1).lstrip("-").isdigit()
