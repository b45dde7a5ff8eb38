"""`shardmq demo`: the whole way, with fewer flights; `make demo` takes all of them."""

from __future__ import annotations

import json

from support.cli import run


def test_the_demonstration_proves_what_it_replayed() -> None:
    finished = run("demo", "--flights", "6000", "-o", "json")
    assert finished.returncode == 0, finished.stderr.decode()
    result = json.loads(finished.stdout)
    assert [proof["holds"] for proof in result["proofs"]] == [True] * 6
    replay = result["replay"]
    assert (replay["flights"], replay["lone"]) == (6_000, 600)
    assert (replay["members"], replay["killed_after"] >= 3_000) == (3, True)
    assert 0 < replay["takeover_seconds"] < 5, "its connection closed, and the router said so"
    for name in ("batch_to_consumer", "lone_send", "lone_to_consumer"):
        assert 0 < replay[name]["p50_ms"] <= replay[name]["p99_ms"], name


def test_people_get_a_table_and_each_statement() -> None:
    finished = run("demo", "--flights", "500", "--shards", "1")
    assert finished.returncode == 0, finished.stderr.decode()
    shown = finished.stdout.decode()
    assert shown.count("holds") == 6
    assert "BROKEN" not in shown
    assert "singly" in shown
    assert "one of 3 members was killed" in shown
