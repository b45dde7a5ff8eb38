"""What `shardmq group` understands of its words; the rest is in tests/e2e/test_cli_group.py."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.router.cli.errors import EXIT_USAGE, CliError
from shardmq.router.cli.group import _target


@pytest.mark.parametrize(
    ("to", "queues", "target"),
    [
        ("earliest", (), "earliest"),
        ("LATEST", (), "latest"),
        ("2013-01-31T08:00:00Z", (), 1_359_619_200.0),
        (None, (("3", "4711"), ("0", "0")), {3: 4711, 0: 0}),
    ],
)
def test_a_target_is_a_place_a_time_or_an_offset_for_each_queue(
    to: str | None, queues: tuple[tuple[str, str], ...], target: Any
) -> None:
    assert _target(to, queues) == target


@pytest.mark.parametrize(
    ("to", "queues"),
    [
        (None, ()),
        ("earliest", (("3", "1"),)),
        ("4711", ()),
        ("soon", ()),
        (None, (("3", "end"),)),
        (None, (("-1", "3"),)),
    ],
)
def test_anything_else_is_refused_with_what_to_write(
    to: str | None, queues: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(CliError) as refused:
        _target(to, queues)
    assert refused.value.status == EXIT_USAGE
    assert str(refused.value)
