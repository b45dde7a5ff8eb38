"""The coordinator's process: its parts fit together, and what cannot be served is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardmq.actors.kernel.process import StartRefused
from shardmq.router.coordinator_process import CoordinatorConfig, build


def config(tmp_path: Path, **more: object) -> CoordinatorConfig:
    settings: dict[str, object] = {
        "mailbox": f"ipc://{tmp_path}/c.sock",
        "directory": str(tmp_path / "coordinator"),
        "links": {"shard-0": f"ipc://{tmp_path}/shard-0.sock"},
        "shards": 1,
        **more,
    }
    return CoordinatorConfig(**settings)  # type: ignore[arg-type]


def test_it_starts_on_an_empty_directory_and_stops(tmp_path: Path) -> None:
    for _ in range(2):
        shell = build(config(tmp_path), "coordinator")
        shell.request_stop()
        shell.run()
    assert list((tmp_path / "coordinator").glob("*.log"))


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    shell = build(config(tmp_path), "coordinator")
    with pytest.raises(StartRefused, match="in use"):
        build(config(tmp_path), "coordinator")
    shell.request_stop()
    shell.run()


def test_an_option_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="segment"):
        build(config(tmp_path, journal={"segment_bytes": 1}), "coordinator")
