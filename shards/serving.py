"""Serving: which queues this shard answers for, and all that a request needs of one, in one lookup.

Owns the table; it is derived from the definitions (`state/topics.py`) and the offsets
(`state/queues.py`) and holds nothing that would have to survive. Knows no request.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .state.queues import QueueOffsets, Queues
from .state.records import QueuePlace, TopicDefinition

if TYPE_CHECKING:
    from .polls import Waiters

__all__ = ["ServedQueue", "Serving"]


class ServedQueue:
    """One queue of this shard. Ten thousand idle ones are normal, so it has slots and no parts
    that are not needed."""

    __slots__ = (
        "number",
        "offsets",
        "queue_id",
        "readable",
        "slots_version",
        "topic",
        "waiters",
        "writable",
    )

    def __init__(self, number: int, offsets: QueueOffsets) -> None:
        self.number = number
        self.offsets = offsets
        self.waiters: Waiters | None = None
        """Polls that wait for this queue; made with the first one."""

    def define(self, topic: TopicDefinition, place: QueuePlace) -> None:
        """Take the properties that the topic's definition gives this queue."""
        self.topic = topic
        self.queue_id = place.queue_id
        self.readable = place.readable
        self.writable = place.writable
        self.slots_version = topic.slots_version
        """A request whose route is older than this may have chosen the wrong queue."""


class Serving:
    """Queue number -> queue, for the queues of one shard."""

    def __init__(self, shard: int, queues: Queues) -> None:
        self.shard = shard
        self.by_number: dict[int, ServedQueue] = {}
        self._queues = queues
        self._numbers: dict[int, list[int]] = {}
        """Own queues of each topic, by topic id, in the order of the definition."""

    def __len__(self) -> int:
        return len(self.by_number)

    def numbers_of(self, topic_id: int) -> list[int]:
        """This shard's queues of a topic."""
        return self._numbers.get(topic_id, [])

    def define(self, topic: TopicDefinition) -> list[ServedQueue]:
        """Serve the topic's queues as defined; returns those that are no longer readable here."""
        closed = []
        own = [place for place in topic.queues if place.shard == self.shard]
        gone = set(self._numbers.get(topic.topic_id, ())).difference(one.number for one in own)
        for place in own:
            served = self.by_number.get(place.number)
            if served is None:
                served = ServedQueue(place.number, self._queues.at(place.number))
                self.by_number[place.number] = served
            served.define(topic, place)
            if not served.readable:
                closed.append(served)
        self._numbers[topic.topic_id] = [place.number for place in own]
        return closed + self._withdraw(gone)

    def drop(self, topic_id: int) -> list[ServedQueue]:
        """Serve the topic no more; returns its queues."""
        return self._withdraw(self._numbers.pop(topic_id, ()))

    def _withdraw(self, numbers: Iterable[int]) -> list[ServedQueue]:
        return [self.by_number.pop(number) for number in numbers]
