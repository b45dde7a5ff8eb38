"""Message: what a user sends. Owns its fields and their checks; knows nothing of queues.

Checks happen when a message is handed to a producer, not when it is built: a program that builds
millions pays once, and a received message can be sent again as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from shardmq.actors.protocol.checks import Fault, body_fault, metadata_fault
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.limits import BODY_BYTES_MAX
from shardmq.actors.protocol.names import why_invalid_topic

from .errors import InvalidArgument, MessageTooLarge, NotSupported, UsageError
from .times import Duration

__all__ = [
    "MESSAGE_BYTES",
    "Message",
    "check_message",
    "check_metadata",
    "is_plain",
    "raise_fault",
    "shown",
    "size_of",
]

_NO_PROPERTIES: Mapping[str, str] = {}
_SHOWN_BYTES = 32
MESSAGE_BYTES = 32
"""Counted for each message besides its own bytes; it also bounds the messages of a batch."""


class _Sent(msgspec.Struct, frozen=True, gc=False):
    # The two positional fields; msgspec wants keyword-only ones in a class of their own.
    topic: str
    body: bytes


class Message(_Sent, frozen=True, gc=False, kw_only=True):
    """A message to send.

    `body` is 1 byte to 4 MiB. `tag` is one word for filters; `keys` find the message again;
    `properties` map strings to strings (32 KiB together). Messages with the same `ordering_key`
    stay in order. Do not change `properties` or `keys` after the message was handed over.
    """

    tag: str | None = None
    keys: Sequence[str] = ()
    properties: Mapping[str, str] = _NO_PROPERTIES
    ordering_key: str | None = None
    delay: Duration | None = None
    deliver_at: datetime | float | None = None
    delay_level: int | None = None

    def __repr__(self) -> str:
        return shown(self, ())


def shown(message: Any, more: Sequence[str]) -> str:
    """A repr of bounded length: of the body only its start, of properties only the names."""
    parts = [f"topic={message.topic!r}"]
    parts += [f"{name}={getattr(message, name)!r}" for name in more]
    body = message.body
    if isinstance(body, bytes) and len(body) > _SHOWN_BYTES:
        parts.append(f"body={body[:_SHOWN_BYTES]!r}... ({len(body)} bytes)")
    else:
        parts.append(f"body={body!r:.100}")
    for name in ("tag", "keys", "ordering_key"):
        value = getattr(message, name)
        if value:
            parts.append(f"{name}={value!r:.100}")
    if message.properties:
        parts.append(f"properties of {', '.join(map(str, message.properties))!s:.100}")
    return f"{type(message).__name__}({', '.join(parts)})"


def check_message(message: Any) -> None:
    """Everything that can be wrong with a message.

    Raises:
        InvalidArgument: not a message, a wrong type, a name against the rules.
        MessageTooLarge: over a limit.
        NotSupported: it wants to be delayed.
    """
    try:
        reason = why_invalid_topic(message.topic)
        body = message.body
    except AttributeError:
        kind = type(message).__name__
        raise InvalidArgument(f"a message is a shardmq.client.Message, not {kind}") from None
    if reason is not None:
        raise InvalidArgument(reason, code=Code.INVALID_NAME)
    raise_fault(body_fault(body))
    check_metadata(message)


def is_plain(message: Any) -> bool:
    """True if a message has a sound body and nothing else: no more of it needs to be checked but
    its topic's name."""
    try:
        body = message.body
        return (
            type(body) is bytes
            and 0 < len(body) <= BODY_BYTES_MAX
            and message.tag is None
            and message.ordering_key is None
            and not message.keys
            and not message.properties
            and message.delay is None
            and message.deliver_at is None
            and message.delay_level is None
        )
    except AttributeError:
        return False


def check_metadata(message: Any) -> None:
    """The part of `check_message` behind topic and body."""
    raise_fault(metadata_fault(message.tag, message.keys, message.properties, message.ordering_key))
    for name in ("delay", "deliver_at", "delay_level"):
        if getattr(message, name, None) is not None:
            raise NotSupported(f"{name}: delayed messages come with a later release")


def size_of(message: Any) -> int:
    """Bytes that a checked message takes in a batch, about; never less than it does."""
    size = len(message.body) + MESSAGE_BYTES
    if message.tag is not None:
        size += _text_bytes(message.tag)
    if message.ordering_key is not None:
        size += _text_bytes(message.ordering_key)
    if message.keys:
        size += sum(map(_text_bytes, message.keys))
    if message.properties:
        size += sum(map(_text_bytes, message.properties))
        size += sum(map(_text_bytes, message.properties.values()))
    return size


def _text_bytes(text: str) -> int:
    return (len(text) if text.isascii() else 4 * len(text)) + 5


def raise_fault(fault: Fault | None) -> None:
    """Raises the exception of a fault, if there is one."""
    if fault is not None:
        raise _exception(fault)


def _exception(fault: Fault) -> UsageError:
    if fault.code == Code.TOO_LARGE:
        return MessageTooLarge(fault.message)
    return InvalidArgument(fault.message, code=fault.code)
