"""Shell completion: a script for each shell, and completions that it asks for."""

from __future__ import annotations

import pytest
from click.shell_completion import get_completion_class

from shardmq.router.cli.main import cli, main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["completion", shell])
    assert not left.value.code
    script = capsys.readouterr().out
    assert "_SHARDMQ_COMPLETE" in script
    assert "shardmq" in script


def completions(words: list[str], incomplete: str) -> list[str]:
    kind = get_completion_class("bash")
    assert kind is not None
    complete = kind(cli, {}, "shardmq", "_SHARDMQ_COMPLETE")
    return [item.value for item in complete.get_completions(words, incomplete)]


def test_commands_subcommands_and_options_complete() -> None:
    assert {"serve", "send"} <= set(completions([], "se"))
    assert set(completions(["topic"], "de")) == {"describe", "delete"}
    assert "--queues" in completions(["topic", "create"], "--q")
    assert completions(["topic", "list", "-o"], "js") == ["json", "jsonl"]


def test_topics_complete_to_nothing_where_no_broker_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHARDMQ_URL", "tcp://127.0.0.1:9")
    assert completions(["topic", "describe"], "or") == []
