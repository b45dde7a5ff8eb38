"""Checks: a single message against the limits."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.checks import Fault, body_fault, metadata_fault
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.limits import (
    BODY_BYTES_MAX,
    KEY_BYTES_MAX,
    KEYS_MAX,
    ORDERING_KEY_BYTES_MAX,
    PROPERTIES_BYTES_MAX,
    TAG_BYTES_MAX,
)


def fault(
    tag: object = None, keys: object = (), properties: object = None, ordering_key: object = None
) -> Fault | None:
    return metadata_fault(tag, keys, properties, ordering_key)


def test_a_body_has_one_byte_to_four_mebibytes() -> None:
    assert body_fault(b"x") is None
    assert body_fault(bytes(BODY_BYTES_MAX)) is None
    over = body_fault(bytes(BODY_BYTES_MAX + 7))
    assert over is not None
    assert over.code == Code.TOO_LARGE
    assert "7 over" in over.message


@pytest.mark.parametrize("body", [b"", "text", None, 5, bytearray(b"x"), memoryview(b"x")])
def test_a_body_is_bytes_and_not_empty(body: object) -> None:
    found = body_fault(body)
    assert found is not None
    assert found.code == Code.INVALID_ARGUMENT


def test_metadata_at_its_limits_is_sound() -> None:
    properties = {"n": "v" * (PROPERTIES_BYTES_MAX - 1)}
    keys = ["k" * KEY_BYTES_MAX] * KEYS_MAX
    assert fault("t" * TAG_BYTES_MAX, keys, properties, "o" * ORDERING_KEY_BYTES_MAX) is None
    assert fault() is None


LARGE: list[tuple[str, dict[str, object]]] = [
    ("a tag", {"tag": "t" * (TAG_BYTES_MAX + 1)}),
    ("a tag of two-byte characters", {"tag": "é" * (TAG_BYTES_MAX // 2 + 1)}),
    ("keys", {"keys": ["k"] * (KEYS_MAX + 1)}),
    ("a key", {"keys": ["k" * (KEY_BYTES_MAX + 1)]}),
    ("properties", {"properties": {"n": "v" * PROPERTIES_BYTES_MAX}}),
    ("an ordering key", {"ordering_key": "o" * (ORDERING_KEY_BYTES_MAX + 1)}),
]


@pytest.mark.parametrize("given", [row[1] for row in LARGE], ids=[row[0] for row in LARGE])
def test_one_over_a_limit_is_too_large_and_says_by_how_much(given: dict[str, object]) -> None:
    found = fault(**given)
    assert found is not None
    assert found.code == Code.TOO_LARGE
    assert "1 over" in found.message or "2 over" in found.message


WRONG: list[dict[str, object]] = [
    {"tag": ""}, {"tag": "a|b"}, {"tag": "*"}, {"tag": " a"}, {"tag": "a\n"}, {"tag": 5},
    {"tag": "\ud800"}, {"keys": "one string"}, {"keys": {"a"}}, {"keys": [""]},
    {"keys": [None]}, {"keys": ["\ud800"]}, {"keys": 7}, {"properties": [("a", "b")]},
    {"properties": {"a": 1}}, {"properties": {1: "a"}}, {"properties": {" ": "a"}},
    {"properties": {"a": "\ud800"}}, {"properties": "a=b"}, {"ordering_key": ""},
    {"ordering_key": b"k"}, {"ordering_key": "\udfff"},
]  # fmt: skip


@pytest.mark.parametrize("given", WRONG, ids=[repr(row) for row in WRONG])
def test_what_is_not_metadata_is_an_invalid_argument(given: dict[str, object]) -> None:
    found = fault(**given)
    assert found is not None
    assert found.code == Code.INVALID_ARGUMENT
    assert found.message.encode()  # it travels in a reply
