"""State records of the coordinator's journal: each decision, as it stands there for good.

Owns their form: msgpack arrays `[tag, fields ...]`. Knows no rules. A record is about one topic or
one group; its place in the journal names it (`holder_of`). A record holds the outcome of a
decision, never the wish, so that a later version with other rules replays an old journal to the
same state. Tags are never reused; fields are only ever appended, with defaults.
"""

from __future__ import annotations

import msgspec

__all__ = [
    "GROUP_BIT",
    "CursorIdGiven",
    "GrantRow",
    "Granted",
    "Group",
    "GroupGone",
    "GroupPut",
    "GroupTopic",
    "Place",
    "Position",
    "QueuesGone",
    "RosterChanged",
    "StateRecord",
    "Topic",
    "TopicGone",
    "TopicPut",
    "decode_state",
    "encode_state",
    "holder_of",
]

GROUP_BIT = 1 << 31
"""Set in the number that a record about a group carries as its queue; the rest is the group's id.
Records about topics carry the topic's id, which stays below."""


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


class Position(msgspec.Struct, array_like=True, frozen=True):
    """Where cursors start: `Start` of the wire."""

    at: str = "latest"
    time_ms: int = 0
    offset: int = 0


class GroupTopic(msgspec.Struct, array_like=True, frozen=True):
    """A group's subscription to a topic."""

    topic: str
    expression: str
    """In its canonical form."""
    kind: str = "tag"
    queue_max: int = 0
    """The highest queue number there was then. Queues that came later are read from their start:
    nothing in them is older than the subscription."""
    revision: int = 0
    """The group's when it took this expression."""


class Group(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """A group, without its members: who they are is known only while they say so."""

    name: str
    group_id: int
    model: str
    strategy: str
    topics: tuple[GroupTopic, ...]
    start: Position
    lease_ms: int
    """The longest that a member asked for: after a restart all have so long to return."""
    retries: bool = False
    created_at_ms: int = 0
    revision: int = 0
    """Grows with each change of what it reads."""


class GroupPut(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """A group is new or has changed."""

    group: Group


class GroupGone(msgspec.Struct, array_like=True, frozen=True, tag=4):
    """A group was deleted, with its grants and cursors."""

    group_id: int


class GrantRow(msgspec.Struct, array_like=True, frozen=True):
    """The grant in force on one queue."""

    queue: int
    generation: int
    member: str
    """Empty: nobody."""
    reset: Position | None = None
    """The cursor moved there with this generation."""
    revision: int = 0
    """Of the expression that went to the shard with it."""


class Granted(msgspec.Struct, array_like=True, frozen=True, tag=5):
    """Grants, in place of former ones on the same queues."""

    group_id: int
    cursor_id: int
    """Under which shards keep the cursors: the group's id, or one that a member of a broadcasting
    group has for itself."""
    rows: tuple[GrantRow, ...]


class QueuesGone(msgspec.Struct, array_like=True, frozen=True, tag=6):
    """Queues that are gone for good have no grants any more."""

    group_id: int
    queues: tuple[int, ...]


class CursorIdGiven(msgspec.Struct, array_like=True, frozen=True, tag=7):
    """A member of a broadcasting group has cursors of its own, under an id like a group's."""

    group_id: int
    member: str
    cursor_id: int
    forgets: str = ""
    """The name of a former member whose cursors go, to make room."""
    queue_max: int = 0
    """The highest queue number there was then, as in `GroupTopic`."""


class RosterChanged(msgspec.Struct, array_like=True, frozen=True, tag=8):
    """Members came to a work group, or went: its grants are everybody's, and name nobody."""

    group_id: int
    came: tuple[str, ...]
    went: tuple[str, ...] = ()


StateRecord = (
    TopicPut
    | TopicGone
    | GroupPut
    | GroupGone
    | Granted
    | QueuesGone
    | CursorIdGiven
    | RosterChanged
)

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[StateRecord] = msgspec.msgpack.Decoder(StateRecord)


def encode_state(record: StateRecord) -> bytes:
    """Payload of a state record."""
    return _encode(record)


def holder_of(record: StateRecord) -> int:
    """The number that the record carries in the journal as its queue."""
    if isinstance(record, TopicPut):
        return record.topic.topic_id
    if isinstance(record, TopicGone):
        return record.topic_id
    group_id = record.group.group_id if isinstance(record, GroupPut) else record.group_id
    return GROUP_BIT | group_id


def decode_state(payload: bytes) -> StateRecord:
    """The record in `payload`.

    Raises:
        msgspec.MsgspecError: written by a newer version; this one cannot open the journal.
    """
    return _decoder.decode(payload)
