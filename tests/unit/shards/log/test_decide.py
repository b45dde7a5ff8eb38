"""The decision table of recovery."""

from __future__ import annotations

import pytest

from shardmq.shards.log.decide import CASES, TABLE, Action, Case, decide
from shardmq.shards.log.scan import Found


@pytest.mark.parametrize("case", CASES)
def test_exactly_one_row_matches_each_case(case: Case) -> None:
    rows = [row for row in TABLE if row.matches(case)]
    assert len(rows) == 1
    assert decide(case) is rows[0]


def test_all_combinations_of_facts_are_cases() -> None:
    assert len(set(CASES)) == 2 * len(Found) * 2 * 2 * 2


def test_every_row_is_met_by_some_case() -> None:
    assert {decide(case).label for case in CASES} == {row.label for row in TABLE}


def test_nothing_durable_is_ever_cut_and_nothing_above_keeps_anyone_waiting() -> None:
    for case in CASES:
        action = decide(case).action
        if case.below_durable:
            assert action in (Action.QUARANTINE, Action.READ_ONLY)
        else:
            assert action in (Action.END, Action.SET_ASIDE)


def test_a_state_that_may_be_lost_waits_for_the_operator_and_only_then() -> None:
    lost = Case(True, Found.NOISE, True, state_possible=True, accepted=False)
    assert decide(lost).action is Action.READ_ONLY
    assert decide(lost._replace(accepted=True)).action is Action.QUARANTINE
    assert decide(lost._replace(state_possible=False)).action is Action.QUARANTINE


def test_only_zeros_with_nothing_behind_end_the_log_silently() -> None:
    silent = [case for case in CASES if decide(case).action is Action.END]
    assert {(case.found, case.follows) for case in silent} == {(Found.ZEROS, False)}
