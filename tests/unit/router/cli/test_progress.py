"""Live rates: the rate now, the rate over all, one line for each worker."""

from __future__ import annotations

import io

from shardmq.router.cli.progress import Rates


def test_rates_are_since_the_last_report_and_over_all() -> None:
    with Rates(io.StringIO()) as rates:
        rates.progressed("produce", 1_000, 1.0)
        rates.progressed("produce", 4_000, 2.0)
        rates.progressed("consume", 10, 0.5)
        lines = rates.text().splitlines()
    assert " ".join(lines[0].split()) == "produce 4,000 messages 3 k/s now 2 k/s over all"
    assert lines[1].startswith("consume")


def test_nothing_is_shown_where_nobody_looks() -> None:
    stream = io.StringIO()
    with Rates(stream) as rates:
        rates.progressed("produce", 1, 0.0)
    assert stream.getvalue() == ""
