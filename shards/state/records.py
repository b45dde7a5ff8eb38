"""State records: every decision of a shard that is not a batch, as it stands in its journal.

Owns their form: msgpack arrays `[tag, fields ...]`. Knows no projection. Tags are never reused;
fields are only ever appended, with defaults, so that older logs stay readable.

A record is about one bucket (`buckets.py`): the journal's prefix carries a number of that bucket as
the record's queue, so that a projection sees from prefix and tag alone whether it is concerned.
"""

from __future__ import annotations

from typing import Final

import msgspec

from shardmq.actors.protocol.messages import TopicRoute

__all__ = [
    "CARRIED",
    "CURSORS_MOVED",
    "EARLIEST_RAISED",
    "ENTRIES_ENDED",
    "GRANTED",
    "GROUPS_FORGOTTEN",
    "HANDED_OUT",
    "PRODUCERS_FORGOTTEN",
    "QUEUES_DROPPED",
    "SCHEDULED",
    "TOPIC_DEFINED",
    "TOPIC_DROPPED",
    "WATERMARK_RAISED",
    "Carried",
    "CarriedPlace",
    "CursorMove",
    "CursorsMoved",
    "EarliestRaised",
    "EntriesEnded",
    "EntryName",
    "Granted",
    "GrantedQueue",
    "GroupsForgotten",
    "HandedOut",
    "HandedQueue",
    "ProducersForgotten",
    "QueuePlace",
    "QueuesDropped",
    "Scheduled",
    "ScheduledEntry",
    "StateRecord",
    "TopicDefined",
    "TopicDefinition",
    "TopicDropped",
    "WatermarkRaised",
    "decode_state",
    "encode_state",
    "tag_of",
]

TOPIC_DEFINED: Final = 1
TOPIC_DROPPED: Final = 2
QUEUES_DROPPED: Final = 3
EARLIEST_RAISED: Final = 4
PRODUCERS_FORGOTTEN: Final = 5
GRANTED: Final = 6
CURSORS_MOVED: Final = 7
GROUPS_FORGOTTEN: Final = 8
SCHEDULED: Final = 10
ENTRIES_ENDED: Final = 11
WATERMARK_RAISED: Final = 12
HANDED_OUT: Final = 13
CARRIED: Final = 14


class QueuePlace(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One queue of a topic; 10,000 of them take 100 KB in the log."""

    queue_id: int
    number: int
    shard: int
    from_offset: int = 0
    readable: bool = True
    writable: bool = True


class TopicDefinition(msgspec.Struct, array_like=True, frozen=True):
    """A topic as the coordinator defined it, with the queues of all shards (a JSON client is told
    where a key's queue lives)."""

    topic: str
    topic_id: int
    version: int
    slots_version: int
    retention_ms: int
    created_at_ms: int
    slots: list[int]
    queues: list[QueuePlace]

    @classmethod
    def of_route(cls, route: TopicRoute) -> TopicDefinition:
        """The lasting form of what DEFINE carries."""
        queues = [
            QueuePlace(one.queue_id, one.number, one.shard, one.from_offset, one.readable,
                       one.writable)
            for one in route.queues
        ]  # fmt: skip
        return cls(
            route.topic, route.topic_id, route.version, route.slots_version, route.retention_ms,
            route.created_at_ms, route.slots, queues,
        )  # fmt: skip


class TopicDefined(msgspec.Struct, array_like=True, frozen=True, tag=TOPIC_DEFINED):
    """A topic is new or has changed. Concerns: topics, the bucket of its id."""

    definition: TopicDefinition


class TopicDropped(msgspec.Struct, array_like=True, frozen=True, tag=TOPIC_DROPPED):
    """A topic is gone. Its queues go by records of their own. Concerns: topics."""

    topic_id: int


class QueuesDropped(msgspec.Struct, array_like=True, frozen=True, tag=QUEUES_DROPPED):
    """Queues, all of one bucket, are gone for ever. Concerns: queues, producers,
    cursors, schedule."""

    queues: list[int]


class EarliestRaised(msgspec.Struct, array_like=True, frozen=True, tag=EARLIEST_RAISED):
    """[queue, earliest offset], all of one bucket: what lies below is not served any more.
    Concerns: queues."""

    offsets: list[tuple[int, int]]


class ProducersForgotten(msgspec.Struct, array_like=True, frozen=True, tag=PRODUCERS_FORGOTTEN):
    """The `count` entries of the bucket that were silent longest are gone. Concerns: producers."""

    count: int


class GrantedQueue(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One queue of a grant."""

    queue: int
    generation: int
    member: str
    """Empty: nobody."""
    expression: str
    """In its canonical form."""
    floor: int | None = None
    """Where the cursor begins, or is moved to; None: it stays as it is."""


class Granted(msgspec.Struct, array_like=True, frozen=True, tag=GRANTED):
    """Who reads queues, all of one bucket, for a group. Concerns: cursors."""

    group_id: int
    group: str
    queues: list[GrantedQueue]


class CursorMove(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is done with in a queue, besides what was: all below `floor`, and the ranges whose
    bounds `acked` are (see `ranges.py`)."""

    queue: int
    floor: int
    acked: list[int] = []


class CursorsMoved(msgspec.Struct, array_like=True, frozen=True, tag=CURSORS_MOVED):
    """A group's cursors on queues, all of one bucket, went on. Concerns: cursors."""

    group_id: int
    moves: list[CursorMove]


class GroupsForgotten(msgspec.Struct, array_like=True, frozen=True, tag=GROUPS_FORGOTTEN):
    """All cursors of the groups in the record's bucket are gone. Concerns: cursors."""

    group_ids: list[int]


class ScheduledEntry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One message that is to come again, or for the first time, later."""

    offset: int
    """In the queue that the record's prefix names."""
    lsn: int
    """Of the batch that holds it."""
    due_ms: int
    attempt: int
    """How often it will have been delivered: counts from 1."""
    cause: str = ""
    detail: str = ""
    earlier: tuple[tuple[int, int, str], ...] = ()
    """Failures before this one that were told with it: (attempt, failed at ms, cause)."""


class Scheduled(msgspec.Struct, array_like=True, frozen=True, tag=SCHEDULED):
    """Messages of the queue in the record's prefix fall due later, and are done with for a group,
    if one is named. Concerns: cursors (bucket of the prefix's queue), schedule (`bucket`)."""

    bucket: int
    """Of `destination`; it stands first so that it is read without decoding."""
    destination: int
    """Queue that will get the copies."""
    kind: int
    """DELIVER, RETRY or CHECK, see `schedule.py`."""
    dead: bool
    """The copies are dead letters."""
    group_id: int
    topic: str
    """Of the queue in the prefix, which may be gone when the messages fall due."""
    queue_id: int
    entries: list[ScheduledEntry]


EntryName = tuple[int, int, int]
"""Of an entry of the schedule; see `schedule.py`."""


class EntriesEnded(msgspec.Struct, array_like=True, frozen=True, tag=ENTRIES_ENDED):
    """Entries for the queue in the record's prefix ended without a copy. Concerns: schedule."""

    names: list[EntryName]
    reason: str


class CarriedPlace(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where the message of an entry lies now."""

    offset: int
    """In the queue of what was carried (`queues.py`)."""
    decided_at_ms: int
    """Stamp of the record that made the entry in the first place."""


class Carried(msgspec.Struct, array_like=True, frozen=True, tag=CARRIED):
    """Messages of entries, all for one queue, were appended again, so that the log in front of
    `cut_lsn` may go. Concerns: schedule."""

    bucket: int
    """Of the entries' queue; it stands first so that it is read without decoding."""
    cut_lsn: int
    ended: list[EntryName]
    """In favour of those of `scheduled`."""
    scheduled: Scheduled
    """What was decided once, its entries with the position of the batch that holds them now."""
    places: list[CarriedPlace]
    """Of `scheduled.entries`, one each."""


class WatermarkRaised(msgspec.Struct, array_like=True, frozen=True, tag=WATERMARK_RAISED):
    """All entries up to `until_ms` are due. Concerns: schedule, its own bucket."""

    until_ms: int


class HandedQueue(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Messages of a queue that are in a receiver's hands, or wait there to be handed out again; as
    rows of `handouts.py`."""

    queue: int
    receipt: int
    until_ms: int
    """When they are visible to others."""
    held: bool
    pieces: list[tuple[int, int, int]]
    """[first offset, offset behind the last, how often they have been handed out]."""


class HandedOut(msgspec.Struct, array_like=True, frozen=True, tag=HANDED_OUT):
    """Messages of queues, all of one bucket, are handed out for a group; what its filter left out
    on the way to them is done with. Concerns: cursors."""

    group_id: int
    queues: list[HandedQueue]
    moves: list[CursorMove] = []


StateRecord = (
    TopicDefined
    | TopicDropped
    | QueuesDropped
    | EarliestRaised
    | ProducersForgotten
    | Granted
    | CursorsMoved
    | GroupsForgotten
    | Scheduled
    | EntriesEnded
    | WatermarkRaised
    | HandedOut
    | Carried
)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StateRecord).decode


def encode_state(record: StateRecord) -> bytes:
    """Payload of a STATE record."""
    return _encode(record)


def decode_state(payload: bytes) -> StateRecord:
    """The state record in `payload`.

    Raises:
        msgspec.MsgspecError: written by a newer version; the log cannot be opened by this one.
    """
    return _decode(payload)  # type: ignore[no-any-return]


def tag_of(payload: bytes) -> int:
    """Tag of a state record, without decoding it."""
    # A short msgpack array is one byte, a small integer the next.
    return payload[1]
