"""Settings on the command line: which file is read, what a flag means."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardmq.router.cli.settings import full_address, load_settings
from shardmq.router.config import ConfigError


@pytest.mark.parametrize(
    ("text", "address"),
    [("5680", "tcp://127.0.0.1:5680"), (":7000", "tcp://127.0.0.1:7000"),
     ("localhost:7000", "tcp://localhost:7000"), ("tcp://[::1]:1", "tcp://[::1]:1")],
)  # fmt: skip
def test_addresses_may_be_short(text: str, address: str) -> None:
    assert full_address(text) == address


def test_the_default_file_is_read_if_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(None, {}).settings.broker.shards == 0
    Path("shardmq.toml").write_text("[broker]\nshards = 3\n", encoding="utf-8")
    resolved = load_settings(None, {"listen": "7000", "shards": None})
    assert resolved.settings.broker.shards == 3
    assert resolved.settings.broker.listen == "tcp://127.0.0.1:7000"
    assert resolved.sources["broker.listen"] == "flag --listen"


def test_a_named_file_must_be_there_and_be_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(str(tmp_path / "gone.toml"), {})
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="no text"):
        load_settings(str(binary), {})


def test_the_environment_lies_between_file_and_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARDMQ__BROKER__SHARDS", "4")
    monkeypatch.setenv("SHARDMQ__BROKER__ROUTERS", "4")
    file = tmp_path / "f.toml"
    file.write_text("[broker]\nshards = 3\n", encoding="utf-8")
    broker = load_settings(str(file), {"routers": "2"}).settings.broker
    assert (broker.shards, broker.routers) == (4, 2)
