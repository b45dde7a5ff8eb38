"""Settings: rising layers, each checked by itself, each value with its source."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shardmq.router.config import (
    ConfigError,
    Settings,
    all_settings,
    environment_layer,
    file_layer,
    flag_layer,
    resolve,
)
from support import repo

FILE = '[broker]\nshards = 2\nlisten = "tcp://127.0.0.1:7000"\n[retention]\nage = "7d"\n'


def test_without_layers_everything_is_default() -> None:
    resolved = resolve([])
    assert resolved.settings == Settings()
    assert set(resolved.sources.values()) == {"default"}


def test_later_layers_win_and_each_value_knows_its_source() -> None:
    layers = [
        file_layer(FILE, "prod.toml"),
        environment_layer({"SHARDMQ__BROKER__SHARDS": "4", "SHARDMQ__BROKER__ROUTERS": "3"}),
        flag_layer({"broker.routers": ("5", "--routers"), "broker.data": (None, "--data")}),
    ]
    settings, sources = resolve(layers)
    assert (settings.broker.shards, settings.broker.routers) == (4, 5)
    assert settings.broker.listen == "tcp://127.0.0.1:7000"
    assert settings.retention.age_ms == 7 * 86_400_000
    assert sources["broker.listen"] == "file prod.toml"
    assert sources["broker.shards"] == "environment SHARDMQ__BROKER__SHARDS"
    assert sources["broker.routers"] == "flag --routers"
    assert sources["broker.data"] == "default"


def test_the_environment_may_say_yes_in_words_and_the_file_may_not() -> None:
    layer = environment_layer({"SHARDMQ__BROKER__AUTO_CREATE": "true", "PATH": "/bin"})
    assert resolve([layer]).settings.broker.auto_create
    with pytest.raises(ConfigError, match=r"file f: broker\.auto_create cannot be 'true'"):
        file_layer('[broker]\nauto_create = "true"', "f")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shards = 2", r"no section \[shards\]"),
        ("[brokr]\nshards = 2", r"no section \[brokr\]"),
        ("[broker]\nshard = 2", "no setting broker.shard"),
        ("[broker]\nshards = -1", "cannot be -1"),
        ("[broker]\nshards = 1000", "cannot be 1000"),
        ('[retention]\nage = "7 days"', "is no duration"),
        ('[retention]\nsize = "much"', "is no size"),
        ('[log]\nlevel = "loud"', "cannot be 'loud'"),
        ("[broker", "no TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        file_layer(text, "bad.toml")
    assert "bad.toml" in str(caught.value)


def test_a_typo_is_told_what_there_is() -> None:
    with pytest.raises(ConfigError) as caught:
        environment_layer({"SHARDMQ__BROKER__SHARD": "2"})
    assert "broker.shards" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        environment_layer({"SHARDMQ__SHARDS": "2"})
    assert "retention.age" in caught.value.hint


def test_a_wrong_flag_is_named() -> None:
    with pytest.raises(ConfigError, match=r"flag --shards: broker\.shards cannot be 'two'"):
        flag_layer({"broker.shards": ("two", "--shards")})


def test_sizes_and_durations_arrive_as_numbers() -> None:
    text = '[retention]\nsize = "2GiB"\nage = "0"'
    retention = resolve([file_layer(text, "f")]).settings.retention
    assert (retention.size_bytes, retention.age_ms) == (2 * 2**30, 0)


def test_every_setting_has_a_description_and_its_own_variable() -> None:
    settings = all_settings()
    assert {one.path for one in settings} >= {"broker.listen", "retention.age", "log.format"}
    assert len({one.variable for one in settings}) == len(settings)
    for one in settings:
        assert one.description.endswith("."), one.path
        assert one.section_about, one.path


def test_the_page_of_settings_is_what_the_script_writes() -> None:
    script = repo.ROOT / "scripts/config_docs.py"
    run = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
