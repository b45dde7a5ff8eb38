"""Names of members: allowed by the rules, and never the same twice."""

from __future__ import annotations

from shardmq.actors.protocol.names import why_invalid_group
from shardmq.client.naming import unique_name


def test_names_are_valid_and_unique() -> None:
    names = {unique_name() for _ in range(100)}
    assert len(names) == 100
    assert all(why_invalid_group(name) is None for name in names)
