"""Output: data on standard output in three forms, problems on standard error."""

from __future__ import annotations

import json

import pytest

from shardmq.router.cli.errors import Problem
from shardmq.router.cli.output import note, print_list, print_problem, print_record, printable

ROWS = [{"name": "orders", "queues": 8, "open": True}, {"name": "a", "queues": 16, "open": None}]


def test_a_list_in_a_pipe_is_aligned_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_list(ROWS, "table")
    assert capsys.readouterr().out == (
        "name    queues  open\norders  8       yes\na       16      -\n"
    )


def test_json_is_one_array_and_jsonl_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_list(ROWS, "json")
    assert json.loads(capsys.readouterr().out) == ROWS
    print_list(ROWS, "jsonl")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == ROWS
    print_list([], "json")
    assert capsys.readouterr().out == "[]\n"


def test_an_empty_list_says_so_beside_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    print_list([], "table", empty="no topics yet")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "no topics yet\n")


def test_a_record_is_a_line_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    print_record({"name": "orders", "stored_at": ["x", "y"], "more": {"a": 1}}, "table")
    out = capsys.readouterr().out
    assert "stored at      x, y\n" in out
    assert "a=1" in out
    print_record({"name": "orders"}, "json")
    assert json.loads(capsys.readouterr().out) == {"name": "orders"}


def test_tables_and_records_show_names_that_anybody_may_choose_escaped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_list([{"name": "a\nb", "more": ["\x1b[2J"]}], "table")
    print_record({"name": "c\rd"}, "table")
    lines = capsys.readouterr().out.split("\n")
    assert lines[1:] == [r"a\nb  \x1b[2J", r"name           c\rd", ""]
    print_record({"name": "c\rd"}, "json")
    assert json.loads(capsys.readouterr().out) == {"name": "c\rd"}


def test_printable_text_stays_as_it_is() -> None:
    assert printable("żółw 🐢") == "żółw 🐢"
    assert printable("a\u202eb\ud800") == r"a\u202eb\ud800"


def test_problems_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem("TOPIC_NOT_FOUND", "no topic x", "create it", 1)
    print_problem(problem, as_json=False)
    assert capsys.readouterr().err == "error TOPIC_NOT_FOUND: no topic x\nhint  create it\n"
    print_problem(problem, as_json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.err) == {
        "code": "TOPIC_NOT_FOUND",
        "message": "no topic x",
        "hint": "create it",
    }
    assert captured.out == ""


def test_notes_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    note("by the way")
    assert capsys.readouterr() == ("", "by the way\n")
