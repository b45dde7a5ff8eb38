"""The root command: a table of commands, help without loading them, one place for errors."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

from shardmq.router.cli import main as root


def status_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        root.main(list(arguments))
    return int(left.value.code or 0)


@pytest.mark.parametrize("row", root.COMMANDS, ids=lambda row: row.name)
def test_every_command_loads_and_shows_examples(
    row: root.Row, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(row.name, "--help") == 0
    page = capsys.readouterr().out
    assert "Examples" in page
    assert f"shardmq {row.name}" in page
    command = root.cli.get_command(click.Context(root.cli), row.name)
    assert isinstance(command, click.Command)
    for name in command.commands if isinstance(command, click.Group) else ():
        assert status_of(row.name, name, "--help") == 0
        assert "Examples" in capsys.readouterr().out, f"{row.name} {name}"


def test_the_top_help_lists_every_command_and_the_first_steps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert status_of("--help") == 0
    page = capsys.readouterr().out
    for row in root.COMMANDS:
        assert f"  {row.name} " in page
    assert "shardmq topic create orders" in page
    assert status_of() == 0
    assert capsys.readouterr().out.strip() == page.strip()


def test_the_top_help_loads_no_command_and_no_library() -> None:
    """Loading rich, msgspec or zmq would be felt: help has to be there in a tenth of a second."""
    program = (
        "import sys\nfrom shardmq.router.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'rich', 'rich_click', 'msgspec', 'zmq', 'psutil', 'asyncio', 'shardmq.client'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stderr == "[]\n"


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("--version") == 0
    assert capsys.readouterr().out.startswith("shardmq 0.")


def test_a_usage_error_says_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("topic", "create") == 2
    assert "shardmq topic create --help" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["-o", "json"], ["-ojsonl"], ["--output=json"]])
def test_errors_follow_the_form_that_was_asked_for(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of("config", "show", "--shards", "many", *words) == 2
    problem = json.loads(capsys.readouterr().err)
    assert problem["code"] == "INVALID_CONFIG"
    assert "--shards" in problem["message"]
    assert problem["hint"]


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("frobnicate") == 2
    assert "No such command" in capsys.readouterr().err


def test_a_fault_of_the_program_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_words: object, **_options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(root.cli, "main", broken)
    with pytest.raises(ZeroDivisionError):
        root.main([])
