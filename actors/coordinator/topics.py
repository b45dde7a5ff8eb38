"""Topic rules: what a topic becomes when somebody creates or changes it.

Owns the rules. Pure functions over values; knows neither journal nor requests.

As in RocketMQ a topic has two numbers. Queues below `write_queues` take messages, queues below
`read_queues` can be read, and no queue takes messages that nobody could read:

    0 ........ write_queues ........ read_queues
    | open    | draining            | gone

* Growing adds queues behind the last one. The slot table stays, so every ordering key keeps its
  queue and its order; the new queues take messages without a key.
* Lowering `write_queues` closes queues for new messages. Only the slots of the closed queues are
  dealt out anew, over all that are open. Raising it again opens them again.
* Lowering `read_queues` ends queues for good, with what is in them. It is allowed only for queues
  that are closed for writing already: close, let them be drained, then drop. A queue that is added
  later at the same place has a new number and starts empty.
"""

from __future__ import annotations

from ..protocol.codes import Code
from ..protocol.limits import SLOTS, SYSTEM_TOPICS_MAX, TOPIC_QUEUES_MAX, TOPICS_MAX
from ..protocol.messages import QueueRoute, TopicRoute, TopicSummary, TopicUpdate
from ..protocol.names import is_system, why_invalid_topic
from ..protocol.slots import slots_moved
from .records import Place, Topic

__all__ = [
    "Refused",
    "check_name",
    "check_system_room",
    "created",
    "route_bytes",
    "route_of",
    "summary_of",
    "updated",
]

QUEUE_NUMBER_MAX = (1 << 32) - 1


class Refused(Exception):
    """The rules do not allow it; `code` and the text say which and what would."""

    def __init__(self, code: Code, message: str, *, retry_after_ms: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_ms = retry_after_ms


def check_name(name: str) -> None:
    """Whether a user may create, change or delete a topic of this name.

    Raises:
        Refused: no valid name, or one of the system's.
    """
    why = why_invalid_topic(name)
    if why is not None:
        raise Refused(Code.INVALID_NAME, why)
    if is_system(name):
        text = f"{name} belongs to the system: it can be read, not created, changed or deleted"
        raise Refused(Code.FORBIDDEN, text)


def check_system_room(topics: int) -> None:
    """Whether there may be so many topics of the system.

    Raises:
        Refused: there would be too many.
    """
    if topics > SYSTEM_TOPICS_MAX:
        text = f"there may be {SYSTEM_TOPICS_MAX} retry and dead letter topics; delete %DLQ%GROUP"
        raise Refused(Code.BUSY, f"{text} of groups that are gone, or groups that nobody uses")


def created(
    name: str,
    *,
    topic_id: int,
    first_queue: int,
    queues: int,
    shards: int,
    retention_ms: int,
    broker_retention_ms: int,
    now_wall_ms: int,
    request_key: str = "",
    topics: int = 0,
) -> Topic:
    """A new topic; its queues go over the shards in turn, starting with another one each time.

    Args:
        topics: how many of the users there are already.

    Raises:
        Refused: a number is out of its limits.
    """
    if topics >= TOPICS_MAX:
        raise Refused(Code.BUSY, f"there are {TOPICS_MAX} topics, that is all there may be")
    _check_queues("queues", queues)
    _check_retention(retention_ms, broker_retention_ms)
    return Topic(
        name=name,
        topic_id=topic_id,
        version=1,
        slots_version=1,
        write_queues=queues,
        places=_places(topic_id, first_queue, range(queues), shards),
        # A fresh deal has a period: slot % queues.
        slots=tuple(range(min(queues, SLOTS))),
        retention_ms=retention_ms,
        created_at_ms=now_wall_ms,
        request_key=request_key,
    )


def updated(
    topic: Topic, wish: TopicUpdate, *, next_queue: int, shards: int, broker_retention_ms: int
) -> Topic:
    """`topic` as `wish` wants it; the same object if it is so already.

    Raises:
        Refused: the numbers break a rule or a limit.
    """
    write_queues, read_queues = _wanted(topic, wish)
    retention_ms = topic.retention_ms if wish.retention_ms is None else wish.retention_ms
    _check_retention(retention_ms, broker_retention_ms)
    was_read = len(topic.places)
    unchanged = (topic.write_queues, was_read, topic.retention_ms)
    if (write_queues, read_queues, retention_ms) == unchanged:
        return topic
    places = topic.places[:read_queues] + _places(
        topic.topic_id, next_queue, range(was_read, read_queues), shards
    )
    version = topic.version + 1
    slots = _slots_of(topic, write_queues)
    return Topic(
        name=topic.name,
        topic_id=topic.topic_id,
        version=version,
        slots_version=topic.slots_version if slots == topic.slots else version,
        write_queues=write_queues,
        places=places,
        slots=slots,
        retention_ms=retention_ms,
        created_at_ms=topic.created_at_ms,
        request_key=topic.request_key,
    )


def route_of(topic: Topic) -> TopicRoute:
    """The topic as clients and shards see it."""
    return TopicRoute(
        topic=topic.name,
        topic_id=topic.topic_id,
        version=topic.version,
        slots_version=topic.slots_version,
        queues=[
            QueueRoute(
                queue_id=queue_id,
                number=place.number,
                shard=place.shard,
                from_offset=place.from_offset,
                writable=queue_id < topic.write_queues,
            )
            for queue_id, place in enumerate(topic.places)
        ],
        slots=list(topic.slots),
        retention_ms=topic.retention_ms,
        created_at_ms=topic.created_at_ms,
    )


def route_bytes(topic: Topic) -> int:
    """An upper bound for the size of the topic's route as msgpack."""
    return 256 + 4 * len(topic.name) + 72 * len(topic.places) + 3 * len(topic.slots)


def summary_of(topic: Topic) -> TopicSummary:
    """One line of a list."""
    return TopicSummary(
        topic=topic.name,
        topic_id=topic.topic_id,
        write_queues=topic.write_queues,
        read_queues=len(topic.places),
        retention_ms=topic.retention_ms,
        created_at_ms=topic.created_at_ms,
    )


def _wanted(topic: Topic, wish: TopicUpdate) -> tuple[int, int]:
    """The numbers (write, read) that `wish` asks for."""
    apart = wish.write_queues is not None or wish.read_queues is not None
    if wish.queues is not None and apart:
        text = "`queues` sets both numbers; give it alone, or `write_queues` and `read_queues`"
        raise Refused(Code.INVALID_ARGUMENT, text)
    default_write = topic.write_queues if wish.queues is None else wish.queues
    default_read = len(topic.places) if wish.queues is None else wish.queues
    write_queues = default_write if wish.write_queues is None else wish.write_queues
    read_queues = default_read if wish.read_queues is None else wish.read_queues
    _check_queues("write_queues", write_queues)
    _check_queues("read_queues", read_queues)
    if write_queues > read_queues:
        text = f"{write_queues} queues to write but {read_queues} to read: nobody could read all"
        raise Refused(Code.INVALID_ARGUMENT, f"{text}; raise `read_queues`, too")
    if read_queues < topic.write_queues:
        still_open = f"queues {read_queues} to {topic.write_queues - 1} of {topic.name}"
        text = f"{still_open} still take messages; lower `write_queues` alone first, let them be"
        raise Refused(Code.INVALID_ARGUMENT, f"{text} drained, then lower `read_queues`")
    return write_queues, read_queues


def _check_queues(noun: str, count: int) -> None:
    if not 1 <= count <= TOPIC_QUEUES_MAX:
        text = f"`{noun}` is 1 to {TOPIC_QUEUES_MAX}, not {count}"
        raise Refused(Code.INVALID_ARGUMENT, text)


def _check_retention(retention_ms: int, broker_retention_ms: int) -> None:
    if retention_ms < 0:
        raise Refused(Code.INVALID_ARGUMENT, f"`retention_ms` is 0 or more, not {retention_ms}")
    if broker_retention_ms and retention_ms > broker_retention_ms:
        over = retention_ms - broker_retention_ms
        text = f"`retention_ms` is {over} over the broker's own {broker_retention_ms}"
        raise Refused(Code.INVALID_ARGUMENT, f"{text}: the log keeps nothing for longer")


def _places(topic_id: int, first_queue: int, queue_ids: range, shards: int) -> tuple[Place, ...]:
    if first_queue + len(queue_ids) > QUEUE_NUMBER_MAX:
        raise Refused(Code.BUSY, "all queue numbers were given; this data directory is full")
    return tuple(
        Place(number=first_queue + index, shard=(topic_id + queue_id) % shards)
        for index, queue_id in enumerate(queue_ids)
    )


def _slots_of(topic: Topic, write_queues: int) -> tuple[int, ...]:
    """The slot table when queues below `write_queues` are open."""
    slots = topic.slots
    if max(slots) < write_queues:
        return slots
    table = [slots[slot % len(slots)] for slot in range(SLOTS)]
    return tuple(slots_moved(table, range(write_queues)))
