"""What makes a single message unacceptable: the limits, said with which one and by how much.

Used by the client before a message is taken, and by shards for messages that come as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .codes import Code
from .limits import (
    BODY_BYTES_MAX,
    KEY_BYTES_MAX,
    KEYS_MAX,
    ORDERING_KEY_BYTES_MAX,
    PROPERTIES_BYTES_MAX,
    TAG_BYTES_MAX,
)

__all__ = ["Fault", "body_fault", "metadata_fault"]


class Fault(NamedTuple):
    """Why a message is refused."""

    code: Code
    message: str


def body_fault(body: object) -> Fault | None:
    """The fault of a body: it must be 1 byte to 4 MiB of `bytes`."""
    if type(body) is not bytes:
        kind = type(body).__name__
        return Fault(Code.INVALID_ARGUMENT, f"a body is bytes, not {kind}: encode text first")
    if not body:
        return Fault(Code.INVALID_ARGUMENT, "a body has at least 1 byte")
    return _over("a body", len(body), BODY_BYTES_MAX)


def metadata_fault(
    tag: object, keys: object, properties: object, ordering_key: object
) -> Fault | None:
    """The first fault in a message's tag, keys, properties or ordering key; None if sound."""
    return (
        _tag_fault(tag)
        or _keys_fault(keys)
        or _properties_fault(properties)
        or _ordering_key_fault(ordering_key)
    )


def _tag_fault(tag: object) -> Fault | None:
    if tag is None:
        return None
    fault = _text_fault("a tag", tag, TAG_BYTES_MAX)
    if fault is None and ("|" in str(tag) or str(tag) == "*" or str(tag) != str(tag).strip()):
        text = f"a tag has no '|', is not '*' and has no blanks around it, unlike {tag!r}"
        return Fault(Code.INVALID_ARGUMENT, text)
    return fault


def _keys_fault(keys: object) -> Fault | None:
    if not keys:
        return None
    if isinstance(keys, str) or not isinstance(keys, Sequence):
        return Fault(Code.INVALID_ARGUMENT, "keys are a tuple or list of strings")
    if len(keys) > KEYS_MAX:
        over = len(keys) - KEYS_MAX
        return Fault(Code.TOO_LARGE, f"a message has at most {KEYS_MAX} keys, {over} over")
    for key in keys:
        fault = _text_fault("a key", key, KEY_BYTES_MAX)
        if fault is not None:
            return fault
    return None


def _properties_fault(properties: object) -> Fault | None:
    if not properties:
        return None
    if not isinstance(properties, Mapping):
        return Fault(Code.INVALID_ARGUMENT, "properties are a mapping of strings to strings")
    size = 0
    for name, value in properties.items():
        if not isinstance(name, str) or not isinstance(value, str):
            text = f"properties map strings to strings, unlike {name!r}: {type(value).__name__}"
            return Fault(Code.INVALID_ARGUMENT, text)
        if not name.strip():
            return Fault(Code.INVALID_ARGUMENT, "a property name cannot be blank")
        try:
            size += len(name.encode()) + len(value.encode())
        except UnicodeEncodeError:
            return Fault(Code.INVALID_ARGUMENT, f"property {name!r} is not valid Unicode")
    return _over("properties", size, PROPERTIES_BYTES_MAX)


def _ordering_key_fault(ordering_key: object) -> Fault | None:
    if ordering_key is None:
        return None
    return _text_fault("an ordering key", ordering_key, ORDERING_KEY_BYTES_MAX)


def _text_fault(noun: str, text: object, bytes_max: int) -> Fault | None:
    if not isinstance(text, str):
        return Fault(Code.INVALID_ARGUMENT, f"{noun} is a string, not {type(text).__name__}")
    if not text:
        return Fault(Code.INVALID_ARGUMENT, f"{noun} cannot be empty")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return Fault(Code.INVALID_ARGUMENT, f"{noun} is not valid Unicode: {text[:40]!r}")
    return _over(noun, size, bytes_max)


def _over(noun: str, size: int, bytes_max: int) -> Fault | None:
    if size <= bytes_max:
        return None
    verb = "have" if noun == "properties" else "has"
    text = f"{noun} {verb} at most {bytes_max} bytes, this is {size}: {size - bytes_max} over"
    return Fault(Code.TOO_LARGE, text)
