"""The crash loop, as long as CI can wait; the long campaigns are in docs/reliability.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support import repo


@pytest.mark.timeout(400)
def test_twenty_kills_break_no_promise(tmp_path: Path) -> None:
    script = str(repo.ROOT / "scripts/crash_loop.py")
    ledger = tmp_path / "ledger.jsonl"
    words = ["--kills", "20", "--seed", "20", "--directory", str(tmp_path), "--ledger", str(ledger)]
    run = subprocess.run(
        [sys.executable, script, *words], capture_output=True, text=True, timeout=380, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr[-4000:]
    result = json.loads(ledger.read_text(encoding="utf-8"))
    assert result["violations"] == 0
    assert sum(result["kills"].values()) == 20
    assert result["acknowledged"] > 1_000
    assert result["read"] > result["acknowledged"]
    assert result["recoveries_unseen"] == 0
