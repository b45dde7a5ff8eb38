"""ReceivedMessage: what a consumer gets. Owns lazy access to one row of a record batch.

A batch of 2,000 messages becomes 2,000 of these in one `map`; a row's tag, keys or properties are
looked up when asked for, in columns that are decoded once for the whole batch. A message keeps its
batch (up to 8 MiB) in memory: copy the body out of those that are kept for long.

A message that failed and comes again lies in its group's retry queue, as a copy that says where it
was first. It is shown as the message it was, only `attempt` has grown.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from copy import copy
from datetime import datetime
from functools import cached_property
from itertools import repeat
from typing import Any, NamedTuple

import msgspec

from shardmq.actors.protocol import retries
from shardmq.actors.protocol.batch import BatchError, BatchView, message_id

from .errors import InvalidArgument
from .message import shown
from .times import datetime_of

__all__ = [
    "Delivery",
    "Origin",
    "ReceivedMessage",
    "again",
    "are_of",
    "messages_of",
    "place_of",
    "rows_of",
]

_NO_PROPERTIES: Mapping[str, str] = {}


class Origin(NamedTuple):
    """Where a message was first stored, and how often it was delivered by now."""

    topic: str
    queue_id: int
    offset: int
    attempt: int


class Delivery:
    """One record batch as it came: where it lies, and its columns once they are decoded."""

    def __init__(
        self, topic: str, queue_id: int, base_offset: int, stored_at_ms: int, view: BatchView
    ) -> None:
        self.topic = topic
        self.queue_id = queue_id
        self.base_offset = base_offset
        self.stored_at_ms = stored_at_ms
        self.view = view
        self.attempt = 1
        """Of all its messages; those of a retry queue know better."""
        self.is_retry = topic.startswith(retries.RETRY_PREFIX)

    def until_ms_of(self, index: int) -> int | None:
        """Until when a message is nobody else's; None where that has no end."""

    def again(self, attempt: int) -> Delivery:
        """The same batch as it is delivered another time."""
        copied = copy(self)
        copied.attempt = attempt
        return copied

    @cached_property
    def origins(self) -> list[Origin]:
        """Of a retry queue's messages, from what the shard wrote into them."""
        return [_origin(properties) for properties in self.view.properties() or ()]

    @cached_property
    def tags(self) -> Sequence[str | None] | None:
        return self.view.tags()

    @cached_property
    def keys(self) -> list[list[str]] | None:
        return self.view.keys()

    @cached_property
    def ordering_keys(self) -> Sequence[str | None] | None:
        return self.view.ordering_keys()

    @cached_property
    def properties(self) -> list[dict[str, str]] | None:
        properties = self.view.properties()
        if self.is_retry and properties is not None:
            properties = [retries.without_system(one) for one in properties]
        return properties

    @cached_property
    def message_ids(self) -> list[str] | None:
        return self.view.message_ids()

    @cached_property
    def offset_deltas(self) -> list[int] | None:
        return self.view.offset_deltas()


class ReceivedMessage(msgspec.Struct, frozen=True, gc=False):
    """A message as it is stored. It can be handed to a producer again as it is."""

    _delivery: Delivery
    _index: int
    body: bytes

    @property
    def topic(self) -> str:
        delivery = self._delivery
        return delivery.origins[self._index].topic if delivery.is_retry else delivery.topic

    @property
    def queue_id(self) -> int:
        delivery = self._delivery
        return delivery.origins[self._index].queue_id if delivery.is_retry else delivery.queue_id

    @property
    def offset(self) -> int:
        delivery = self._delivery
        return delivery.origins[self._index].offset if delivery.is_retry else place_of(self)

    @property
    def tag(self) -> str | None:
        tags = self._delivery.tags
        return tags[self._index] if tags else None

    @property
    def keys(self) -> tuple[str, ...]:
        keys = self._delivery.keys
        return tuple(keys[self._index]) if keys else ()

    @property
    def properties(self) -> Mapping[str, str]:
        properties = self._delivery.properties
        return properties[self._index] if properties else _NO_PROPERTIES

    @property
    def ordering_key(self) -> str | None:
        ordering_keys = self._delivery.ordering_keys
        return ordering_keys[self._index] if ordering_keys else None

    @property
    def message_id(self) -> str:
        """The id that the producer's receipt named, 32 hex digits."""
        ids = self._delivery.message_ids
        if ids:
            return ids[self._index]
        head = self._delivery.view.head
        return message_id(head.producer_id, head.first_sequence + self._index)

    @property
    def born_at(self) -> datetime:
        """When the producer took it, as its clock said (the first message of its batch)."""
        return datetime_of(self._delivery.view.head.first_born_ms)

    @property
    def stored_at(self) -> datetime:
        """When the broker stored it, as its clock said."""
        return datetime_of(self._delivery.stored_at_ms)

    @property
    def delay(self) -> None:
        """None: it has been delivered."""

    @property
    def deliver_at(self) -> None:
        """None: it has been delivered."""

    @property
    def delay_level(self) -> None:
        """None: it has been delivered."""

    @property
    def attempt(self) -> int:
        """1 for the first delivery to a group."""
        delivery = self._delivery
        if delivery.is_retry:
            return delivery.origins[self._index].attempt + delivery.attempt - 1
        return delivery.attempt

    @property
    def invisible_until(self) -> datetime | None:
        """Of a message of a work queue: until when nobody else gets it, by the broker's clock.
        None for other messages."""
        until_ms = self._delivery.until_ms_of(self._index)
        return None if until_ms is None else datetime_of(until_ms)

    def __repr__(self) -> str:
        return shown(self, ("queue_id", "offset", "message_id"))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ReceivedMessage):
            return NotImplemented
        return _place(self) == _place(other)

    def __hash__(self) -> int:
        return hash(_place(self))


def _place(message: ReceivedMessage) -> tuple[str, int, int, str]:
    return message.topic, message.queue_id, message.offset, message.message_id


def messages_of(delivery: Delivery, from_offset: int) -> list[ReceivedMessage]:
    """The messages of a batch at or behind `from_offset`.

    Raises:
        BatchError: the batch is malformed.
    """
    bodies: Sequence[bytes] = delivery.view.bodies()
    make: Any = ReceivedMessage
    messages = list(map(make, repeat(delivery), range(len(bodies)), bodies))
    if from_offset <= delivery.base_offset:
        return messages
    if delivery.offset_deltas is None:
        return messages[from_offset - delivery.base_offset :]
    return [message for message in messages if place_of(message) >= from_offset]


def place_of(message: ReceivedMessage) -> int:
    """The offset at which a message lies in the queue that it was read from."""
    delivery, index = message._delivery, message._index
    deltas = delivery.offset_deltas
    return delivery.base_offset + (deltas[index] if deltas else index)


def rows_of(messages: Iterable[object]) -> dict[Delivery, list[int]]:
    """What messages came with, and their rows there.

    Raises:
        InvalidArgument: one is no received message.
    """
    found: dict[Delivery, list[int]] = {}
    last: Delivery | None = None
    rows: list[int] = []
    for message in messages:
        if not isinstance(message, ReceivedMessage):
            kind = type(message).__name__
            raise InvalidArgument(f"only received messages can be settled, not {kind}")
        delivery = message._delivery
        if delivery is not last:
            last = delivery
            rows = found.setdefault(delivery, [])
        rows.append(message._index)
    return found


def are_of(
    messages: Iterable[ReceivedMessage], delivery: Delivery, rows: Container[int]
) -> list[ReceivedMessage]:
    """Those that lie in some rows of a delivery."""
    return [one for one in messages if one._delivery is delivery and one._index in rows]


def again(message: ReceivedMessage, attempt: int) -> ReceivedMessage:
    """The same message as it is delivered another time."""
    return ReceivedMessage(message._delivery.again(attempt), message._index, message.body)


def _origin(properties: Mapping[str, str]) -> Origin:
    try:
        return Origin(
            properties[retries.TOPIC],
            int(properties[retries.QUEUE]),
            int(properties[retries.OFFSET]),
            int(properties[retries.ATTEMPT]),
        )
    except (KeyError, ValueError) as error:
        raise BatchError(f"a copy does not say where its message was first: {error!r}") from None
