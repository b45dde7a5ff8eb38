"""Decisions: what the coordinator answers to each verb, and the records that it writes for it.

Owns the step from a request's header to records and a reply. The rules are in `topics.py`; when an
answer may leave is up to `coordinator.py`, which is told only whether it waits for the shards.

A change that finds everything as it should be writes nothing and is answered as if it had. That
makes a request harmless that was resent after a lost answer: a creation is recognised by its
`request_key`, a deletion by its `topic_id`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..kernel.ports import Now
from ..protocol import messages as m
from ..protocol.codec import HeaderError, decode_header
from ..protocol.codes import Code
from ..protocol.frames import Route
from ..protocol.limits import FRAME_BYTES_MAX
from ..protocol.names import is_system, why_invalid_topic
from ..protocol.retries import DLQ_PREFIX, RETRY_PREFIX
from ..protocol.verbs import Verb
from .catalogue import Catalogue
from .ledger import Ledger
from .records import Topic, TopicGone, TopicPut
from .topics import (
    Refused,
    check_name,
    check_system_room,
    created,
    route_bytes,
    route_of,
    summary_of,
    updated,
)

__all__ = ["Answer", "Decisions", "Policy"]

REPLY_BYTES_MAX = FRAME_BYTES_MAX // 2
"""Routes in one reply, so that it stays far below what a socket takes."""
LIST_COUNT_MAX = 10_000


class Policy(NamedTuple):
    """What the operator decided."""

    shards: int
    auto_create: bool = False
    """Whether ROUTE may create what it does not find."""
    auto_create_queues: int = 8
    retention_ms: int = 0
    """How long the log keeps messages; 0: for ever."""


class Answer(NamedTuple):
    """A reply that may leave once what it rests on is durable."""

    header: m.Header
    waits_for_shards: bool = False


class Decisions:
    """Decides on one catalogue."""

    def __init__(
        self,
        ledger: Ledger,
        catalogue: Catalogue,
        policy: Policy,
        *,
        has_group: Callable[[str], bool],
    ) -> None:
        """`has_group`: whether there is a group of that name."""
        self._ledger = ledger
        self._catalogue = catalogue
        self._policy = policy
        self._has_group = has_group
        self._changes: deque[tuple[int, int]] = deque()
        """(mark, topic id) of changes that are not durable yet."""
        self._mark_of: dict[int, int] = {}
        """Topic id -> mark of its last change, while that is not durable."""
        self._by_verb: dict[int, tuple[type[Any], Callable[[Any, Now], Answer]]] = {
            Verb.ROUTE: (m.RouteRequest, self._route),
            Verb.TOPIC_CREATE: (m.TopicCreate, self._create),
            Verb.TOPIC_UPDATE: (m.TopicUpdate, self._update),
            Verb.TOPIC_DELETE: (m.TopicDelete, self._delete),
            Verb.TOPIC_LIST: (m.TopicList, self._list),
        }

    def decide(self, asked: Route, header: bytes, now: Now) -> Answer:
        """The answer to a request, its records appended.

        Raises:
            Refused: the header, the rules or the disk do not allow it; nothing was changed.
        """
        row = self._by_verb.get(asked.verb)
        if row is None:
            raise Refused(Code.UNKNOWN_VERB, f"the coordinator has no verb {asked.verb}")
        kind, decide = row
        try:
            wish = decode_header(header, kind, asked.flags)
        except HeaderError as error:
            text = f"{Verb(asked.verb).name}: {error}"
            raise Refused(Code.BAD_REQUEST, text) from None
        return decide(wish, now)

    def ensure_system_topic(self, name: str, now: Now) -> Topic:
        """The system's topic of that name, with one queue on each shard; made if missing.

        Raises:
            Refused: there are too many, or the journal takes no record just now.
        """
        self.check_room_for([name])
        topic = self._catalogue.named(name)
        return topic or self._new(name, queues=self._policy.shards, now=now)

    def check_room_for(self, names: Sequence[str]) -> None:
        """Whether there may be topics of the system of these names.

        Raises:
            Refused: there are too many already.
        """
        for name in names:
            assert is_system(name), name
            assert why_invalid_topic(name) is None, name
        missing = sum(self._catalogue.named(name) is None for name in names)
        if missing:
            check_system_room(self._catalogue.system_count + missing)

    def delete_system_topic(self, name: str, now: Now) -> None:
        """The system's topic of that name, if there is one, and all that is in it.

        Raises:
            Refused: the journal takes no record just now.
        """
        assert is_system(name), name
        topic = self._catalogue.named(name)
        if topic is not None:
            self._append(TopicGone(topic.topic_id), topic.topic_id, now)

    def queues_of(self, name: str) -> int:
        """How many queues the topic of that name has, or would have if it was created now for
        somebody who asks for it."""
        topic = self._catalogue.named(name)
        if topic is not None:
            return len(topic.places)
        return self._policy.auto_create_queues if self._policy.auto_create else 0

    def auto_created(self, name: str, create: bool, now: Now) -> Topic:
        """A new topic of that name, if `create` says so and the operator lets it.

        Raises:
            Refused: TOPIC_NOT_FOUND, mostly.
        """
        if create and self._policy.auto_create:
            check_name(name)
            return self._new(name, queues=self._policy.auto_create_queues, now=now)
        why = why_invalid_topic(name)
        if why is not None:
            raise Refused(Code.INVALID_NAME, why)
        text = f"there is no topic {name}"
        if create:
            text += ", and this broker does not create topics by itself (serve --auto-create)"
        raise Refused(Code.TOPIC_NOT_FOUND, text)

    # --- what is durable ---------------------------------------------------------------------

    def settled(self, durable: int) -> list[tuple[int, int]]:
        """Takes the changes, as (topic id, mark), that are durable with everything below
        `durable`."""
        found = []
        while self._changes and self._changes[0][0] <= durable:
            mark, topic_id = self._changes.popleft()
            found.append((topic_id, mark))
            if self._mark_of.get(topic_id) == mark:
                del self._mark_of[topic_id]
        return found

    def is_durable(self, topic_id: int) -> bool:
        """Whether the present state of a topic may leave the process."""
        return topic_id not in self._mark_of

    def live_ids(self) -> list[int] | None:
        """Ids of all topics that may exist: what was deleted a moment ago may come back. None
        while the journal is damaged: a topic may be missing here that does exist."""
        if self._ledger.is_damaged:
            return None
        ids = {topic.topic_id for topic in self._catalogue.all()}
        return sorted(ids.union(self._mark_of))

    # --- verbs -------------------------------------------------------------------------------

    def _route(self, wish: m.RouteRequest, now: Now) -> Answer:
        changes = len(self._changes)
        room = REPLY_BYTES_MAX
        results = []
        for name in wish.topics:
            result, size = self._route_result(name, wish.create, room, now)
            results.append(result)
            room -= size
        return Answer(m.RouteReply(topics=results), len(self._changes) > changes)

    def _route_result(
        self, name: str, create: bool, room: int, now: Now
    ) -> tuple[m.RouteResult, int]:
        topic = self._catalogue.named(name)
        if topic is None:
            try:
                topic = self.auto_created(name, create, now)
            except Refused as refused:
                message = str(refused)
                return m.RouteResult(topic=name, code=refused.code, message=message), len(message)
        size = route_bytes(topic)
        if size > room:
            message = "the reply would be too large; ask for this topic in a request of its own"
            return m.RouteResult(topic=name, code=Code.TOO_LARGE, message=message), len(message)
        return m.RouteResult(topic=name, route=route_of(topic)), size

    def _create(self, wish: m.TopicCreate, now: Now) -> Answer:
        check_name(wish.topic)
        topic = self._catalogue.named(wish.topic)
        if topic is not None:
            if not wish.request_key or wish.request_key != topic.request_key:
                raise Refused(Code.TOPIC_EXISTS, f"the topic {wish.topic} exists already")
        elif wish.request_key and self._catalogue.is_spent(wish.request_key):
            text = f"{wish.topic} was created by this request, and deleted since"
            raise Refused(Code.TOPIC_NOT_FOUND, text)
        else:
            topic = self._new(
                wish.topic,
                queues=wish.queues,
                retention_ms=wish.retention_ms,
                request_key=wish.request_key,
                now=now,
            )
        return Answer(m.TopicReply(route=route_of(topic)), waits_for_shards=True)

    def _update(self, wish: m.TopicUpdate, now: Now) -> Answer:
        check_name(wish.topic)
        topic = self._existing(wish.topic)
        policy = self._policy
        changed = updated(
            topic,
            wish,
            next_queue=self._catalogue.next_queue,
            shards=policy.shards,
            broker_retention_ms=policy.retention_ms,
        )
        if changed is not topic:
            self._append(TopicPut(changed), topic.topic_id, now)
        return Answer(m.TopicReply(route=route_of(changed)), waits_for_shards=True)

    def _delete(self, wish: m.TopicDelete, now: Now) -> Answer:
        if not self._is_left_behind(wish.topic):
            check_name(wish.topic)
        topic = self._existing(wish.topic)
        if wish.topic_id not in (0, topic.topic_id):
            text = f"{wish.topic} has the id {topic.topic_id} now, topic {wish.topic_id} is gone"
            raise Refused(Code.TOPIC_NOT_FOUND, text)
        self._append(TopicGone(topic.topic_id), topic.topic_id, now)
        return Answer(m.TopicReply(route=route_of(topic)), waits_for_shards=True)

    def _list(self, wish: m.TopicList, now: Now) -> Answer:
        names = self._catalogue.names()
        count_max = min(max(wish.count_max, 1), LIST_COUNT_MAX)
        found: list[m.TopicSummary] = []
        for index in range(bisect_right(names, wish.after), len(names)):
            if is_system(names[index]) and not wish.system:
                continue
            if len(found) == count_max:
                return Answer(m.TopicListReply(topics=found, more=True))
            found.append(summary_of(self._existing(names[index])))
        return Answer(m.TopicListReply(topics=found))

    def _is_left_behind(self, name: str) -> bool:
        """Whether it is the name of a topic that belonged to a group which is gone."""
        is_of_group = name.startswith((RETRY_PREFIX, DLQ_PREFIX))
        return is_of_group and not self._has_group(name.rpartition("%")[2])

    def _existing(self, name: str) -> Topic:
        topic = self._catalogue.named(name)
        if topic is None:
            raise Refused(Code.TOPIC_NOT_FOUND, f"there is no topic {name}")
        return topic

    def _new(
        self, name: str, *, queues: int, now: Now, retention_ms: int = 0, request_key: str = ""
    ) -> Topic:
        catalogue, policy = self._catalogue, self._policy
        topic = created(
            name,
            topic_id=catalogue.next_topic_id,
            first_queue=catalogue.next_queue,
            queues=queues,
            shards=policy.shards,
            retention_ms=retention_ms,
            broker_retention_ms=policy.retention_ms,
            now_wall_ms=now.wall_ms,
            request_key=request_key,
            topics=0 if is_system(name) else len(catalogue) - catalogue.system_count,
        )
        self._append(TopicPut(topic), topic.topic_id, now)
        return topic

    def _append(self, record: TopicPut | TopicGone, topic_id: int, now: Now) -> None:
        mark = self._ledger.append(record, now)
        self._changes.append((mark, topic_id))
        self._mark_of[topic_id] = mark
