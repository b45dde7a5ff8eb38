"""Batches with all that a message may have, for tests that cut them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from shardmq.actors.protocol.batch import Columns, encode_batch
from shardmq.actors.protocol.compress import Compression

_texts = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=4)


def encoded(columns: Mapping[str, Any], compression: Compression = Compression.NONE) -> bytes:
    """A batch of producer 7 whose sequence begins at 40."""
    return encode_batch(
        Columns(**columns), producer_id=7, first_sequence=40, first_born_ms=1, last_born_ms=2,
        compression=compression,
    )  # fmt: skip


def columns_of(data: st.DataObject, count: int, *, is_copy: bool) -> dict[str, Any]:
    """Columns of `count` messages, some of them left out."""

    def rows(one: st.SearchStrategy[Any]) -> list[Any]:
        return data.draw(st.lists(one, min_size=count, max_size=count))

    columns: dict[str, Any] = {"bodies": rows(st.binary(min_size=1, max_size=9))}
    maybe = {
        "tags": st.none() | _texts,
        "keys": st.lists(_texts, max_size=2),
        "ordering_keys": st.none() | _texts,
        "properties": st.dictionaries(_texts, _texts, max_size=2),
    }
    for name, one in maybe.items():
        if data.draw(st.booleans()):
            columns[name] = rows(one)
    if is_copy:
        columns["message_ids"] = [f"{at:032x}" for at in rows(st.integers(0, 99))]
        columns["entries"] = [(1, 2, at) for at in range(count)]
    return columns
