"""Cursor wire: reads, in the letters that `group_wire.py` opens, what sets cursors and what moves
them, and writes it into the logs that the checkers ask.

Owns these rules of the coordinator:

    reset      a grant sets a cursor only where an operator asked for it, and one wish once: what a
               member did behind a reset is not undone by the same reset again
    unwritten  a coordinator that comes back knows every grant that it ever sent: a GRANT leaves
               only once it is durable
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shardmq.actors.coordinator.catalogue import Catalogue
from shardmq.actors.coordinator.groups import Groups
from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.messages import Fetch

from .cursor_log import Began, position_in, same_position
from .group_history import GroupHistory, set_of

Place = tuple[int, int]


class CursorWire:
    """The cursors of all groups, over one run."""

    def __init__(self, groups: GroupHistory, violate: Callable[[str, str], None]) -> None:
        self._groups = groups
        self._violate = violate
        self._wishes: dict[str, list[g.GroupReset]] = {}
        """Group -> resets that came to the coordinator; each copy of one may be done."""
        self._done: dict[Place, int] = {}
        """How many of them a cursor has certainly had."""
        self._sent: dict[Place, int] = {}
        """The highest generation that was ever sent."""

    # --- the coordinator ---------------------------------------------------------------------

    def coordinator_asked(self, header: Any) -> None:
        if isinstance(header, g.GroupReset) and not header.dry_run:
            self._wishes.setdefault(header.group, []).append(header)

    def grant_leaves(self, header: g.Grant, catalogue: Catalogue | None, at_ms: float) -> None:
        for one in header.queues:
            place = header.group_id, one.queue
            self._sent[place] = max(one.generation, self._sent.get(place, 0))
            log = self._groups.cursors[place]
            if not one.reset or one.generation in log.resets:
                continue
            last = max(log.resets, default=0)
            if not last or log.used >= last:
                self._done[place] = self._done.get(place, 0) + 1
            log.resets.append(one.generation)
            topic, queue_id = _where(catalogue, one.queue)
            if not topic:
                continue  # it was deleted meanwhile
            wanted = [
                position
                for wish in self._wishes.get(header.group, ())
                if wish.topic == topic
                if (position := position_in(wish, queue_id)) is not None
            ]
            text = f"{header.group} queue {one.queue} was set to {one.start.at} at {at_ms:.3f} by"
            text = f"{text} generation {one.generation}"
            if not any(same_position(one.start, position) for position in wanted):
                self._violate("reset", f"{text}, nobody asked for that")
            elif self._done[place] > len(wanted):
                self._violate("reset", f"{text}, once more: {len(wanted)} were asked for")

    def coordinator_started(self, groups: Groups, catalogue: Catalogue) -> None:
        """What it has from its journal, against what its former runs sent."""
        known = {
            (cursor_id, row.queue): row.generation
            for state in groups.all()
            for cursor_id, rows in state.grants.items()
            for row in rows.values()
        }
        for place, generation in self._sent.items():
            group = groups.of_cursor_id(place[0])
            topic, _ = _where(catalogue, place[1])
            if group is None or not topic:
                continue  # it was deleted
            if known.get(place, 0) < generation:
                text = f"cursor {place[0]} queue {place[1]}: generation {generation} was sent, the"
                self._violate("unwritten", f"{text} coordinator returns with {known.get(place)}")

    # --- shards ------------------------------------------------------------------------------

    def shard_asked(self, header: Any) -> None:
        if isinstance(header, g.Ack):
            for one in header.queues:
                log = self._groups.cursors[header.group_id, one.queue]
                log.say(one.generation, set_of(one.floor, one.ranges))
        elif isinstance(header, g.Nack):
            for failed in header.queues:
                log = self._groups.cursors[header.group_id, failed.queue]
                offsets = sum(1 << message.offset for message in failed.messages)
                log.say(failed.generation, offsets)

    def shard_answers(self, asked: Any, reply: Any, at_ms: float) -> None:
        if isinstance(asked, g.Grant):
            sent = {one.queue: one.generation for one in asked.queues}
            for one in reply.queues if not asked.dry_run else ():
                if one.code == Code.OK:
                    log = self._groups.cursors[asked.group_id, one.queue]
                    log.began.setdefault(sent[one.queue], Began(one.floor, at_ms))
        elif isinstance(asked, Fetch | g.Ack | g.Nack) and asked.group_id:
            used = {one.queue: one.generation for one in asked.queues}
            for result in reply.queues:
                if result.code == Code.OK:
                    log = self._groups.cursors[asked.group_id, result.queue]
                    log.used = max(log.used, used[result.queue])


def _where(catalogue: Catalogue | None, queue: int) -> tuple[str, int]:
    """Topic and queue id of a queue number; no topic if there is none."""
    for topic in catalogue.all() if catalogue is not None else ():
        for queue_id, place in enumerate(topic.places):
            if place.number == queue:
                return topic.name, queue_id
    return "", 0
