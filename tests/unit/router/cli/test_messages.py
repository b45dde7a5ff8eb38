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
