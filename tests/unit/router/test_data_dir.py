"""The data directory: one owner, one version, one number of shards."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from shardmq.router.data_dir import FORMAT_VERSION, SHARDS_MAX, DataDir, cores, open_data_dir
from shardmq.router.errors import (
    DataDirInUse,
    DataDirShards,
    DataDirUnusable,
    DataDirVersion,
    OptionInvalid,
)
from support.manual import at


def opened(path: Path, shards: int | None = None) -> DataDir:
    data = open_data_dir(path, shards=shards, version="1.2", now=at(0))
    data.settle()
    return data


def test_a_new_directory_is_made_and_keeps_its_shards(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "data"
    data = opened(path, 3)
    data.close()
    layout = json.loads((path / "format.json").read_text())
    assert (layout["format"], layout["shards"], layout["created_by"]) == (FORMAT_VERSION, 3, "1.2")
    again = opened(path)
    assert (again.shards, again.path) == (3, path)
    again.close()


def test_without_a_number_there_is_a_shard_for_each_core(tmp_path: Path) -> None:
    data = opened(tmp_path / "data")
    assert data.shards == min(cores(), SHARDS_MAX)
    data.close()


def test_another_number_of_shards_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "data", 2).close()
    with pytest.raises(DataDirShards, match=r"made for 2 shard.*, not 4; start with 2"):
        opened(tmp_path / "data", 4)
    opened(tmp_path / "data", 2).close()


@pytest.mark.parametrize("shards", [0, -1, SHARDS_MAX + 1])
def test_the_number_of_shards_has_limits(tmp_path: Path, shards: int) -> None:
    with pytest.raises(OptionInvalid, match=str(SHARDS_MAX)):
        opened(tmp_path / "data", shards)
    assert not (tmp_path / "data").exists()


def test_the_second_one_is_told_who_is_there(tmp_path: Path) -> None:
    data = opened(tmp_path / "data", 1)
    with pytest.raises(DataDirInUse, match=rf"process {os.getpid()} on \S+ since 2023-11-14T"):
        opened(tmp_path / "data", 1)
    data.close()
    data.close()
    opened(tmp_path / "data", 1).close()


def test_a_lock_whose_holder_wrote_nothing_yet_is_a_lock(tmp_path: Path) -> None:
    data = opened(tmp_path / "data", 1)
    (tmp_path / "data" / "lock").write_text("")
    with pytest.raises(DataDirInUse, match="another broker"):
        opened(tmp_path / "data", 1)
    data.close()


def test_another_version_is_refused_by_name(tmp_path: Path) -> None:
    opened(tmp_path / "data", 1).close()
    file = tmp_path / "data" / "format.json"
    file.write_text(json.dumps({"format": 99, "shards": 1, "created_by": "7.0"}))
    with pytest.raises(DataDirVersion, match=r"format 99, written by ShardMQ 7\.0"):
        opened(tmp_path / "data")


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format": 1, "shards": 0}'])
def test_a_damaged_format_file_is_not_guessed_at(tmp_path: Path, content: str) -> None:
    opened(tmp_path / "data", 1).close()
    (tmp_path / "data" / "format.json").write_text(content)
    with pytest.raises(DataDirUnusable, match="backup"):
        opened(tmp_path / "data")


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataDirUnusable, match=r"thesis\.txt"):
        opened(tmp_path, 1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_start_that_was_refused_fixes_nothing(tmp_path: Path) -> None:
    open_data_dir(tmp_path / "data", shards=4, version="1", now=at(0)).close()
    data = opened(tmp_path / "data", 2)
    assert data.shards == 2
    data.close()


def test_sockets_lie_in_a_short_private_directory_that_goes_at_the_end(tmp_path: Path) -> None:
    data = opened(tmp_path / ("deep" * 50) / "data", 1)
    assert len(data.mailbox("coordinator")) < 107
    assert stat.S_IMODE(data.run.stat().st_mode) == 0o700
    data.close()
    assert not data.run.exists()


def test_the_sockets_of_a_killed_broker_are_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    data = opened(tmp_path / "data", 1)
    left = tmp_path / "shardmq-left"
    left.mkdir()
    (left / "shard-0.sock").write_text("")
    (tmp_path / "data" / "run").write_text(f"{left}\n")
    data.close()
    again = opened(tmp_path / "data", 1)
    assert not left.exists()
    again.close()


def test_the_sockets_of_a_broker_that_lives_are_left_alone(tmp_path: Path) -> None:
    original = opened(tmp_path / "data", 1)
    (tmp_path / "copy").mkdir()
    for name in ("format.json", "run"):
        content = (tmp_path / "data" / name).read_bytes()
        (tmp_path / "copy" / name).write_bytes(content)
    copy = opened(tmp_path / "copy", 1)
    assert original.run.is_dir()
    copy.close()
    assert original.run.is_dir()
    original.close()
    assert not original.run.exists()


def test_a_run_file_that_names_something_else_removes_nothing(tmp_path: Path) -> None:
    opened(tmp_path / "data", 1).close()
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "data" / "run").write_text(str(precious))
    opened(tmp_path / "data", 1).close()
    assert precious.is_dir()


def test_a_file_in_place_of_the_directory_is_called_a_file(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("x")
    for path in (file, file / "data"):
        with pytest.raises(DataDirUnusable, match="is a file; name a directory"):
            opened(path)
