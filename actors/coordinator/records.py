"""State records of the coordinator's journal: each decision, as it stands there for good.

Owns their form: msgpack arrays `[tag, fields ...]`. Knows no rules. A record holds the outcome of a
decision, never the wish, so that a later version with other rules replays an old journal to the
same state. Tags are never reused; fields are only ever appended, with defaults.
"""

from __future__ import annotations

import msgspec

__all__ = ["Place", "StateRecord", "Topic", "TopicGone", "TopicPut", "decode_state", "encode_state"]


class Place(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where a queue lives: from `from_offset` on at `shard`."""

    number: int
    shard: int
    from_offset: int = 0


class Topic(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """A topic. A queue's `queue_id` is its position in `places`; queues below `write_queues` take
    messages, all of them can be read."""

    name: str
    topic_id: int
    version: int
    slots_version: int
    write_queues: int
    places: tuple[Place, ...]
    slots: tuple[int, ...]
    """slot -> queue_id is `slots[slot % len(slots)]`."""
    retention_ms: int = 0
    created_at_ms: int = 0
    request_key: str = ""
    """Of the wish that created it."""


class TopicPut(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """A topic is new or has changed."""

    topic: Topic


class TopicGone(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """A topic was deleted."""

    topic_id: int


StateRecord = TopicPut | TopicGone

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[StateRecord] = msgspec.msgpack.Decoder(StateRecord)


def encode_state(record: StateRecord) -> bytes:
    """Payload of a state record."""
    return _encode(record)


def decode_state(payload: bytes) -> StateRecord:
    """The record in `payload`.

    Raises:
        msgspec.MsgspecError: written by a newer version; this one cannot open the journal.
    """
    return _decoder.decode(payload)
