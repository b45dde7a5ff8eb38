"""Group history: what members of consumer groups were shown, were handed, and were promised.

Owns the records that the group checkers read, and offsets as sets. Must not know how anything
happened. A set of offsets is one whole number, bit `n` for offset `n`: union, difference and the
lowest missing offset are one operation each, and nothing of it is shared with the code under test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from shardmq.actors.protocol.retries import retry_topic
from shardmq.actors.protocol.tags import TagFilter
from shardmq.actors.protocol.work_messages import WORK_MODELS

from .cursor_log import CursorLog, Reset

Place = tuple[str, int]
"""(group, queue number)."""
Range = tuple[int, int]


def below(offset: int) -> int:
    """The set of all offsets below one."""
    return (1 << offset) - 1


def set_of(floor: int, ranges: Iterable[Range]) -> int:
    """The set of what lies below `floor` or in `ranges`."""
    found = below(floor)
    for first, stop in ranges:
        found |= below(stop) & ~below(first)
    return found


def floor_of(offsets: int) -> int:
    """The lowest offset that is missing."""
    return (~offsets & (offsets + 1)).bit_length() - 1


def ranges_of(offsets: int) -> list[Range]:
    """What a set has above its floor, as ranges."""
    found = []
    at = floor_of(offsets)
    rest = offsets >> at
    while rest:
        gap = (rest & -rest).bit_length() - 1
        at, rest = at + gap, rest >> gap
        length = floor_of(rest)
        found.append((at, at + length))
        at, rest = at + length, rest >> length
    return found


@dataclass
class Group:
    """What all members of a group agree on."""

    name: str
    subscriptions: dict[str, str]
    """Topic -> expression."""
    start: str = "earliest"
    strategy: str = "sticky"
    lease_ms: int = 1_000
    retries: bool = False
    max_attempts: int = 3
    model: str = "clustering"
    group_id: int = 0
    of: str = ""
    """What the broker calls it, if that is not its name. Each member of a broadcasting group is a
    group for itself here, with all that groups are promised."""
    alone: str = ""
    """The name of that member."""
    filters: dict[str, TagFilter] = field(init=False)

    def __post_init__(self) -> None:
        self.filters = {topic: TagFilter(text) for topic, text in self.subscriptions.items()}

        if self.retries:
            self.filters[retry_topic(self.name)] = TagFilter("*")

    @property
    def is_work(self) -> bool:
        return self.model in WORK_MODELS

    @property
    def wire_name(self) -> str:
        return self.of or self.name

    @property
    def is_fifo(self) -> bool:
        return self.model == "work_fifo"

    @property
    def topics(self) -> tuple[str, ...]:
        """All that its members read."""
        return tuple(self.filters)

    def selects(self, topic: str, tag: str | None) -> bool:
        chosen = self.filters.get(topic)
        return chosen is not None and chosen.selects(tag)


class Shown(NamedTuple):
    """A queue in an answer to EVENTS."""

    group: str
    queue: int
    generation: int
    member: str
    asked_ms: float
    answered_ms: float


class Accepted(NamedTuple):
    """A shard answered a FETCH or an ACK for a queue with OK."""

    group: str
    queue: int
    generation: int
    member: str
    asked_ms: float
    answered_ms: float


class Promise(NamedTuple):
    """From `answered_ms` on these offsets are done, until a reset: an ACK was answered with OK."""

    group: str
    queue: int
    asked_ms: float
    answered_ms: float
    done: int
    generation: int = 0


class Seen(NamedTuple):
    """Where a shard said that a group is (CURSORS)."""

    group: str
    queue: int
    generation: int
    asked_ms: float
    answered_ms: float
    done: int
    earliest: int
    latest: int
    lag: int
    oldest_at_ms: int
    in_flight: int = 0


class Fetched(NamedTuple):
    """What a FETCH brought of one queue: from `offset` up to `next_offset` only `found`."""

    group: str
    queue: int
    offset: int
    next_offset: int
    found: int


class Delivery(NamedTuple):
    """One message that a member's program was handed."""

    group: str
    queue: int
    generation: int
    process: str
    """Which incarnation of which member."""
    offset: int
    body: bytes
    message_id: str
    tag: str | None
    since_ms: float
    """When the member began with this queue: what was done before is not handed out again."""
    at_ms: float
    attempt: int = 1


class Nacked(NamedTuple):
    """A shard answered a NACK with OK."""

    group: str
    queue: int
    offset: int
    message_id: str
    attempt: int
    """The delivery that failed."""
    dead: bool
    """It becomes a dead letter, and does not come again."""
    due_wall_ms: int
    """Not earlier."""
    answered_ms: float
    generation: int = 0


@dataclass
class GroupHistory:
    """All groups of one run."""

    groups: dict[str, Group] = field(default_factory=dict)
    shown: list[Shown] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    fetched: list[Fetched] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    nacked: list[Nacked] = field(default_factory=list)
    nack_asked: dict[tuple[str, str, int], set[tuple[int, int, int]]] = field(default_factory=dict)
    """(group, message id, attempt) of all NACKs, whatever became of them -> (queue, offset,
    generation) of the deliveries that failed."""
    displaced: list[tuple[str, str, float]] = field(default_factory=list)
    """(group, member, when) of who was told that another connection goes on under its name, though
    nobody else has that name."""
    given_up: set[str] = field(default_factory=set)
    """Message ids of NACKs that asked for a dead letter before the last attempt."""
    resets: list[Reset] = field(default_factory=list)
    """What the operator asked for."""
    cursors: defaultdict[tuple[int, int], CursorLog] = field(
        default_factory=lambda: defaultdict(CursorLog)
    )
    """(group id, queue) -> what is certain of that cursor."""
    ends_of_shards: list[float] = field(default_factory=list)
    """When the process of any shard ended."""

    def cursor(self, place: Place) -> CursorLog:
        """Of a group by its name."""
        return self.cursors.get((self.groups[place[0]].group_id, place[1])) or CursorLog()
