"""Ledgers: a segment knows how much of it still waits."""

from __future__ import annotations

from typing import Any

from shardmq.client.group.ledger import Segment


def test_a_segment_shrinks_from_its_start() -> None:
    messages: Any = ["a", "b", "c"]
    batch: Any = None
    segment = Segment(batch, messages, 10, 13)
    assert len(segment) == 3
    segment.start = 2
    assert len(segment) == 1
