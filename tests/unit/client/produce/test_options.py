"""Options of a producer are checked when it is made."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.protocol.compress import Compression
from shardmq.client import errors
from shardmq.client.produce.options import checked_options

GOOD: dict[str, Any] = {
    "group": "g", "ack": "written", "timeout": 3.0, "linger": 0.005, "credentials": None,
    "compression": "zstd", "buffer_bytes": 100,
}  # fmt: skip


def test_good_options_are_in_the_units_of_the_core() -> None:
    options = checked_options(**GOOD)
    assert (options.timeout_ms, options.linger_ms) == (3_000, 5)
    assert options.compression is Compression.ZSTD


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("group", "no good", errors.InvalidArgument),
        ("ack", "maybe", errors.InvalidArgument),
        ("timeout", 0, errors.InvalidArgument),
        ("linger", -1, errors.InvalidArgument),
        ("credentials", "secret", errors.NotSupported),
        ("compression", "gzip", errors.InvalidArgument),
        ("buffer_bytes", 0, errors.InvalidArgument),
    ],
)
def test_bad_options_are_refused_by_name(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        checked_options(**{**GOOD, name: value})
