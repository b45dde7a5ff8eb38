"""Figures of a run: exact percentiles, rates, ratios.

Owns the arithmetic. Must not measure anything itself.

Percentiles are exact, by nearest rank over all samples: eight bytes a sample is little for the
millions that a run has, and no bucket's width has to be explained.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import msgspec

__all__ = ["LatencyFigures", "latency_figures", "percentile", "ratio"]


class LatencyFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Latencies of one run, in milliseconds."""

    count: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    mean_ms: float


def percentile(ordered: Sequence[int], per_cent: float) -> int:
    """The smallest sample that at least `per_cent` of all samples do not exceed.

    `ordered` is sorted and not empty.
    """
    assert ordered, "a percentile needs a sample"
    rank = ceil(len(ordered) * per_cent / 100)
    return ordered[max(rank, 1) - 1]


def latency_figures(samples_ns: Sequence[int]) -> LatencyFigures | None:
    """Figures of all samples; None without any."""
    if not samples_ns:
        return None
    ordered = sorted(samples_ns)

    def ms(nanoseconds: float) -> float:
        return round(nanoseconds / 1e6, 4)

    return LatencyFigures(
        count=len(ordered),
        p50_ms=ms(percentile(ordered, 50)),
        p99_ms=ms(percentile(ordered, 99)),
        p999_ms=ms(percentile(ordered, 99.9)),
        max_ms=ms(ordered[-1]),
        mean_ms=ms(sum(ordered) / len(ordered)),
    )


def ratio(value: float, limit: float) -> float:
    """`value` as a part of `limit`; 0 if there is no limit."""
    return round(value / limit, 4) if limit else 0.0
