"""Quantities: what people write is read, what is no quantity is refused with an example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shardmq.router.quantities import (
    QuantityError,
    bytes_of,
    bytes_text,
    count_of,
    count_text,
    duration_text,
    moment_ms_of,
    seconds_of,
    time_text,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("7d", 604800), ("250ms", 0.25),
     ("1.5h", 5400), (" 2W ", 1209600)],
)  # fmt: skip
def test_durations_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "count"),
    [("100", 100), ("64KiB", 65536), ("10gib", 10 * 2**30), ("10GB", 10**10), ("1.5k", 1536),
     ("7 MiB", 7 * 2**20), ("12b", 12)],
)  # fmt: skip
def test_sizes_are_read(text: str, count: int) -> None:
    assert bytes_of(text) == count


@pytest.mark.parametrize(("text", "count"), [("5000", 5000), ("20k", 20_000), ("1.5M", 1_500_000)])
def test_counts_are_read(text: str, count: int) -> None:
    assert count_of(text) == count


@pytest.mark.parametrize(
    ("parse", "text"),
    [(seconds_of, "7 days"), (seconds_of, ""), (seconds_of, "5"), (seconds_of, "-5s"),
     (bytes_of, "big"), (bytes_of, "5 parsecs"), (count_of, "0"), (count_of, "-3"),
     (count_of, "many")],
)  # fmt: skip
def test_what_is_no_quantity_is_refused_with_an_example(
    parse: Callable[[str], Any], text: str
) -> None:
    with pytest.raises(QuantityError, match="write"):
        parse(text)


def test_moments_are_so_long_ago_or_a_time_of_a_zone() -> None:
    assert moment_ms_of("-10m", now_ms=1_000_000) == 400_000
    assert moment_ms_of("2013-01-31T08:00+00:00", now_ms=0) == 1_359_619_200_000
    assert moment_ms_of("2013-01-31T08:00:00.5Z", now_ms=0) == 1_359_619_200_500
    for text in ("yesterday", "-ten", "10m"):
        with pytest.raises(QuantityError, match="write -10m"):
            moment_ms_of(text, now_ms=0)


def test_a_time_without_zone_is_local_time() -> None:
    local_ms = moment_ms_of("2013-01-31T08:00", now_ms=0)
    assert abs(local_ms - 1_359_619_200_000) <= 14 * 3600 * 1000


@pytest.mark.parametrize(
    ("shown", "expected"),
    [(duration_text(0.00085), "850 us"), (duration_text(0.00125), "1.25 ms"),
     (duration_text(3.21), "3.21 s"), (duration_text(125), "2 min 05 s"),
     (duration_text(7500), "2 h 05 min"), (duration_text(7200), "2 h"),
     (duration_text(3 * 86400), "3 d"), (bytes_text(512), "512 B"),
     (bytes_text(65536), "64 KiB"), (bytes_text(1.5 * 2**30), "1.5 GiB"),
     (bytes_text(2**42), "4 TiB"), (count_text(950), "950"), (count_text(0.25), "0.25"),
     (count_text(12_300), "12.3 k"), (count_text(999_900), "1 M"), (count_text(2.05e6), "2.05 M"),
     (time_text(1_359_619_200_500), "2013-01-31T08:00:00.500Z")],
)  # fmt: skip
def test_quantities_are_shown_as_people_read_them(shown: str, expected: str) -> None:
    assert shown == expected
