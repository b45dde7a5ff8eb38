"""Consumers that are stuck, as long as CI can wait; ten minutes are in docs/reliability.md."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from support import repo


@pytest.mark.timeout(120)
def test_consumers_that_never_ack_return_settle_or_read_fill_no_memory_and_stop_nobody() -> None:
    script = str(repo.ROOT / "scripts/stuck_consumers.py")
    words = ["--seconds", "10", "--retention", "128", "--most", "200"]
    run = subprocess.run(
        [sys.executable, script, *words], capture_output=True, text=True, timeout=110, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr[-4000:]
    done = json.loads(run.stdout[: run.stdout.rindex("}") + 1])["done"]
    assert done["reader"] > 10_000
    assert min(done[name] for name in ("never-acks", "never-settles", "never-reads")) > 0
