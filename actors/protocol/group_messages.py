"""Headers of the requests about consumer groups: membership, grants, cursors, retries.

Owns their form, as `messages.py` does for the rest, with its rules. Knows no rules of groups.

A member joins a group at the coordinator and then keeps one EVENTS request parked there. Each
answer is the whole of what the member holds, never a change to it, so an answer may be lost or
come twice. What it holds is proved to a shard by the generation of its grant, queue by queue.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from .limits import (
    GROUP_SUBSCRIPTIONS_MAX,
    NACK_DETAIL_CHARS_MAX,
    REQUEST_QUEUES_MAX,
    REQUEST_TOPICS_MAX,
)
from .messages import U32, U63, Header

Model = Literal["clustering", "broadcasting", "work", "work_fifo"]
Strategy = Literal["sticky", "average", "circle", "hash"]
_T = TypeVar("_T")
_PerQueue = Annotated[list[_T], Meta(max_length=REQUEST_QUEUES_MAX)]
_Text = Annotated[str, Meta(max_length=NACK_DETAIL_CHARS_MAX)]
Range = tuple[U63, U63]
"""Offsets from the first up to, but without, the second."""


class Subscription(Header, kw_only=True):
    """What a group wants of a topic."""

    topic: str
    expression: str = "*"
    """`*` or tags: `paid || shipped`."""
    kind: Literal["tag"] = "tag"


class Start(Header, kw_only=True):
    """A position in a queue."""

    at: Literal["earliest", "latest", "time", "offset"] = "latest"
    time_ms: U63 = 0
    """With `time`: the first message stored then or later."""
    offset: U63 = 0


# --- members and the coordinator -------------------------------------------------------------


class GroupJoin(Header, kw_only=True):
    """A member comes, or comes back: the same wish twice changes nothing."""

    group: str
    member: str
    """Chosen by the member, unique in its group."""
    subscriptions: Annotated[list[Subscription], Meta(max_length=GROUP_SUBSCRIPTIONS_MAX)]
    """The same for all members of a group."""
    model: Model = "clustering"
    """In a work group every member holds every queue, and messages are handed out one by one."""
    strategy: Strategy | None = None
    """None: the group's, or sticky for a new one. A work group divides nothing and ignores it."""
    start: Start = msgspec.field(default_factory=Start)
    """Where queues start that the group has no cursor on."""
    lease_ms: U63 = 0
    """A member that was silent for so long loses its queues; 0: the broker's default."""
    retries: bool = False
    """Gives the group dead letters and, no work group, a retry topic whose queues members get."""


class GroupJoinReply(Header, kw_only=True):
    group_id: U32
    lease_ms: U63
    strategy: Strategy = "sticky"


class HeldQueue(Header, kw_only=True):
    """A queue, by the grant it was held with."""

    queue: U32
    generation: U63


class Events(Header, kw_only=True):
    """Waits for news of what the member holds, says that it lives, and replaces an earlier one."""

    group_id: U32
    member: str
    version: U63 = 0
    """Of the assignment that the member knows; 0: none. Another one is answered at once."""
    released: _PerQueue[HeldQueue] = []
    """Revoked queues that the member has stopped reading; all that it read is acked."""
    wait_ms: U63 = 0


class AssignedQueue(Header, kw_only=True):
    """A queue that the member holds."""

    topic: str
    queue_id: U32
    queue: U32
    shard: U32
    generation: U63
    revoked: bool = False
    """Stop reading, ack what was read, and name it in `released`."""


class EventsReply(Header, kw_only=True):
    version: U63
    queues: list[AssignedQueue] = []
    """All that the member holds, nothing else."""


class GroupLeave(Header, kw_only=True):
    """The member goes; its queues are free at once."""

    group_id: U32
    member: str


class GroupLeaveReply(Header):
    pass


class GroupList(Header, kw_only=True):
    after: str = ""
    """Names behind this one, for the next page."""
    count_max: U32 = REQUEST_TOPICS_MAX


class GroupSummary(Header, kw_only=True):
    group: str
    group_id: U32
    model: Model
    members: U32 = 0
    topics: U32 = 0


class GroupListReply(Header, kw_only=True):
    groups: list[GroupSummary] = []
    more: bool = False


class GroupDescribe(Header, kw_only=True):
    group: str


class MemberInfo(Header, kw_only=True):
    member: str
    queues: U32 = 0
    lease_ms: U63 = 0
    silent_ms: U63 = 0
    """Since it was last heard of."""
    group_id: U32 = 0
    """Names its own cursors to shards: the group's, or the member's when broadcasting."""


class QueueOwner(Header, kw_only=True):
    topic: str
    queue_id: U32
    queue: U32
    shard: U32
    generation: U63 = 0
    owner: str | None = None
    """`*`: all members of a work group."""


class GroupDescription(Header, kw_only=True):
    group: str
    group_id: U32
    model: Model
    strategy: Strategy
    subscriptions: list[Subscription] = []
    members: list[MemberInfo] = []
    away: list[MemberInfo] = []  # those that are not here and have cursors of their own
    told_at_ms: U63 = 0  # the coordinator's time, which ages are counted to
    queues: list[QueueOwner] = []


class GroupDelete(Header, kw_only=True):
    """Forgets the group and its cursors; refused while it has members."""

    group: str


class GroupDeleteReply(Header, kw_only=True):
    group_id: U32


class ResetQueue(Header, kw_only=True):
    queue_id: U32
    offset: U63


class GroupReset(Header, kw_only=True):
    """Moves a group's cursors. Members go on from there: each queue is granted anew."""

    group: str
    topic: str
    to: Start = msgspec.field(default_factory=lambda: Start(at="earliest"))
    queues: _PerQueue[ResetQueue] = []
    """Offsets for single queues, instead of `to` for all."""
    dry_run: bool = False


class ResetResult(Header, kw_only=True):
    queue_id: U32
    queue: U32
    code: U32 = 200
    before: U63 | None = None
    """None: the group had no cursor there."""
    after: U63 = 0
    message: str = ""


class GroupResetReply(Header, kw_only=True):
    queues: list[ResetResult] = []


# --- members and shards ----------------------------------------------------------------------


class AckQueue(Header, kw_only=True):
    """What is done with: all below `floor`, and the offsets in `ranges`."""

    queue: U32
    generation: U63
    floor: U63 = 0
    ranges: Annotated[list[Range], Meta(max_length=REQUEST_QUEUES_MAX)] = []


class Ack(Header, kw_only=True):
    """Answered once it is durable."""

    group_id: U32
    queues: _PerQueue[AckQueue]


class AckResult(Header, kw_only=True):
    queue: U32
    code: U32 = 200
    floor: U63 = 0
    message: str = ""


class AckReply(Header, kw_only=True):
    queues: list[AckResult] = []


class Cursors(Header, kw_only=True):
    """Where a group is. Free to ask for everybody who may describe it."""

    group_id: U32
    queues: _PerQueue[U32]
    lag: bool = True
    """False: `lag` and `oldest_at_ms` stay 0. Counting them may take long for a tag expression."""


class CursorResult(Header, kw_only=True):
    """`floor` is the first offset that is not done; `ranges` are done, too."""

    queue: U32
    code: U32 = 200
    floor: U63 = 0
    ranges: list[Range] = []
    generation: U63 = 0
    member: str = ""
    earliest: U63 = 0
    latest: U63 = 0
    lag: U63 = 0
    """Messages that the subscription selects and that are not done."""
    oldest_at_ms: U63 = 0
    """When the oldest of them was stored; 0: none."""
    in_flight: U63 = 0
    """Messages of a work queue that are handed out and not done; `lag` counts them, too."""
    message: str = ""


class CursorsReply(Header, kw_only=True):
    queues: list[CursorResult] = []


class NackMessage(Header, kw_only=True):
    """A message that failed."""

    offset: U63
    delay_ms: U63 | None = None
    """None: by the table of retry levels and the message's attempts."""
    dead: bool = False
    """To the dead letters at once."""
    cause: _Text = ""
    detail: _Text = ""
    """A stack trace, for people."""
    attempt: U32 = 0
    """Which delivery failed, where the member counts its own; 0: as the shard counts."""
    earlier: Annotated[list[tuple[U32, U63, _Text]], Meta(max_length=REQUEST_QUEUES_MAX)] = []
    """Failures before it, not told before: [attempt, failed at ms, cause], oldest first."""


class NackQueue(Header, kw_only=True):
    queue: U32
    generation: U63
    messages: Annotated[list[NackMessage], Meta(max_length=REQUEST_QUEUES_MAX)]


class Nack(Header, kw_only=True):
    """Acks messages that failed, and has them come again, or end as dead letters; one step."""

    group_id: U32
    max_attempts: U32 = 16
    """A message that was delivered so often goes to the dead letters."""
    queues: _PerQueue[NackQueue]


class NackResult(Header, kw_only=True):
    queue: U32
    code: U32 = 200
    dead: list[U63] = []
    """Offsets that went to the dead letters."""
    message: str = ""


class NackReply(Header, kw_only=True):
    queues: list[NackResult] = []


# --- between our own processes ---------------------------------------------------------------


class GrantQueue(Header, kw_only=True):
    """From now on `member` alone reads `queue` for the group, with `generation`."""

    queue: U32
    generation: U63
    member: str = ""
    """Empty: nobody."""
    expression: str = "*"
    kind: Literal["tag"] = "tag"
    start: Start = msgspec.field(default_factory=Start)
    """Where a cursor begins that does not exist yet."""
    reset: bool = False
    """The cursor moves to `start` though it exists; once per generation."""


class Grant(Header, kw_only=True):
    """Tells a shard who reads what. A lower generation than it knows changes nothing."""

    group_id: U32 = 0
    group: str = ""
    queues: _PerQueue[GrantQueue] = []
    live_group_ids: list[U32] | None = None
    """When given, the cursors of a group that is not named here are gone."""
    group_id_max: U32 | None = None
    """The highest ever given. A shard that knows a higher one refuses `live_group_ids`."""
    dry_run: bool = False
    """Only say where the cursors would be."""


class GrantResult(Header, kw_only=True):
    queue: U32
    code: U32 = 200
    generation: U63 = 0
    """The one in force now."""
    before: U63 | None = None
    floor: U63 = 0
    message: str = ""


class GrantReply(Header, kw_only=True):
    queues: list[GrantResult] = []


class Release(Header, kw_only=True):
    """What is due below the watermark `until_ms` is due now. Answered when the shard knows of a
    next due time other than `known_due_ms`, or at the end of `wait_ms`. A later one replaces it."""

    until_ms: U63
    known_due_ms: U63 = 0
    """0: none."""
    wait_ms: U63 = 0


class ReleaseReply(Header, kw_only=True):
    next_due_ms: U63 = 0
    """0: nothing is scheduled."""


class SessionsGone(Header, kw_only=True):
    """A router tells the coordinator that connections ended."""

    sessions: Annotated[list[str], Meta(max_length=REQUEST_QUEUES_MAX)]
    """The first 16 bytes of their envelopes, in hex."""


class SessionsGoneReply(Header):
    pass
