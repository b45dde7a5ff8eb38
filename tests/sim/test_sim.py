"""Two hundred seeds without a violation, and each seed the same each time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from sim.campaign import report
from sim.run import Outcome, run_seed
from support import repo

SEEDS = 200
GROUPS = 8


@pytest.mark.parametrize("group", range(GROUPS))
def test_no_promise_is_broken(group: int) -> None:
    totals: Counter[str] = Counter()
    for seed in range(group, SEEDS, GROUPS):
        outcome = run_seed(seed)
        assert not outcome.violations, report(outcome)
        totals.update(outcome.counts)
    # A simulator that does nothing finds nothing.
    assert totals["ok"] > 1_000, totals
    assert totals["reads"] > 1_000, totals
    assert totals["faults"] > 100, totals
    assert totals["unknown"] > 20, totals
    assert totals["replays"] > 100, totals
    assert totals["from_snapshot"] > 5, totals
    assert totals["set_aside"] > 0, totals
    assert totals["handouts"] > 10, totals
    assert totals["settles"] > 10, totals


@pytest.mark.parametrize("seed", [0, 3, 11])
def test_a_seed_names_one_history(seed: int) -> None:
    first, second = run_seed(seed), run_seed(seed)
    assert traits(first) == traits(second)


@pytest.mark.parametrize("seed", ["0", "5"])
def test_a_seed_names_the_same_history_in_every_process(seed: str) -> None:
    """Nothing may depend on the order of a set of strings, which differs between processes."""
    ends = set()
    for hash_seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-m", "tests.sim", "--seed", seed],
            cwd=repo.ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        ends.add(run.stdout.splitlines()[-1])
    assert len(ends) == 1, ends


def traits(outcome: Outcome) -> tuple[object, ...]:
    return outcome.fingerprint, outcome.events, outcome.counts
