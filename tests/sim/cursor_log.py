"""Cursor log: what is certain of the cursor of one group in one queue, generation by generation.

Owns that knowledge: at which generations an operator's reset set it, where it was then, and what
members said to be done under each. Must not know how anything happened.

Inside a generation a cursor only goes on, and from one to the next, too, unless the grant of one
between them is a reset. So whatever is asked of a cursor at some generation is asked of what
happened since the last reset at or below it, and of nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from shardmq.actors.protocol.group_messages import GroupReset, ResetResult, Start


class Began(NamedTuple):
    """A shard's first answer to the grant of a generation."""

    floor: int
    at_ms: float


@dataclass
class CursorLog:
    """One cursor."""

    resets: list[int] = field(default_factory=list)
    """Generations of grants that set it anew, as they were sent."""
    began: dict[int, Began] = field(default_factory=dict)
    """By generation. Before its first answer nobody is shown it."""
    said: dict[int, int] = field(default_factory=dict)
    """Generation -> offsets that members asked to be done, whatever became of that."""
    used: int = 0
    """The highest generation by which a shard served somebody."""

    def last_reset(self, generation: int) -> int:
        """The reset that `generation` comes from; 0: none."""
        return max((one for one in self.resets if one <= generation), default=0)

    def floor_of(self, reset: int) -> int | None:
        """Where the cursor was after a reset (0: at its very beginning), None if nobody knows.

        A reset that was never answered goes over to the next grant.
        """
        later = [one for one in self.began if one >= reset]
        return self.began[min(later)].floor if later else None

    def said_since(self, reset: int, generation: int) -> int:
        """All that may be done by what was said from a reset on."""
        done = 0
        for one, offsets in self.said.items():
            if reset <= one <= generation:
                done |= offsets
        return done

    def say(self, generation: int, offsets: int) -> None:
        self.said[generation] = self.said.get(generation, 0) | offsets


@dataclass
class Reset:
    """What an operator asked for, and what it was told."""

    wish: GroupReset
    asked_ms: float
    answered_ms: float = float("inf")
    results: list[ResetResult] = field(default_factory=list)


def position_in(wish: GroupReset, queue_id: int) -> Start | None:
    """Where a reset wants the cursor of a queue of its topic; None: it is not about that queue."""
    if not wish.queues:
        return wish.to
    return next(
        (Start(at="offset", offset=one.offset) for one in wish.queues if one.queue_id == queue_id),
        None,
    )


def same_position(one: Any, other: Any) -> bool:
    return (one.at, one.time_ms, one.offset) == (other.at, other.time_ms, other.offset)
