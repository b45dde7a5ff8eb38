"""Options of a consumer are checked when it is made."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.client import errors
from shardmq.client.consume.options import checked_consumer

GOOD: dict[str, Any] = {
    "on_out_of_range": "error", "fetch_bytes": 1, "buffer_bytes": 1,
    "credentials": None,
}  # fmt: skip


def test_good_options_pass() -> None:
    assert checked_consumer(**GOOD).on_out_of_range == "error"


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("credentials", object(), errors.NotSupported),
        ("on_out_of_range", "ignore", errors.InvalidArgument),
        ("fetch_bytes", 0, errors.InvalidArgument),
        ("buffer_bytes", True, errors.InvalidArgument),
    ],
)
def test_bad_options_are_refused_by_name(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        checked_consumer(**{**GOOD, name: value})
