"""Raw limits: bare sockets answer, bare writes arrive, nothing is left behind."""

from __future__ import annotations

from pathlib import Path

from shardmq.router.bench.raw import measure_raw


def test_each_limit_has_a_figure_and_leaves_nothing_behind(tmp_path: Path) -> None:
    figures = measure_raw(4_096, 0.1, tmp_path)
    assert figures.frame_bytes == 4_096
    assert figures.sockets_requests_per_second > 10
    assert figures.sockets_bytes_per_second > 4_096 * 10
    assert figures.writev_bytes_per_second > figures.writev_synced_bytes_per_second > 0
    assert list(tmp_path.iterdir()) == []
