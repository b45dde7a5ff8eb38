"""Codes: one row each, and a reading for the unknown."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.codes import CODE_ROWS, Code, row_of


def test_every_code_has_exactly_one_row() -> None:
    assert [row.code for row in CODE_ROWS] == list(Code)


def test_only_ok_is_stored_for_certain() -> None:
    assert [row.code for row in CODE_ROWS if row.stored == "yes"] == [Code.OK]


def test_what_is_the_callers_fault_is_certainly_not_stored() -> None:
    for row in CODE_ROWS:
        assert row.stored == "no" or not 400 <= row.code < 500, row.code.name


def test_what_may_be_stored_may_be_tried_again_because_a_retry_is_stored_once() -> None:
    for row in CODE_ROWS:
        assert row.retryable or row.stored != "unknown", row.code.name


def test_every_hint_is_one_line_for_a_person() -> None:
    for row in CODE_ROWS:
        assert row.hint
        assert "\n" not in row.hint


@pytest.mark.parametrize(
    ("number", "read_as"),
    [(499, Code.BAD_REQUEST), (599, Code.INTERNAL), (0, Code.INTERNAL), (299, Code.INTERNAL),
     (2**32 - 1, Code.INTERNAL)],
)  # fmt: skip
def test_an_unknown_code_is_read_by_its_class(number: int, read_as: Code) -> None:
    assert row_of(number).code == read_as


def test_a_known_code_is_found_by_its_number() -> None:
    assert row_of(503).code is Code.BUSY
