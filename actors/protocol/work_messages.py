"""Headers of the requests of work queues: messages are handed out and settled one by one.

Owns their form, as `messages.py` does for the rest, with its rules. Knows no rules of work queues.

A member of a group of model `work` holds no queue for itself: all members hold all queues, under
one generation. It asks a shard for messages (RECEIVE), which are then invisible to the others for a
while, and says of each what became of it (SETTLE). Queue, generation, offset and the receipt of the
RECEIVE prove to whom a message was handed out; who comes too late hears RECEIPT_EXPIRED.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from .group_messages import Range
from .limits import (
    INVISIBLE_MS,
    NACK_DETAIL_CHARS_MAX,
    REQUEST_QUEUES_MAX,
)
from .messages import U32, U63, Header, PlainMessage

EVERYBODY: Final = "*"
"""In place of a member's name: a grant that all members of a work group share."""
WORK_MODELS: Final = frozenset({"work", "work_fifo"})
"""The models of work groups."""
_Text = Annotated[str, Meta(max_length=NACK_DETAIL_CHARS_MAX)]


class Receive(Header, kw_only=True):
    """Wants messages of any queue of the group on this shard."""

    group_id: U32
    receipt: U63
    """Chosen at random for each RECEIVE, not 0. One that comes again (its answer was lost) with a
    known receipt gets the same messages again."""
    count_max: U32 = 32
    """At most RECEIVE_MESSAGES_MAX. 0: only waits until there is something to receive."""
    bytes_max: U63 = 1_048_576
    """Credit: the reply's payload is not larger, unless a single message is."""
    invisible_ms: U63 = INVISIBLE_MS
    """How long nobody else gets them: 1 to INVISIBLE_MS_MAX."""
    wait_ms: U63 = 0
    """Whoever may be gone by then should wait with `count_max` 0: a shard does not hear of
    connections that end, and would hand messages out to nobody."""
    max_attempts: U32 = 16
    """A message that was handed out so often goes to the dead letters instead."""
    fifo: bool = False
    """Of a queue of which something is handed out and not done, nothing is given."""


class ReceivedPart(Header, kw_only=True):
    """Messages of one queue that lie side by side. A payload frame belongs to each part, in order:
    a batch that holds these messages and no others."""

    queue: U32
    generation: U63
    offset: U63
    """Of the first."""
    count: U32
    attempt: U32 = 1
    """How often they have been handed out, this time included."""
    stored_at_ms: U63 = 0
    messages: list[PlainMessage] = []
    """For JSON clients, instead of a payload frame."""


class ReceiveFault(Header, kw_only=True):
    """Messages of one queue that cannot be handed out; they are passed over."""

    queue: U32
    code: U32
    offset: U63
    next_offset: U63
    message: str = ""


class ReceiveReply(Header, kw_only=True):
    until_ms: U63 = 0
    """When the messages become visible again, by the broker's clock."""
    parts: list[ReceivedPart] = []
    faults: list[ReceiveFault] = []


class SettleItem(Header, kw_only=True):
    """What became of messages that lie side by side and have the same receipt."""

    queue: U32
    generation: U63
    receipt: U63
    start: U63
    stop: U63
    """Behind the last."""
    act: Literal["ack", "nack", "invisible", "return"] = "ack"
    """`ack`: done. `nack`: failed; they come again after `delay_ms`, or are dead letters.
    `invisible`: they stay with the receiver for `delay_ms` from now. `return`: others get them at
    once, and this time does not count as an attempt."""
    delay_ms: U63 | None = None
    """None, of `nack`: by the table of retry levels and the message's attempts."""
    dead: bool = False
    """Of `nack`: to the dead letters at once."""
    cause: _Text = ""
    detail: _Text = ""
    """A stack trace, for people."""


class Settle(Header, kw_only=True):
    """Answered once it is durable. Settled again alike changes nothing."""

    group_id: U32
    max_attempts: U32 = 16
    """A message that failed and was handed out so often goes to the dead letters."""
    items: Annotated[list[SettleItem], Meta(max_length=REQUEST_QUEUES_MAX)]


class SettleResult(Header, kw_only=True):
    """Of the item at the same place."""

    code: U32
    expired: list[Range] = []
    """With RECEIPT_EXPIRED: the offsets for which it came too late; the others are settled."""
    dead: list[U63] = []
    """Offsets that went to the dead letters."""
    message: str = ""


class SettleReply(Header, kw_only=True):
    results: Annotated[list[SettleResult], Meta(max_length=REQUEST_QUEUES_MAX)] = []
