"""DEFINE: the coordinator tells the shard which topics there are.

Owns how definitions become state records, and what a deleted topic takes with it. A definition that
is known already costs no record, so the coordinator may send the full series whenever a link comes
up; an older version than the known one is ignored, and a DEFINE that later ones have overtaken
(`fencing.py`) is refused. A catalogue that is older than the shard's own topics (lost, or restored
from an old copy) is refused as a whole: it must not delete what it has forgotten.

A deleted topic is one record, plus one for each bucket that has queues of it; the queues' numbers
are never used again. The reply leaves when all of it is durable.
"""

from __future__ import annotations

import logging

from shardmq.actors.kernel.logs import fields
from shardmq.actors.kernel.ports import Letter, Now, QueueLog, Refusal
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.messages import Define, DefineReply

from .durability import Durability
from .fencing import CoordinatorFence
from .fetch import Fetching
from .requests import Request
from .serving import Serving
from .state.buckets import numbers_by_bucket
from .state.queues import CARRIED_QUEUE
from .state.records import (
    QueuesDropped,
    StateRecord,
    TopicDefined,
    TopicDefinition,
    TopicDropped,
    encode_state,
)
from .state.topics import Topics
from .work_groups import WorkGroups

__all__ = ["Defining"]

_log = logging.getLogger("shardmq.shard")
_FOREIGN = (
    "the coordinator's catalogue is older than this shard's topics: it was lost or restored from an"
    " old copy; nothing is dropped, restore all of the data directory from one backup"
)


class Defining:
    """The verb DEFINE."""

    def __init__(
        self,
        journal: QueueLog,
        topics: Topics,
        serving: Serving,
        fetching: Fetching,
        durability: Durability,
        fence: CoordinatorFence,
        work: WorkGroups,
    ) -> None:
        self._journal = journal
        self._topics = topics
        self._serving = serving
        self._fetching = fetching
        self._durability = durability
        self._fence = fence
        self._work = work
        self._lsn = 0
        """Behind the last record that DEFINE has written."""

    def open(self) -> None:
        """Serve what the journal knows, before the coordinator has spoken."""
        for definition in self._topics.all():
            self._serving.define(definition)

    def handle(self, request: Request, header: Define, now: Now, out: list[Letter]) -> None:
        """Take definitions over; the reply leaves once they are durable."""
        if self._fence.is_stale(request):
            out.append(request.refuse(Code.FENCED, "a later DEFINE was taken already"))
            return
        if self._journal.refusal(0) is Refusal.READ_ONLY:
            out.append(
                request.refuse(Code.READ_ONLY, "the shard is read-only", retry_after_ms=10_000)
            )
            return
        definitions = [TopicDefinition.of_route(route) for route in header.topics]
        fault = next(filter(None, map(_fault_of, definitions)), None)
        if fault is not None:
            out.append(request.refuse(Code.BAD_REQUEST, fault))
            return
        if self._is_foreign(header):
            out.append(request.refuse(Code.INVALID_ARGUMENT, _FOREIGN))
            return
        for definition in definitions:
            known = self._topics.get(definition.topic_id)
            if known is None or (known.version <= definition.version and known != definition):
                self._define(definition, now)
        if header.live_topic_ids is not None:
            named = {definition.topic_id for definition in definitions}
            live = named.union(header.live_topic_ids)
            for known in list(self._topics.all()):
                if known.topic_id not in live:
                    self._drop(known, now)
        reply = request.answer(DefineReply(queues=len(self._serving)))
        if self._lsn > self._journal.durable:
            self._durability.hold(self._lsn, reply)
        else:
            out.append(reply)

    def _is_foreign(self, header: Define) -> bool:
        """True for a catalogue that never gave an id which this shard knows."""
        if header.topic_id_max is None:
            return False
        known_max = max((known.topic_id for known in self._topics.all()), default=0)
        if known_max <= header.topic_id_max:
            return False
        _log.critical(_FOREIGN, extra=fields(topic_id=known_max, topic_id_max=header.topic_id_max))
        return True

    def _define(self, definition: TopicDefinition, now: Now) -> None:
        self._append(TopicDefined(definition), definition.topic_id, now)
        self._fetching.wake(self._serving.define(definition))
        by_number = self._serving.by_number
        self._work.news(by_number[one] for one in self._serving.numbers_of(definition.topic_id))

    def _drop(self, definition: TopicDefinition, now: Now) -> None:
        queues = [one.number for one in definition.queues if one.shard == self._serving.shard]
        _log.info(
            "a topic is deleted",
            extra=fields(topic=definition.topic, topic_id=definition.topic_id, queues=len(queues)),
        )
        self._append(TopicDropped(definition.topic_id), definition.topic_id, now)
        self._fetching.wake(self._serving.drop(definition.topic_id))
        for bucket, numbers in numbers_by_bucket(queues).items():
            self._append(QueuesDropped(numbers), bucket, now)
        self._work.dropped(queues)

    def _append(self, record: StateRecord, number: int, now: Now) -> None:
        self._journal.append_state(encode_state(record), now, queue=number)
        self._lsn = self._journal.end


def _fault_of(definition: TopicDefinition) -> str | None:
    numbers = [definition.topic_id, *(place.number for place in definition.queues)]
    if min(numbers) < 0 or max(numbers) >= CARRIED_QUEUE:
        return f"topic {definition.topic!r}: ids and queue numbers are below 2^32 - 1"
    if len(set(numbers[1:])) != len(definition.queues):
        return f"topic {definition.topic!r} names a queue twice"
    return None
