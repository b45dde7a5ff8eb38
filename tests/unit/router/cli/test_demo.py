"""What the demonstration shows people; the run itself is in `tests/e2e/test_cli_demo.py`."""

from __future__ import annotations

import pytest

from shardmq.router.bench.figures import LatencyFigures
from shardmq.router.cli.demo import _print
from shardmq.router.demo.replay import Replay


def test_the_table_of_a_slow_machine_fits_into_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    slow = LatencyFigures(
        count=1, p50_ms=99.99, p99_ms=12_698.5, p999_ms=13_520.3, max_ms=14_000.0, mean_ms=100.0
    )
    took = Replay(
        flights=336_776, bytes=15_000_000, lone=2_000, send_seconds=13.4, receive_seconds=13.9,
        batch_to_consumer=slow, lone_send=slow, lone_to_consumer=slow,
        members=3, killed_after=168_388, takeover_seconds=12.25,
    )  # fmt: skip
    _print(took, [])
    shown = capsys.readouterr().out
    assert "13520 ms" in shown
    assert "killed after 168,388 flights" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
