"""Formats of `consume`: readable, exact, and safe for a terminal."""

from __future__ import annotations

import json

import pytest

from shardmq.router.cli.errors import CliError
from shardmq.router.cli.messages import as_record, formatter, moment_text
from support.received import Letter


def test_text_is_one_line_with_place_time_and_extras() -> None:
    line = formatter("text")(Letter()).decode()
    assert line == (
        "3/41       2013-01-31T08:00:01.000Z  [paid] ordering-key=o-1 keys=4711 region=eu  hello"
    )
    bare = Letter(tag=None, keys=(), ordering_key=None, properties={})
    assert formatter("text")(bare).decode() == "3/41       2013-01-31T08:00:01.000Z  hello"


def test_text_drives_no_terminal_and_breaks_no_line() -> None:
    line = formatter("text")(Letter(body=b"a\x1b[2Jb\nc\x07")).decode()
    assert line.endswith(r"a\x1b[2Jb\nc\x07")
    assert formatter("text")(Letter(body=b"\xff\xfe")).decode().endswith("  fffe")


HOSTILE = Letter(
    tag="t\x1b[31m",
    keys=("k\x1b[2J", "\x9b1m"),
    ordering_key="o\nfake/0 line",
    properties={"a\x07": "1\n2\x1b]0;pwn\x07", "n": "\xa0"},
)


def test_text_of_anybody_drives_no_terminal_and_breaks_no_line_wherever_it_stands() -> None:
    line = formatter("text")(HOSTILE).decode()
    assert line.isprintable()
    for escaped in (r"[t\x1b[31m]", r"k\x1b[2J,\x9b1m", r"o\nfake/0 line", r"a\x07=1\n2\x1b]0;"):
        assert escaped in line


def test_templates_escape_all_that_a_producer_chose_and_keep_their_own_newlines() -> None:
    lines = formatter(r"{tag}|{keys}|{ordering_key}\n{properties}")(HOSTILE).decode().split("\n")
    assert lines[0] == r"t\x1b[31m|k\x1b[2J,\x9b1m|o\nfake/0 line"
    assert lines[1].isprintable()
    assert json.loads(lines[1]) == HOSTILE.properties
    assert len(lines) == 2


def test_json_gives_programs_what_was_sent() -> None:
    record = json.loads(formatter("jsonl")(HOSTILE))
    assert (record["tag"], record["keys"]) == (HOSTILE.tag, list(HOSTILE.keys))
    assert (record["ordering_key"], record["properties"]) == (
        HOSTILE.ordering_key, HOSTILE.properties,
    )  # fmt: skip


def test_a_long_body_is_cut_and_says_so() -> None:
    line = formatter("text")(Letter(body=b"x" * 5_000)).decode()
    assert line.endswith("xxx... (3000 more; --format raw prints all)")


def test_json_is_complete_and_body_bytes_that_are_no_text_are_base64() -> None:
    record = json.loads(formatter("jsonl")(Letter()))
    assert record["body"] == "hello"
    assert record["keys"] == ["4711"]
    assert record["stored_at"] == "2013-01-31T08:00:01.000Z"
    assert as_record(Letter(body=b"\xff"))["body_base64"] == "/w=="
    assert "body" not in as_record(Letter(body=b"\xff"))


def test_raw_is_the_body_as_it_is() -> None:
    assert formatter("raw")(Letter(body=b"\x00\xff\n")) == b"\x00\xff\n"


def test_a_template_takes_any_field() -> None:
    shown = formatter(r"{offset:>4}\t{tag}|{keys}|{properties}|{body}")(Letter())
    assert shown == b'  41\tpaid|4711|{"region":"eu"}|hello'
    assert formatter("[{tag}]")(Letter(tag=None)) == b"[]"


@pytest.mark.parametrize("name", ["xml", "{nope}", "{0}", "{offset", "{body.secret}"])
def test_a_wrong_format_is_refused_before_anything_is_read(name: str) -> None:
    with pytest.raises(CliError) as caught:
        formatter(name)
    assert caught.value.status == 2
    assert caught.value.hint


def test_stamps_may_be_seconds_and_may_be_missing() -> None:
    assert moment_text(1_359_619_200.5) == "2013-01-31T08:00:00.500Z"
    assert moment_text(None) is None
