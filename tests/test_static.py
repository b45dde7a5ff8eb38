"""The static checkers as tests: ruff, mypy --strict, import-linter, each with its own settings.

Owns: which checker runs over what. Settings and excuses stand in pyproject.toml.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support import repo

CHECKERS: dict[str, list[str]] = {
    "ruff check": ["-m", "ruff", "check", "."],
    "ruff format": ["-m", "ruff", "format", "--check", "--diff", "."],
    "mypy of the package": ["-m", "mypy"],
    "mypy of the scripts": ["-m", "mypy", "scripts"],
    "import layers": [str(Path(sys.executable).with_name("lint-imports"))],
}


@pytest.mark.timeout(300)  # mypy without a cache reads the standard library, too
@pytest.mark.xdist_group("static")  # the two runs of mypy share one cache
@pytest.mark.parametrize("name", CHECKERS)
def test_the_checker_has_nothing_to_say(name: str) -> None:
    run = subprocess.run(
        [sys.executable, *CHECKERS[name]],
        cwd=repo.ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"{name}\n{run.stdout}\n{run.stderr}"
