"""Headers of every request and reply, as msgspec structs: msgpack or JSON maps on the wire.

Unknown keys are ignored, missing ones take the default, integers stay below 2^63, times are
milliseconds since the epoch, ids are strings. A queue is named by its number (u32, given once by
the catalogue and never reused); `queue_id` is its position in its topic.

Numbers and lists carry their bounds as types, so that a decoder refuses what is out of them and no
core meets an integer that does not fit its place in the log.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from .limits import BATCH_MESSAGES_MAX, REQUEST_QUEUES_MAX, REQUEST_TOPICS_MAX

AckMode = Literal["synced", "written", "none"]
U32 = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]
U63 = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
"""Offsets, counts, times and lengths of time."""
_T = TypeVar("_T")
_PerQueue = Annotated[list[_T], Meta(max_length=REQUEST_QUEUES_MAX)]


class Header(msgspec.Struct, omit_defaults=True):
    """What all headers share: defaults are left out on the wire."""


class ErrorReply(Header, kw_only=True):
    """Header of every reply whose code is not OK."""

    name: str
    message: str
    hint: str = ""
    retryable: bool = False
    retry_after_ms: U63 = 0
    shard: U32 | None = None
    """With MOVED: where the queue lives."""


# --- session ---------------------------------------------------------------------------------


class Hello(Header, kw_only=True):
    client: str = ""
    version: str = ""
    language: str = ""
    minor: U32 = 0
    batch_version: U32 = 1
    """Newest record batch version that the client reads."""
    features: list[str] = []


class Limits(Header, kw_only=True):
    body_bytes: U63
    properties_bytes: U63
    batch_bytes: U63
    batch_messages: U63
    frame_bytes: U63
    header_bytes: U63
    request_queues: U63
    reply_bytes: U63
    session_bytes: U63
    session_requests: U63
    wait_ms: U63


class Welcome(Header, kw_only=True):
    session: str
    router_epoch: str
    broker: str
    """Version of the broker."""
    minor: U32
    batch_version: U32
    shards: U32
    heartbeat_ms: U63
    limits: Limits


class Ping(Header):
    pass


class Pong(Header, kw_only=True):
    state: str = "serving"
    """starting, serving, stopping."""


class StatsRequest(Header):
    pass


class StatsReply(Header, kw_only=True):
    actor: str
    pid: U32 = 0
    figures: dict[str, Any] = {}


# --- topics ----------------------------------------------------------------------------------


class QueueRoute(Header, kw_only=True):
    """One queue of a topic."""

    queue_id: U32
    number: U32
    shard: U32
    from_offset: U63 = 0
    """First offset that lives on `shard`."""
    readable: bool = True
    writable: bool = True


class TopicRoute(Header, kw_only=True):
    """A topic as clients and shards know it."""

    topic: str
    topic_id: U32 = 0
    version: U63 = 0
    """Grows with every change of the topic."""
    slots_version: U63 = 0
    """The version in which the slot table last changed."""
    queues: list[QueueRoute] = []
    slots: list[U32] = []
    """slot -> queue_id is `slots[slot % len(slots)]`; a regular table is sent as one period."""
    retention_ms: U63 = 0
    """0: the broker's default."""
    created_at_ms: U63 = 0


class RouteRequest(Header, kw_only=True):
    topics: Annotated[list[str], Meta(max_length=REQUEST_TOPICS_MAX)]
    create: bool = False
    """Create what is missing, where the broker allows it (`serve --auto-create`)."""


class RouteResult(Header, kw_only=True):
    topic: str
    code: U32 = 200
    message: str = ""
    route: TopicRoute | None = None


class RouteReply(Header, kw_only=True):
    topics: list[RouteResult]


class TopicCreate(Header, kw_only=True):
    topic: str
    queues: U32 = 8
    retention_ms: U63 = 0
    request_key: str = ""
    """Names this wish: resent with the same key it answers as the first time."""


class TopicUpdate(Header, kw_only=True):
    """`queues` sets both numbers. Numbers of write and read queues differ while queues are
    drained: RocketMQ's writeQueueNums and readQueueNums."""

    topic: str
    queues: U32 | None = None
    write_queues: U32 | None = None
    read_queues: U32 | None = None
    retention_ms: U63 | None = None


class TopicDelete(Header, kw_only=True):
    topic: str
    topic_id: U32 = 0
    """Only if this is the topic's id (0: any), so that a retry never deletes its successor."""


class TopicReply(Header, kw_only=True):
    route: TopicRoute


class TopicList(Header, kw_only=True):
    system: bool = False
    after: str = ""
    """Names behind this one, for the next page."""
    count_max: U32 = REQUEST_TOPICS_MAX


class TopicSummary(Header, kw_only=True):
    topic: str
    topic_id: U32
    write_queues: U32
    read_queues: U32
    retention_ms: U63 = 0
    created_at_ms: U63 = 0


class TopicListReply(Header, kw_only=True):
    topics: list[TopicSummary]
    more: bool = False


class Define(Header, kw_only=True):
    """The coordinator tells a shard the topics: changed ones, or all after a reconnect."""

    topics: list[TopicRoute] = []
    live_topic_ids: list[U32] | None = None
    """When given, a topic that is not named here is gone."""
    topic_id_max: U32 | None = None
    """The highest topic id that the catalogue has ever given. A shard that knows a higher one
    refuses: the catalogue was lost, or is an old copy, and must not make it drop topics."""


class DefineReply(Header, kw_only=True):
    queues: U32 = 0
    """Queues that the shard now serves."""


# --- data path -------------------------------------------------------------------------------


class PlainMessage(Header, kw_only=True):
    """A message of a JSON client. The body is text, or base64 in `body_base64`."""

    body: str | None = None
    body_base64: str | None = None
    tag: str | None = None
    keys: list[str] = []
    ordering_key: str | None = None
    properties: dict[str, str] = {}
    queue_id: U32 | None = None
    offset: U63 | None = None
    message_id: str | None = None
    born_at_ms: U63 | None = None
    stored_at_ms: U63 | None = None


class ProduceQueue(Header, kw_only=True):
    """One payload frame of a PRODUCE: the batch for this queue."""

    queue: U32
    version: U63 = 0
    """Version of the topic's route that chose the queue; 0: not checked."""


class Produce(Header, kw_only=True):
    ack: AckMode = "synced"
    queues: _PerQueue[ProduceQueue] = []
    topic: str | None = None
    """JSON clients: a topic and plain messages instead of queues and payload frames."""
    messages: Annotated[list[PlainMessage], Meta(max_length=BATCH_MESSAGES_MAX)] = []
    producer_id: str | None = None
    """16 hex digits; with `first_sequence` and a named shard a JSON client's retry is safe."""
    first_sequence: U63 | None = None


class ProduceResult(Header, kw_only=True):
    queue: U32
    code: U32 = 200
    base_offset: U63 = 0
    stored_at_ms: U63 = 0
    duplicate: bool = False
    message: str = ""
    retry_after_ms: U63 = 0


class PlainReceipt(Header, kw_only=True):
    message_id: str
    queue_id: U32
    offset: U63


class ProduceReply(Header, kw_only=True):
    ack: AckMode = "synced"
    """What was reached."""
    queues: list[ProduceResult] = []
    messages: list[PlainReceipt] = []


class FetchQueue(Header, kw_only=True):
    queue: U32
    offset: U63
    generation: U63 = 0
    """Of the group's grant; without a group 0."""


class Fetch(Header, kw_only=True):
    queues: _PerQueue[FetchQueue]
    group_id: U32 = 0
    """Reads for a group: what its subscription does not select may be left out. 0: for nobody."""
    bytes_max: U63 = 1_048_576
    """Credit: the reply's payload is not larger, unless a single batch is."""
    wait_ms: U63 = 0


class FetchResult(Header, kw_only=True):
    """One queue that has news. `frames` payload frames (0 or 1) belong to it, in order."""

    queue: U32
    code: U32 = 200
    frames: U32 = 0
    next_offset: U63 = 0
    """Where to fetch next."""
    earliest: U63 = 0
    latest: U63 = 0
    """Offset behind the last durable message."""
    message: str = ""
    messages: list[PlainMessage] = []


class FetchReply(Header, kw_only=True):
    queues: list[FetchResult] = []


class Taken(Header, kw_only=True):
    """Answers with messages that a router took from a shard since it last said so. The shard holds
    others back while more than ANSWERS_BYTES_MAX are under way to that router."""

    bytes: U63


class TakenReply(Header):
    pass


class OffsetsQueue(Header, kw_only=True):
    queue: U32
    time_ms: U63 | None = None
    """Ask, too, for the first offset stored at or after this time."""


class Offsets(Header, kw_only=True):
    queues: _PerQueue[OffsetsQueue]


class OffsetsResult(Header, kw_only=True):
    queue: U32
    code: U32 = 200
    earliest: U63 = 0
    latest: U63 = 0
    at_time: U63 | None = None


class OffsetsReply(Header, kw_only=True):
    queues: list[OffsetsResult]
