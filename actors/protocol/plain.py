"""Plain JSON messages to a batch's columns and back, for clients without a batch codec."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec

from .batch import BatchView, Columns, message_id
from .checks import Fault, body_fault, metadata_fault
from .codec import encode_header
from .codes import Code
from .frames import FLAG_JSON
from .limits import MIB
from .messages import PlainMessage

__all__ = ["PlainError", "columns_of", "plain_messages"]

TEXT_BYTES_MAX = 1 * MIB
_json = msgspec.json.Encoder().encode


class PlainError(ValueError):
    """A plain message that cannot be stored; `fault` has the code and the reason."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def columns_of(messages: Sequence[PlainMessage]) -> Columns:
    """The columns of `messages`, each checked against the limits.

    Raises:
        PlainError: a message has no body, a bad one, or metadata over a limit.
    """
    for message in messages:
        fault = metadata_fault(message.tag, message.keys, message.properties, message.ordering_key)
        if fault is not None:
            raise PlainError(fault)
    return Columns(
        bodies=[_body_of(message) for message in messages],
        tags=_unless_default([message.tag for message in messages]),
        keys=_unless_default([message.keys for message in messages]),
        ordering_keys=_unless_default([message.ordering_key for message in messages]),
        properties=_unless_default([message.properties for message in messages]),
    )


def plain_messages(
    view: BatchView,
    base_offset: int,
    stored_at_ms: int,
    *,
    from_offset: int = 0,
    bytes_max: int | None = None,
) -> list[PlainMessage]:
    """The messages of a batch in plain form, from `from_offset` on, until their JSON would exceed
    `bytes_max` bytes (but at least one): text bodies as text, others as base64.

    Raises:
        BatchError: the batch is malformed.
    """
    head = view.head
    nothing = [None] * head.count
    tags: Sequence[Any] = view.tags() or nothing
    keys: Sequence[Any] = view.keys() or nothing
    ordering_keys: Sequence[Any] = view.ordering_keys() or nothing
    properties: Sequence[Any] = view.properties() or nothing
    deltas: Sequence[int] = view.offset_deltas() or range(head.count)
    ids = view.message_ids()
    plain: list[PlainMessage] = []
    json_bytes = 0
    for index, body in enumerate(view.bodies()):
        if base_offset + deltas[index] < from_offset:
            continue
        text, encoded = _text_or_base64(body)
        message = PlainMessage(
            body=text,
            body_base64=encoded,
            tag=tags[index],
            keys=keys[index] or [],
            ordering_key=ordering_keys[index],
            properties=properties[index] or {},
            offset=base_offset + deltas[index],
            message_id=ids[index]
            if ids
            else message_id(head.producer_id, head.first_sequence + index),
            born_at_ms=head.first_born_ms,
            stored_at_ms=stored_at_ms,
        )
        json_bytes += len(encode_header(message, FLAG_JSON)) + 1
        if plain and bytes_max is not None and json_bytes > bytes_max:
            break
        plain.append(message)
    return plain


def _unless_default(column: list[Any]) -> list[Any] | None:
    return column if any(column) else None


def _body_of(message: PlainMessage) -> bytes:
    if (message.body is None) == (message.body_base64 is None):
        raise PlainError(Fault(Code.INVALID_ARGUMENT, "give either `body` or `body_base64`"))
    if message.body_base64 is None:
        try:
            body = str(message.body).encode()
        except UnicodeEncodeError:
            raise PlainError(Fault(Code.INVALID_ARGUMENT, "body is not valid Unicode")) from None
    else:
        try:
            body = base64.b64decode(message.body_base64, validate=True)
        except (binascii.Error, ValueError):
            raise PlainError(Fault(Code.INVALID_ARGUMENT, "body_base64 is not base64")) from None
    fault = body_fault(body)
    if fault is not None:
        raise PlainError(fault)
    return body


def _text_or_base64(body: bytes) -> tuple[str | None, str | None]:
    """Text where it is that. A large text of control characters (6 bytes each in JSON) would not
    fit into a frame, so it goes as base64."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None, base64.b64encode(body).decode()
    if len(body) > TEXT_BYTES_MAX and len(_json(text)) > len(body) * 4 // 3:
        return None, base64.b64encode(body).decode()
    return text, None
