"""Figures: exact percentiles by nearest rank, and ratios."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardmq.router.bench.figures import latency_figures, percentile, ratio


@pytest.mark.parametrize(
    ("per_cent", "value"), [(50, 50), (99, 99), (99.9, 100), (100, 100), (1, 1), (0, 1)]
)
def test_percentiles_of_one_to_a_hundred(per_cent: float, value: int) -> None:
    assert percentile(range(1, 101), per_cent) == value


def test_a_single_sample_is_every_percentile() -> None:
    assert {percentile([7], one) for one in (0, 50, 99.9, 100)} == {7}


@given(st.lists(st.integers(0, 10**12), min_size=1), st.floats(0.1, 100))
def test_at_least_so_many_samples_are_not_above_it(samples: list[int], per_cent: float) -> None:
    ordered = sorted(samples)
    value = percentile(ordered, per_cent)
    assert value in samples
    below = sum(1 for sample in ordered if sample <= value)
    assert below * 100 >= per_cent * len(ordered) * 0.999_999


def test_latencies_are_in_milliseconds_in_any_order() -> None:
    figures = latency_figures([3_000_000, 1_000_000, 2_000_000])
    assert figures is not None
    assert (figures.count, figures.p50_ms, figures.max_ms, figures.mean_ms) == (3, 2.0, 3.0, 2.0)
    assert latency_figures([]) is None


def test_a_ratio_without_a_limit_is_zero() -> None:
    assert ratio(1, 4) == 0.25
    assert ratio(1, 0) == 0
