"""Headers of every request and reply, as msgspec structs: msgpack or JSON maps on the wire.

Unknown keys are ignored, missing ones take the default, integers stay below 2^63, times are
milliseconds since the epoch, ids are strings. A queue is named by its number (u32, given once by
the catalogue and never reused); `queue_id` is its position in its topic.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

AckMode = Literal["synced", "written", "none"]


class Header(msgspec.Struct, omit_defaults=True):
    """What all headers share: defaults are left out on the wire."""


class ErrorReply(Header, kw_only=True):
    """Header of every reply whose code is not OK."""

    name: str
    message: str
    hint: str = ""
    retryable: bool = False
    retry_after_ms: int = 0
    shard: int | None = None
    """With MOVED: where the queue lives."""


# --- session ---------------------------------------------------------------------------------


class Hello(Header, kw_only=True):
    client: str = ""
    version: str = ""
    language: str = ""
    minor: int = 0
    batch_version: int = 1
    """Newest record batch version that the client reads."""
    features: list[str] = []


class Limits(Header, kw_only=True):
    body_bytes: int
    properties_bytes: int
    batch_bytes: int
    batch_messages: int
    frame_bytes: int
    header_bytes: int
    request_queues: int
    reply_bytes: int
    session_bytes: int
    session_requests: int
    wait_ms: int


class Welcome(Header, kw_only=True):
    session: str
    router_epoch: str
    broker: str
    """Version of the broker."""
    minor: int
    batch_version: int
    shards: int
    heartbeat_ms: int
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
    pid: int = 0
    figures: dict[str, Any] = {}


# --- topics ----------------------------------------------------------------------------------


class QueueRoute(Header, kw_only=True):
    """One queue of a topic."""

    queue_id: int
    number: int
    shard: int
    from_offset: int = 0
    """First offset that lives on `shard`."""
    readable: bool = True
    writable: bool = True


class TopicRoute(Header, kw_only=True):
    """A topic as clients and shards know it."""

    topic: str
    topic_id: int = 0
    version: int = 0
    """Grows with every change of the topic."""
    slots_version: int = 0
    """The version in which the slot table last changed."""
    queues: list[QueueRoute] = []
    slots: list[int] = []
    """slot -> queue_id is `slots[slot % len(slots)]`; a regular table is sent as one period."""
    retention_ms: int = 0
    """0: the broker's default."""
    created_at_ms: int = 0


class RouteRequest(Header, kw_only=True):
    topics: list[str]
    create: bool = False
    """Create what is missing, where the broker allows it (`serve --auto-create`)."""


class RouteResult(Header, kw_only=True):
    topic: str
    code: int = 200
    message: str = ""
    route: TopicRoute | None = None


class RouteReply(Header, kw_only=True):
    topics: list[RouteResult]


class TopicCreate(Header, kw_only=True):
    topic: str
    queues: int = 8
    retention_ms: int = 0
    request_key: str = ""
    """Names this wish: resent with the same key it answers as the first time."""


class TopicUpdate(Header, kw_only=True):
    """`queues` sets both numbers. Numbers of write and read queues differ while queues are
    drained: RocketMQ's writeQueueNums and readQueueNums."""

    topic: str
    queues: int | None = None
    write_queues: int | None = None
    read_queues: int | None = None
    retention_ms: int | None = None


class TopicDelete(Header, kw_only=True):
    topic: str
    topic_id: int = 0
    """Only if this is the topic's id (0: any), so that a retry never deletes its successor."""


class TopicReply(Header, kw_only=True):
    route: TopicRoute


class TopicList(Header, kw_only=True):
    system: bool = False
    after: str = ""
    """Names behind this one, for the next page."""
    count_max: int = 1_000


class TopicSummary(Header, kw_only=True):
    topic: str
    topic_id: int
    write_queues: int
    read_queues: int
    retention_ms: int = 0
    created_at_ms: int = 0


class TopicListReply(Header, kw_only=True):
    topics: list[TopicSummary]
    more: bool = False


class Define(Header, kw_only=True):
    """The coordinator tells a shard the topics: changed ones, or all after a reconnect."""

    topics: list[TopicRoute] = []
    live_topic_ids: list[int] | None = None
    """When given, a topic that is not named here is gone."""


class DefineReply(Header, kw_only=True):
    queues: int = 0
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
    queue_id: int | None = None
    offset: int | None = None
    message_id: str | None = None
    born_at_ms: int | None = None
    stored_at_ms: int | None = None


class ProduceQueue(Header, kw_only=True):
    """One payload frame of a PRODUCE: the batch for this queue."""

    queue: int
    version: int = 0
    """Version of the topic's route that chose the queue; 0: not checked."""


class Produce(Header, kw_only=True):
    ack: AckMode = "synced"
    queues: list[ProduceQueue] = []
    topic: str | None = None
    """JSON clients: a topic and plain messages instead of queues and payload frames."""
    messages: list[PlainMessage] = []
    producer_id: str | None = None
    """16 hex digits; with `first_sequence` and a named shard a JSON client's retry is safe."""
    first_sequence: int | None = None


class ProduceResult(Header, kw_only=True):
    queue: int
    code: int = 200
    base_offset: int = 0
    stored_at_ms: int = 0
    duplicate: bool = False
    message: str = ""
    retry_after_ms: int = 0


class PlainReceipt(Header, kw_only=True):
    message_id: str
    queue_id: int
    offset: int


class ProduceReply(Header, kw_only=True):
    ack: AckMode = "synced"
    """What was reached."""
    queues: list[ProduceResult] = []
    messages: list[PlainReceipt] = []


class FetchQueue(Header, kw_only=True):
    queue: int
    offset: int


class Fetch(Header, kw_only=True):
    queues: list[FetchQueue]
    bytes_max: int = 1_048_576
    """Credit: the reply's payload is not larger, unless a single batch is."""
    wait_ms: int = 0


class FetchResult(Header, kw_only=True):
    """One queue that has news. `frames` payload frames (0 or 1) belong to it, in order."""

    queue: int
    code: int = 200
    frames: int = 0
    next_offset: int = 0
    """Where to fetch next."""
    earliest: int = 0
    latest: int = 0
    """Offset behind the last durable message."""
    message: str = ""
    messages: list[PlainMessage] = []


class FetchReply(Header, kw_only=True):
    queues: list[FetchResult] = []


class OffsetsQueue(Header, kw_only=True):
    queue: int
    time_ms: int | None = None
    """Ask, too, for the first offset stored at or after this time."""


class Offsets(Header, kw_only=True):
    queues: list[OffsetsQueue]


class OffsetsResult(Header, kw_only=True):
    queue: int
    code: int = 200
    earliest: int = 0
    latest: int = 0
    at_time: int | None = None


class OffsetsReply(Header, kw_only=True):
    queues: list[OffsetsResult]
