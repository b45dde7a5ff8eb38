"""Headers: what their types promise to every core that gets them."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from shardmq.actors.protocol import group_messages, messages, work_messages
from shardmq.actors.protocol.messages import Header
from shardmq.actors.protocol.verbs import VERB_ROWS

HEADERS = [
    kind
    for kind in (vars(messages) | vars(group_messages) | vars(work_messages)).values()
    if isinstance(kind, type) and issubclass(kind, Header) and kind is not Header
]


def _types_in(info: Any) -> Iterator[Any]:
    """A type of msgspec's inspection and all that it is made of; structs only by name."""
    yield info
    for name in ("item_type", "key_type", "value_type"):
        if hasattr(info, name):
            yield from _types_in(getattr(info, name))
    for part in getattr(info, "types", ()):
        yield from _types_in(part)


@pytest.mark.parametrize("kind", HEADERS)
def test_every_integer_is_bounded_below_two_to_the_63(kind: type[Header]) -> None:
    for field in msgspec.inspect.type_info(kind).fields:  # type: ignore[attr-defined]
        for one in _types_in(field.type):
            if isinstance(one, msgspec.inspect.IntType):
                assert one.ge == 0, field.name
                assert one.le in ((1 << 32) - 1, (1 << 63) - 1), field.name


@pytest.mark.parametrize("kind", HEADERS)
def test_every_header_survives_both_encodings_with_its_defaults(kind: type[Header]) -> None:
    required = {
        field.name: _sample(field.type)
        for field in msgspec.inspect.type_info(kind).fields  # type: ignore[attr-defined]
        if field.required
    }
    header = msgspec.convert(required, kind)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(header), type=kind) == header
    assert msgspec.json.decode(msgspec.json.encode(header), type=kind) == header


def _sample(info: Any) -> Any:
    if isinstance(info, msgspec.inspect.StructType):
        return {one.name: _sample(one.type) for one in info.fields if one.required}
    if isinstance(info, msgspec.inspect.IntType):
        return 1
    if isinstance(info, msgspec.inspect.LiteralType):
        return info.values[0]
    return [] if isinstance(info, msgspec.inspect.ListType) else "x"


def test_every_header_belongs_to_a_verb_or_to_another_header() -> None:
    used: set[type] = {messages.ErrorReply}
    for row in VERB_ROWS:
        used |= {row.request, row.reply}
    named = " ".join(str(typing.get_type_hints(kind)) for kind in HEADERS)
    for kind in HEADERS:
        assert kind in used or f".{kind.__name__}" in named, kind.__name__
