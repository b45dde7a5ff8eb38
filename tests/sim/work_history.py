"""Work history: what shards were asked of work queues and what they answered, in order.

Owns the records that the work checkers read. Must not know how anything happened. They are taken
where letters enter and leave a shard, so each has the shard's own wall clock, and what lies between
two of them on one shard is certain: the order of the list is the order of events.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.work_messages import SettleItem

from .group_history import Delivery


class Handed(NamedTuple):
    """Messages of one queue that lie side by side, in an answer to RECEIVE."""

    queue: int
    generation: int
    start: int
    stop: int
    attempt: int


class Answer(NamedTuple):
    """An answer to RECEIVE leaves a shard."""

    shard: str
    group_id: int
    receipt: int
    at_ms: float
    wall_ms: int
    until_ms: int
    parts: tuple[Handed, ...]
    count_max: int
    asked_ms: float
    """When the shard took the request in."""
    can_bury: bool = True
    """The shard has the group's dead letter topic: without it, nothing is given up."""
    asked_at: int = 0
    """How many events there were when the shard took the request in."""


@dataclass
class Said:
    """A shard takes one item of a SETTLE in; what became of it is filled in when that leaves."""

    shard: str
    group_id: int
    item: SettleItem
    at_ms: float
    wall_ms: int
    code: int | None = None
    """None: it was never answered, so nobody knows."""
    expired: set[int] = field(default_factory=set)
    dead: set[int] = field(default_factory=set)


class Ended(NamedTuple):
    """The process of a shard ended."""

    shard: str
    is_power_cut: bool
    """What was not synced may be gone."""
    in_turn: bool
    """What its last turn wrote may be there, and no answer tells of it."""


Event = Answer | Said | Ended


@dataclass
class WorkHistory:
    """All work queues of one run."""

    events: list[Event] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    """What workers found in the answers."""
    calm_ms: float = float("inf")
    """From then on nothing disturbs a shard."""

    def counts(self) -> dict[str, int]:
        """What happened, in figures."""
        answers = [one for one in self.events if isinstance(one, Answer) and one.parts]
        said = [one for one in self.events if isinstance(one, Said)]
        return {
            "handouts": len(answers),
            "settles": len(said),
            "returns": sum(one.item.act == "return" for one in said),
            "late_settles": sum(one.code == Code.RECEIPT_EXPIRED for one in said),
        }
