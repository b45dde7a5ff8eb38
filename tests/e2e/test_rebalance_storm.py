"""The rebalance storm, as long as CI can wait; the long campaigns are in docs/reliability.md."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from support import repo


@pytest.mark.timeout(150)
def test_members_that_come_go_freeze_and_die_lose_nothing_and_repeat_nothing() -> None:
    script = str(repo.ROOT / "scripts/rebalance_storm.py")
    words = ["--changes", "10", "--members", "5", "--queues", "16", "--rate", "500"]
    words += ["--lease", "2", "--frozen", "6", "--seed", "8"]
    run = subprocess.run(
        [sys.executable, script, *words], capture_output=True, text=True, timeout=140, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr[-4000:]
    figures = json.loads(run.stdout[: run.stdout.rindex("}") + 1])
    kinds = {kind.split(",")[0] for kind in figures["settled_seconds"]}
    assert len(kinds) > 2
    assert figures["sent"] > 1_000
    assert figures["handed"] >= figures["sent"]
