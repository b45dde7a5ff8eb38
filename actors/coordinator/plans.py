"""Plans: which queues a group reads, as its subscriptions and the catalogue have it now.

Owns a plan per group, made when it is first asked for and thrown away when a topic in it changes.
Knows neither members nor grants.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

from ..protocol.group_messages import GrantQueue, Start
from ..protocol.retries import retry_topic
from .catalogue import Catalogue
from .records import GrantRow, Group, GroupTopic, Position, Topic

__all__ = ["NOBODY", "Place", "Plan", "Plans", "grant_of", "pools_of"]

NOBODY = ""
_EARLIEST = Position("earliest")
_At = Literal["earliest", "latest", "time", "offset"]


class Place(NamedTuple):
    """A queue that a group reads."""

    number: int
    shard: int
    topic: str
    topic_id: int
    queue_id: int
    expression: str
    start: Position
    """Of a cursor that does not exist yet, on a queue that is older than the subscription."""
    queue_max: int
    """The highest number of those."""
    revision: int = 0
    """Of the expression."""


Plan = dict[int, Place]
"""By queue number, in the order of topics and queue ids."""


class Plans:
    """The plans of all groups over one catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._plans: dict[int, Plan] = {}
        self._groups_of_name: dict[str, set[int]] = {}
        self._groups_of_id: dict[int, set[int]] = {}

    def of(self, group: Group) -> Plan:
        """The plan of `group`; another object whenever it may differ. Not to be changed."""
        plan = self._plans.get(group.group_id)
        if plan is None:
            plan = self._plans[group.group_id] = self._made(group)
        return plan

    def forget(self, group_id: int) -> None:
        """The group has changed, or is gone."""
        plan = self._plans.pop(group_id, None)
        for topic_id in {place.topic_id for place in (plan or {}).values()}:
            self._groups_of_id.get(topic_id, set()).discard(group_id)

    def unsubscribed(self, group: Group) -> None:
        """The group is about to change or to go: nothing leads to its plan any more."""
        self.forget(group.group_id)
        for one in group.topics:
            groups = self._groups_of_name.get(one.topic)
            if groups is not None:
                groups.discard(group.group_id)
                if not groups:
                    del self._groups_of_name[one.topic]

    def topic_changed(self, topic_id: int) -> set[int]:
        """Throws away the plans that a change of a topic concerns; the ids of their groups."""
        topic = self._catalogue.get(topic_id)
        groups = set(self._groups_of_id.pop(topic_id, ()))
        if topic is not None:
            groups |= self._groups_of_name.get(topic.name, set())
        for group_id in groups:
            self.forget(group_id)
        return groups

    def has_topic(self, name: str) -> bool:
        """Whether there is a topic of that name, read by a group or not."""
        return self._catalogue.named(name) is not None

    def still_exists(self, place: Place) -> bool:
        """Whether the queue is there and can be read."""
        topic = self._catalogue.get(place.topic_id)
        if topic is None or place.queue_id >= len(topic.places):
            return False
        return topic.places[place.queue_id].number == place.number

    def _made(self, group: Group) -> Plan:
        plan: Plan = {}
        for one in group.topics:
            self._groups_of_name.setdefault(one.topic, set()).add(group.group_id)
            topic = self._catalogue.named(one.topic)
            if topic is not None:
                self._groups_of_id.setdefault(topic.topic_id, set()).add(group.group_id)
                _add(plan, group, one, topic)
        return plan


def _add(plan: Plan, group: Group, one: GroupTopic, topic: Topic) -> None:
    for queue_id, place in enumerate(topic.places):
        plan[place.number] = Place(
            number=place.number,
            shard=place.shard,
            topic=topic.name,
            topic_id=topic.topic_id,
            queue_id=queue_id,
            expression=one.expression,
            start=group.start,
            queue_max=one.queue_max,
            revision=one.revision,
        )


def pools_of(plan: Plan, group: Group) -> tuple[list[int], list[int]]:
    """The queues of a plan as they are shared out: those of what the group asked for, and those
    through which its failed messages come again."""
    own = retry_topic(group.name)
    asked: list[int] = []
    retries: list[int] = []
    for number, place in plan.items():
        (retries if place.topic == own else asked).append(number)
    return asked, retries


def grant_of(place: Place, row: GrantRow, queue_max: int = 0) -> GrantQueue:
    """The grant as a shard is told of it.

    Args:
        queue_max: as the place's, of cursors that are younger than the subscription.
    """
    is_old = row.queue <= max(place.queue_max, queue_max)
    position = row.reset or (place.start if is_old else _EARLIEST)
    return GrantQueue(
        queue=row.queue,
        generation=row.generation,
        member=row.member,
        expression=place.expression,
        start=start_of(position),
        reset=row.reset is not None,
    )


def start_of(position: Position) -> Start:
    """The position as the wire has it."""
    at = cast(_At, position.at)
    return Start(at=at, time_ms=position.time_ms, offset=position.offset)
