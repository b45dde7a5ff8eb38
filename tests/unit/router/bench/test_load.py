"""Loads: the bodies they send. Their loops run in tests/e2e/test_cli_bench.py."""

from __future__ import annotations

import pytest

from shardmq.router.bench.load import LOADS, STAMP_BYTES, bodies_of, stamped


@pytest.mark.parametrize("size", [1, 2, 100, 4_096])
def test_bodies_have_the_size_that_was_asked_for(size: int) -> None:
    bodies = bodies_of(size, 50)
    assert {len(body) for body in bodies} == {size}
    assert len(bodies) == 50


def test_bodies_differ_where_there_is_room() -> None:
    assert len(set(bodies_of(100, 500))) == 500


def test_a_timed_body_says_when_it_was_meant_to_leave() -> None:
    body = stamped(123_456_789, 42, 100)
    assert len(body) == 100
    assert int.from_bytes(body[:8], "little") == 123_456_789
    assert int.from_bytes(body[8:STAMP_BYTES], "little") == 42


def test_there_is_a_load_for_every_role() -> None:
    assert set(LOADS) == {"produce", "consume", "send_timed", "receive_timed"}
