"""Pieces: any iterable, cut by topic and by size, without reading further than needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from shardmq.client import Message, errors
from shardmq.client.produce.pieces import pieces


def cut(messages: Any, parcel_bytes: int = 10_000) -> list[tuple[str, int, int]]:
    return [
        (piece.topic, len(piece.columns.bodies), piece.size)
        for piece in pieces(messages, lambda topic: parcel_bytes)
    ]


def test_nothing_gives_no_piece() -> None:
    assert cut([]) == []


def test_pieces_have_about_the_size_that_is_wanted() -> None:
    found = cut([Message("t", b"x" * 68)] * 5_000)
    assert sum(count for _, count, _ in found) == 5_000
    assert max(size for *_, size in found) <= 15_000
    assert min(count for _, count, _ in found[:-1]) >= 50


def test_topics_are_kept_apart_and_in_order() -> None:
    messages = [Message(topic, b"x") for topic in "aabba"]
    assert [(topic, count) for topic, count, _ in cut(messages)] == [("a", 2), ("b", 2), ("a", 1)]


def test_a_message_larger_than_a_piece_is_one_by_itself() -> None:
    messages = [Message("t", b"x"), Message("t", b"x" * 50_000), Message("t", b"x")]
    assert [count for _, count, _ in cut(messages)] == [1, 1, 1]


def test_a_generator_is_read_as_it_is_sent() -> None:
    taken = []

    def source() -> Iterator[Message]:
        for number in range(100_000):
            taken.append(number)
            yield Message("t", b"x")

    next(pieces(source(), lambda topic: 10_000))
    assert len(taken) < 5_000


@pytest.mark.parametrize("bad", ["text", None, Message("bad name", b"x"), Message("t", b"")])
def test_a_bad_message_is_refused_with_its_reason(bad: Any) -> None:
    with pytest.raises(errors.InvalidArgument):
        cut([Message("t", b"x"), bad])
    with pytest.raises(errors.InvalidArgument):
        cut([bad])
