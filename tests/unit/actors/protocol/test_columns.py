"""Columns: the order on the wire, what is left out, and the bounds of each list."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shardmq.actors.protocol import columns as c
from shardmq.actors.protocol.columns import Columns, encode_columns
from shardmq.actors.protocol.limits import BATCH_MESSAGES_MAX, COLUMNS_MAX, KEYS_MAX

ORDER = ["bodies", "tags", "keys", "ordering_keys", "properties", "due_times_ms", "message_ids",
         "offset_deltas", "entries"]  # fmt: skip


def encoded(columns: Columns) -> Any:
    return msgspec.msgpack.decode(encode_columns(columns, len(columns.bodies)))


def test_the_order_of_columns_is_fixed() -> None:
    assert list(Columns._fields) == ORDER
    full = Columns([b"a", b"bc"], ["t", None], [["k"], []], ["o", None], [{"p": "v"}, {}],
                   [5, 0], ["id1", "id2"], [0, 7], [(1, 2, 0), (3, 4, 1)])  # fmt: skip
    assert encoded(full) == [
        [1, 2], [["t", None], b"\x00\x01"], [["k"], []], ["o", None], [{"p": "v"}, {}],
        [5, 0], ["id1", "id2"], [0, 7], [[1, 2, 0], [3, 4, 1]],
    ]  # fmt: skip


def test_equal_lengths_are_one_number_and_trailing_defaults_are_left_out() -> None:
    assert encoded(Columns([b"aa", b"bb"])) == [2]
    assert encoded(Columns([b"a"], ordering_keys=["o"])) == [1, None, None, ["o"]]


@pytest.mark.parametrize(("names", "width"), [(1, 1), (256, 1), (257, 2), (1_000, 2)])
def test_tag_indexes_are_two_wide_from_257_names_on(names: int, width: int) -> None:
    tags = [f"t{at % names}" for at in range(1_000)]
    found, indexes = encoded(Columns([b"x"] * 1_000, tags=tags))[1]
    assert found == list(dict.fromkeys(tags))
    assert len(indexes) == width * 1_000
    rows = [int.from_bytes(indexes[at : at + width], "little") for at in range(0, 1_000, width)]
    assert [found[row] for row in rows] == tags[: len(rows)]


def test_columns_of_unequal_length_are_our_own_bug() -> None:
    with pytest.raises(AssertionError):
        encoded(Columns([b"a", b"b"], tags=["t"]))
    with pytest.raises(AssertionError):
        encoded(Columns([]))


LONG: list[tuple[str, Any, Any]] = [
    ("columns", c.COLUMNS, [None] * (COLUMNS_MAX + 1)),
    ("lengths", c.LENGTHS, [1] * (BATCH_MESSAGES_MAX + 1)),
    ("tag names", c.TAGS, [[None] * (BATCH_MESSAGES_MAX + 1), b""]),
    ("keys of messages", c.KEYS, [[]] * (BATCH_MESSAGES_MAX + 1)),
    ("keys of one message", c.KEYS, [["k"] * (KEYS_MAX + 1)]),
    ("ordering keys", c.ORDERING_KEYS, [None] * (BATCH_MESSAGES_MAX + 1)),
    ("properties", c.PROPERTIES, [{}] * (BATCH_MESSAGES_MAX + 1)),
    ("due times", c.NATURALS, [0] * (BATCH_MESSAGES_MAX + 1)),
    ("message ids", c.STRINGS, [""] * (BATCH_MESSAGES_MAX + 1)),
    ("entries", c.ENTRIES, [[1, 2, 3]] * (BATCH_MESSAGES_MAX + 1)),
]


@pytest.mark.parametrize(("decoder", "value"), [r[1:] for r in LONG], ids=[r[0] for r in LONG])
def test_a_list_over_its_bound_is_refused(decoder: Any, value: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match="length <="):
        decoder.decode(msgspec.msgpack.encode(value))


WRONG: list[tuple[Any, Any]] = [
    (c.LENGTHS, True), (c.LENGTHS, 1.0), (c.LENGTHS, [True]), (c.LENGTHS, [None]),
    (c.TAGS, [["a"], "text"]), (c.TAGS, [["a"]]), (c.TAGS, [["a"], b"", 1]), (c.TAGS, [[1], b""]),
    (c.KEYS, [None]), (c.KEYS, [[None]]), (c.KEYS, ["abc"]), (c.ORDERING_KEYS, [1]),
    (c.PROPERTIES, [{"a": 1}]), (c.PROPERTIES, [{1: "a"}]), (c.PROPERTIES, [[]]),
    (c.NATURALS, [-1]), (c.NATURALS, [None]), (c.NATURALS, [1.0]), (c.STRINGS, [b"bytes"]),
    (c.ENTRIES, [[1, 2]]), (c.ENTRIES, [1]), (c.ENTRIES, [[1, 2, -1]]), (c.ENTRIES, [[1, 2, None]]),
]  # fmt: skip


@pytest.mark.parametrize(("decoder", "value"), WRONG)
def test_a_column_of_another_type_is_refused(decoder: Any, value: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        decoder.decode(msgspec.msgpack.encode(value))
