"""Columns: defaults are dropped, bad messages found, a batch gives its columns back."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.protocol.batch import encode_batch
from shardmq.client import Message, errors
from shardmq.client.produce.columns import (
    check_columns,
    columns_of,
    every_nth,
    picked,
    recovered,
)


def test_columns_of_plain_messages_are_bodies_only() -> None:
    columns = columns_of([Message("t", b"a"), Message("t", b"b")])
    assert columns.bodies == [b"a", b"b"]
    assert set(columns[1:]) == {None}


def test_rows_can_be_dealt_and_picked() -> None:
    columns = columns_of([Message("t", b"%d" % n, tag=f"t{n}") for n in range(7)])
    assert every_nth(columns, 1, 3).bodies == [b"1", b"4"]
    assert every_nth(columns, 1, 3).tags == ["t1", "t4"]
    assert picked(columns, [5, 0]).tags == ["t5", "t0"]
    assert picked(columns, range(7)) is columns


def test_a_batch_gives_back_what_it_was_encoded_from() -> None:
    messages = [
        Message("t", b"a", tag="x", keys=("k",), properties={"p": "v"}, ordering_key="o"),
        Message("t", b"b"),
    ]
    columns = columns_of(messages)
    batch = encode_batch(columns, producer_id=1, first_sequence=1, first_born_ms=0, last_born_ms=0)
    back = recovered(batch)
    assert back.bodies == [b"a", b"b"]
    assert back.tags == ["x", None]
    assert back.keys == [["k"], []]
    assert back.ordering_keys == ["o", None]
    assert back.properties == [{"p": "v"}, {}]


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Message("t", b""), errors.InvalidArgument),
        (Message("t", "text"), errors.InvalidArgument),  # type: ignore[arg-type]
        (Message("t", b"x" * ((4 << 20) + 1)), errors.MessageTooLarge),
        (Message("t", b"x", tag="a|b"), errors.InvalidArgument),
        (Message("t", b"x", keys=["k"] * 65), errors.MessageTooLarge),
        (Message("t", b"x", delay=1), errors.NotSupported),
    ],
)
def test_one_bad_message_among_good_ones_is_found(bad: Any, error: type[Exception]) -> None:
    messages = [Message("t", b"good", tag="ok")] * 3 + [bad]
    with pytest.raises(error):
        check_columns(messages, columns_of(messages))


def test_the_bytes_of_all_bodies_are_counted() -> None:
    messages = [Message("t", b"abc"), Message("t", b"de")]
    assert check_columns(messages, columns_of(messages)) == 5
