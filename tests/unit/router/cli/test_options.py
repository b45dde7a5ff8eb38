"""Option types: quantities and pairs are converted, or refused with the reason."""

from __future__ import annotations

from typing import Any

import click
import pytest

from shardmq.router.cli.options import COUNT, DURATION, SIZE, Pair


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [(DURATION, "1h", 3600.0), (SIZE, "1KiB", 1024), (COUNT, "2m", 2_000_000),
     (Pair(), "region=eu=1", ("region", "eu=1")), (Pair(), "empty=", ("empty", ""))],
)  # fmt: skip
def test_values_are_converted(kind: Any, text: str, value: object) -> None:
    assert kind.convert(text, None, None) == value
    assert kind.convert(value, None, None) == value, "a default is converted already"


@pytest.mark.parametrize(
    ("kind", "text"),
    [(DURATION, "soon"), (SIZE, "big"), (COUNT, "0"), (Pair(), "x"), (Pair(), "=x")],
)
def test_what_does_not_convert_is_a_usage_error(kind: Any, text: str) -> None:
    with pytest.raises(click.BadParameter, match=text):
        kind.convert(text, None, None)
