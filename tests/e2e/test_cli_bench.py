"""`shardmq bench`: each benchmark runs, counts exactly, and gives a result that can be compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shardmq.client import Admin
from shardmq.router import Broker
from support.cli import run


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data: Path = tmp_path_factory.mktemp("bench") / "data"
    with Broker(data, shards=2, listen="tcp://127.0.0.1:0") as broker:
        yield broker.url


def result_of(*words: str, url: str | None = None) -> dict[str, Any]:
    finished = run("bench", *words, "-o", "json", url=url)
    assert finished.returncode == 0, finished.stderr.decode()
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


@pytest.mark.parametrize("mode", ["batch", "async", "send"])
def test_produce_counts_what_was_acknowledged(mode: str, url: str) -> None:
    words = ["--mode", mode, "--messages", "3000", "--no-raw", "--ack", "written"]
    result = result_of("produce", *words, url=url)
    produce = result["produce"]
    assert produce["messages"] == 3_000
    assert produce["errors"] == {}
    assert produce["messages_per_second"] == pytest.approx(3_000 / produce["seconds"], rel=0.01)
    assert (produce["latency"] is not None) == (mode == "send")
    assert result["processes"] == [], "a broker that is not ours is not watched"


def test_consume_reads_every_message_of_the_backlog(url: str) -> None:
    result = result_of("consume", "--messages", "20000", "--size", "1KiB", "--no-raw", url=url)
    assert result["produce"] is None
    assert result["consume"]["messages"] == 20_000
    assert result["consume"]["bytes_per_second"] == pytest.approx(
        1024 * result["consume"]["messages_per_second"], rel=0.01
    )


def test_both_at_once_lose_nothing_and_the_own_broker_is_watched() -> None:
    result = result_of("both", "--messages", "20000", "--shards", "1")
    assert result["produce"]["messages"] == 20_000
    assert result["consume"]["messages"] == 20_001, "and the one that opened the connection"
    names = {process["name"] for process in result["processes"]}
    assert names == {"shard-0", "coordinator", "router-0"}
    assert all(process["rss_peak_bytes"] > 1 << 20 for process in result["processes"])
    assert result["raw"]["frame_bytes"] == 256 * 1024
    assert set(result["ratios"]) == {
        "produce_to_sockets",
        "produce_to_writev",
        "produce_to_writev_synced",
        "consume_to_sockets",
    }
    assert result["machine"]["cpus"] >= 1


def test_latency_counts_from_the_intended_moment(url: str) -> None:
    result = result_of("latency", "--rate", "500", "--seconds", "2s", url=url)
    assert result["produce"]["messages"] == 1_500, "the first second warms up"
    latency = result["consume"]["latency"]
    assert latency["count"] == 1_000
    assert 0 < latency["p50_ms"] <= latency["p99_ms"] <= latency["p999_ms"] <= latency["max_ms"]


def test_topics_of_a_broker_that_goes_on_are_deleted(url: str) -> None:
    result_of("produce", "--messages", "10", "--no-raw", url=url)
    with Admin(url) as admin:
        assert admin.topics() == []


def test_people_get_lines_with_rates(url: str) -> None:
    finished = run("bench", "produce", "--messages", "1000", "--no-raw", url=url)
    assert finished.returncode == 0, finished.stderr.decode()
    assert b"messages/s" in finished.stdout
