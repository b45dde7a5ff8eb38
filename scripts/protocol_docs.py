#!/usr/bin/env python
"""Writes the tables of docs/protocol.md from the code, or checks that they are up to date.

scripts/protocol_docs.py            write them
scripts/protocol_docs.py --check    exit 1 if the page differs from what would be written

Owns what stands between `<!-- generated: NAME -->` and `<!-- end of NAME -->`; the rest of the page
is written by hand. What a field or limit means is the string under it in the source, which the
interpreter forgets, so the source is parsed for it.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import itertools
import json
import re
import sys
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from shardmq.actors.protocol import (
    codes,
    group_messages,
    limits,
    messages,
    verbs,
    work_messages,
)

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/protocol.md"
VECTORS = ROOT / "tests/vectors"
BOUNDS = {(1 << 32) - 1: "u32", (1 << 63) - 1: "u63"}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; a bar in a cell would end it."""
    lines = [head, ["---"] * len(head), *rows]
    cells = ((cell.replace("|", "\\|") for cell in line) for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def one_line(text: str) -> str:
    return " ".join(text.split())


def strings_under(body: list[ast.stmt]) -> dict[str, str]:
    """The string that stands under each assignment."""
    found = {}
    for statement, below in itertools.pairwise(body):
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            if isinstance(statement, ast.AnnAssign):
                target: ast.expr = statement.target
            elif isinstance(statement, ast.Assign):
                target = statement.targets[0]
            else:
                continue
            found[ast.unparse(target)] = one_line(str(below.value.value))
    return found


def source_of(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


# --- tables ----------------------------------------------------------------------------------


def verb_table() -> str:
    rows = [
        [
            str(int(row.verb)),
            f"`{row.verb.name}`",
            f"[`{row.request.__name__}`](#{row.request.__name__.lower()})",
            f"[`{row.reply.__name__}`](#{row.reply.__name__.lower()})",
            row.destination.value,
            row.permission,
            "yes" if row.idempotent else "no",
            row.about,
        ]
        for row in verbs.VERB_ROWS
    ]
    head = ["no.", "verb", "request", "reply", "answered by", "permission", "may be resent", "what"]
    return table(head, rows)


def code_table() -> str:
    rows = [
        [
            str(int(row.code)),
            f"`{row.code.name}`",
            "yes" if row.retryable else "no",
            row.stored,
            row.hint,
        ]
        for row in codes.CODE_ROWS
    ]
    return table(["code", "name", "retryable", "stored", "hint"], rows)


def limit_table() -> str:
    about = strings_under(source_of(limits).body)
    rows = [
        [f"`{name}`", f"{value:,}", about.get(name, "")]
        for name, value in vars(limits).items()
        if name.isupper() and isinstance(value, int) and name not in ("KIB", "MIB")
    ]
    return table(["limit", "value", "why"], rows)


def type_text(kind: Any) -> str:
    """A type of msgspec's inspection in the words of the page."""
    names: dict[Any, str] = {
        msgspec.inspect.StrType: "string",
        msgspec.inspect.BoolType: "boolean",
        msgspec.inspect.NoneType: "nil",
        msgspec.inspect.AnyType: "any",
    }
    if type(kind) in names:
        return names[type(kind)]
    if isinstance(kind, msgspec.inspect.IntType):
        assert kind.le is not None, "test_messages.py sees to it"
        return BOUNDS[kind.le]
    if isinstance(kind, msgspec.inspect.ListType):
        bound = f", at most {kind.max_length:,}" if kind.max_length else ""
        return f"list of {type_text(kind.item_type)}{bound}"
    if isinstance(kind, msgspec.inspect.TupleType):
        return f"[{', '.join(map(type_text, kind.item_types))}]"
    if isinstance(kind, msgspec.inspect.DictType):
        return f"map of string to {type_text(kind.value_type)}"
    if isinstance(kind, msgspec.inspect.LiteralType):
        return " or ".join(f'"{word}"' for word in sorted(str(value) for value in kind.values))
    if isinstance(kind, msgspec.inspect.UnionType):
        return " or ".join(type_text(part) for part in kind.types)
    name = kind.cls.__name__
    return f"[`{name}`](#{name.lower()})"


def default_text(field: Any) -> str:
    if field.required:
        return "required"
    factory = field.default_factory
    value = field.default if factory is msgspec.UNSET or not callable(factory) else factory()
    return f"`{json.dumps(msgspec.to_builtins(value))}`"


def header_tables() -> str:
    """All headers, in the order of the source; each with its doc and a row for each field."""
    parts = []
    nodes = [
        (module, node)
        for module in (messages, group_messages, work_messages)
        for node in source_of(module).body
        if isinstance(node, ast.ClassDef) and node.name != "Header"
    ]
    for module, node in nodes:
        kind = getattr(module, node.name)
        about = strings_under(node.body)
        parts.append(f"#### {node.name}\n\n")
        if ast.get_docstring(node):
            parts.append(one_line(str(ast.get_docstring(node))) + "\n\n")
        info = typing.cast("msgspec.inspect.StructType", msgspec.inspect.type_info(kind))
        rows = [
            [f"`{one.name}`", type_text(one.type), default_text(one), about.get(one.name, "")]
            for one in info.fields
        ]
        head = ["key", "type", "default", "meaning"]
        parts.append((table(head, rows) if rows else "No keys.\n") + "\n")
    return "".join(parts).rstrip("\n") + "\n"


# --- worked examples -------------------------------------------------------------------------


def dump(frame: str) -> str:
    """Hex in lines of 16 bytes, with offsets and the printable characters."""
    data = bytes.fromhex(frame)
    lines = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"    {start:04x}  {row.hex(' '):<47}  {text}\n")
    return "".join(lines)


def exchange_example(names: list[str]) -> str:
    vectors = json.loads((VECTORS / "verbs.json").read_text(encoding="utf-8"))
    by_name = {one["name"]: one for one in vectors}
    parts = []
    for name in names:
        vector = by_name[name]
        parts.append(f"{name}: `{json.dumps(vector['header'], ensure_ascii=False)}`\n\n")
        titles = ["route", "header", *["payload"] * len(vector["payload"])]
        for title, frame in zip(titles, vector["frames"], strict=True):
            parts.append(f"    {title}\n{dump(frame)}")
        parts.append("\n")
    return "".join(parts).rstrip("\n") + "\n"


def batch_example(name: str) -> str:
    vectors = json.loads((VECTORS / "batches.json").read_text(encoding="utf-8"))
    vector = next(one for one in vectors if one["name"] == name)
    fields = ", ".join(f"{key} {value:,}" for key, value in vector["header"].items())
    return f"{name}: {fields}.\n\n{dump(vector['hex'])}"


def slot_example() -> str:
    slots = json.loads((VECTORS / "slots.json").read_text(encoding="utf-8"))
    rows = [
        [f"`{one['key']}`", f"`{one['crc32c']:#010x}`", str(one["slot"])]
        for one in slots["keys"]
        if 0 < len(one["key"]) < 100
    ]
    return table(["ordering key", "CRC-32C of its UTF-8", "slot"], rows)


def sections() -> dict[str, str]:
    """Every generated part, by its name."""
    return {
        "verbs": verb_table(),
        "codes": code_table(),
        "headers": header_tables(),
        "limits": limit_table(),
        "slots": slot_example(),
        "example ping": exchange_example(["PING request, msgpack", "PING reply, msgpack"]),
        "example produce": exchange_example(["PRODUCE request, json", "PRODUCE reply, json"]),
        "example fetch": exchange_example(["FETCH request, msgpack", "FETCH reply, msgpack"]),
        "example batch": batch_example("keys and properties"),
    }


def page(text: str) -> str:
    """The page `text` with every generated part as it should be."""
    wanted = sections()
    for name, part in wanted.items():
        marks = f"<!-- generated: {name} -->", f"<!-- end of {name} -->"
        if text.count(marks[0]) != 1 or text.count(marks[1]) != 1:
            sys.exit(f"{PAGE.name} has not exactly one pair of marks {marks[0]} ... {marks[1]}")
        start, end = text.index(marks[0]) + len(marks[0]), text.index(marks[1])
        text = f"{text[:start]}\n\n{part}\n{text[end:]}"
    unknown = set(re.findall(r"<!-- generated: (.*?) -->", text)) - set(wanted)
    if unknown:
        sys.exit(f"{PAGE.name} has marks that nobody fills: {sorted(unknown)}")
    return text


def main() -> None:
    """Writes or checks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args().check
    present = PAGE.read_text(encoding="utf-8")
    wanted = page(present)
    if not check:
        PAGE.write_text(wanted, encoding="utf-8")
    elif present != wanted:
        sys.exit(f"{PAGE.name} is out of date: run scripts/protocol_docs.py")


if __name__ == "__main__":
    main()
