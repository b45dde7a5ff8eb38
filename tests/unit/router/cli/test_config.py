"""`config show`: each setting, its value, and the place that it comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shardmq.router.cli.main import main


def shown(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> dict[str, tuple[object, str]]:
    with pytest.raises(SystemExit) as left:
        main(["config", "show", "-o", "json", *arguments])
    assert not left.value.code
    rows = json.loads(capsys.readouterr().out)
    return {row["setting"]: (row["value"], row["source"]) for row in rows}


def test_each_value_is_shown_with_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prod.toml"
    file.write_text("[broker]\nshards = 3\nrouters = 2\n", encoding="utf-8")
    monkeypatch.setenv("SHARDMQ__BROKER__ROUTERS", "5")
    settings = shown(["--config", str(file), "--no-auto-create"], capsys)
    assert settings["broker.shards"] == (3, f"file {file}")
    assert settings["broker.routers"] == (5, "environment SHARDMQ__BROKER__ROUTERS")
    assert settings["broker.auto_create"] == (False, "flag --auto-create")
    assert settings["retention.age"] == ("72h", "default")
