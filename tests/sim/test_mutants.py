"""Known bugs, planted one at a time: the simulator sees each of them within some seeds."""

from __future__ import annotations

import pytest

from sim.campaign import first_to_see
from sim.group_mutants import MUTANTS
from sim.run import run_seed

SEEDS_MAX = 150
HINTS: dict[str, int] = {
    "acknowledges before the sync": 34,
    "repeats a receipt that is not synced": 27,
    "calls durable what is only written": 8,
    "leaves producers out of the snapshot": 23,
    "never syncs the directory": 6,
    "syncs only the newest segment": 79,
    "drops segments that recovery needs": 14,
    "places keys by the number of queues": 41,
}
"""Seeds that saw a bug when this was written. They are tried first, only to save time."""


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_planted_bug_is_seen(mutant: str) -> None:
    seeds = dict.fromkeys([HINTS.get(mutant, 0), *range(SEEDS_MAX)])
    outcome = first_to_see(mutant, seeds)
    assert outcome is not None, f"{SEEDS_MAX} seeds and nothing seen: {mutant}"


def test_a_planted_bug_is_taken_out_again() -> None:
    assert first_to_see(next(iter(MUTANTS)), []) is None
    assert run_seed(0).violations == []


def test_every_hint_names_a_mutant() -> None:
    assert set(HINTS) <= set(MUTANTS)
