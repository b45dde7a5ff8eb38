"""Watching processes: their names, their CPU seconds, their peak memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from shardmq.router.bench.watch import Watch, role_of


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["python", "-P", "-m", "shardmq.shards.process", "shard-0"], "shard-0"),
        (["python", "-m", "shardmq.router.bench.worker"], "router.bench.worker"),
        (["python", "-m", "http.server"], "python"),
        ([], "?"),
    ],
)
def test_a_process_is_called_what_its_command_line_says(words: list[str], name: str) -> None:
    assert role_of(words) == name


def test_a_child_is_measured_until_the_end() -> None:
    program = "import sys; x = bytearray(50 << 20); print(sum(range(10**6))); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        with Watch(os.getpid()) as watch:
            assert child.stdout is not None
            child.stdout.readline()
        (figures,) = [one for one in watch.figures() if one.pid == child.pid]
        child.kill()
    assert figures.rss_peak_bytes > 50 << 20
    assert figures.cpu_seconds >= 0
