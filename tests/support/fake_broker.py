"""A broker in one object, for tests of the client: pure, in memory, obedient or disturbed.

Owns topics, stored batches and the answers to every verb a client uses. `handle(frames)` answers at
once, or later through `late` (parked FETCH). A test disturbs it with `answer` (a function that may
take a request over) or `lose` (replies that never come).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol import work_messages as w
from shardmq.actors.protocol.batch import BATCH_HEADER_BYTES, BatchError, check_batch
from shardmq.actors.protocol.checksum import crc32c, extend
from shardmq.actors.protocol.codec import decode_header, encode_header
from shardmq.actors.protocol.codes import Code, row_of
from shardmq.actors.protocol.frames import Route, pack_reply, unpack_route
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.verbs import row_of as verb_row_of

from .fake_groups import FakeGroups
from .fake_work import FakeWork

LIMITS = m.Limits(
    body_bytes=4 << 20, properties_bytes=32767, batch_bytes=8 << 20, batch_messages=65536,
    frame_bytes=9 << 20, header_bytes=1 << 20, request_queues=4096, reply_bytes=1 << 20,
    session_bytes=16 << 20, session_requests=1024, wait_ms=60000,
)  # fmt: skip
_PREFIX = struct.Struct("<4sIIIQQIIQQBBHI")
STORED_AT_MS = 1_700_000_000_000


def record_of(batch: bytes, queue: int, base_offset: int, stored_at_ms: int) -> bytes:
    """A stored record as FETCH replies carry it."""
    head = check_batch(batch)
    length = 64 + len(batch)
    bare = _PREFIX.pack(
        b"SMQR", length, 0, 0, 0, 0, queue, 1, base_offset, stored_at_ms, 1, 1, 0, head.count
    )
    crc = extend(crc32c(bare[:8] + bare[12:]), batch[8:12])
    return bare[:8] + crc.to_bytes(4, "little") + bare[12:] + batch


class FakeQueue:
    """Stored records of one queue."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.records: list[tuple[int, int, bytes]] = []
        self.earliest = 0
        self.latest = 0
        self.last: dict[int, tuple[int, int, int]] = {}


class FakeBroker:
    """Answers requests of one client."""

    def __init__(self, shards: int = 2) -> None:
        self.shards = shards
        self.topics: dict[str, m.TopicRoute] = {}
        self.queues: dict[int, FakeQueue] = {}
        self.seen: list[tuple[Route, bytes, list[bytes]]] = []
        """Every request, in order."""
        self.answer: Callable[[Route, bytes, list[bytes]], Any] = lambda *_: None
        """Returns None to go on, "lost" for no reply, or (code, header struct)."""
        self.lose: Callable[[Route], bool] = lambda route: False
        """True for requests that are carried out, with the reply lost."""
        self.known_session = False
        self.parked: dict[int, tuple[Route, m.Fetch]] = {}
        self.groups = FakeGroups()
        self.work = FakeWork(self.queues, lambda number: number % self.shards)
        self._numbers = 0
        self._made: dict[int, tuple[str, int]] = {}
        """Topic and queue_id for which a queue was made, by its number."""

    # ------------------------------------------------------------------------------- topics

    def create(self, topic: str, queues: int = 8) -> m.TopicRoute:
        rows = []
        for queue_id in range(queues):
            self._numbers += 1
            self.queues[self._numbers] = FakeQueue(self._numbers)
            self._made[self._numbers] = topic, queue_id
            rows.append(
                m.QueueRoute(
                    queue_id=queue_id, number=self._numbers, shard=self._numbers % self.shards
                )
            )
        route = m.TopicRoute(
            topic=topic, topic_id=len(self.topics) + 1, version=1, slots_version=1, queues=rows,
            slots=list(range(queues)),
        )  # fmt: skip
        self.topics[topic] = route
        return route

    def queue(self, topic: str, queue_id: int) -> FakeQueue:
        return self.queues[self.topics[topic].queues[queue_id].number]

    def give(self, member: str, topic: str, *queue_ids: int) -> None:
        """The group grants queues to a member."""
        for queue_id in queue_ids:
            row = self.topics[topic].queues[queue_id]
            self.groups.give(member, topic, queue_id, row.number, row.shard)

    def close_queue(self, topic: str, queue_id: int) -> None:
        """Closes a queue for writing: its slots go to the others."""
        route = self.topics[topic]
        route.queues[queue_id].writable = False
        open_ids = [queue.queue_id for queue in route.queues if queue.writable]
        route.slots = [
            slot if slot in open_ids else open_ids[at % len(open_ids)]
            for at, slot in enumerate(route.slots)
        ]
        route.version += 1
        route.slots_version = route.version

    # ------------------------------------------------------------------------------- frames

    def handle(self, frames: list[bytes]) -> list[list[bytes]]:
        """Replies to one request; parked polls that it wakes are among them."""
        route = unpack_route(frames[0])
        self.seen.append((route, frames[1], frames[2:]))
        if not self.known_session and route.verb != Verb.HELLO:
            return [self._error(route, Code.UNKNOWN_SESSION)]
        disturbed = self.answer(route, frames[1], frames[2:])
        if disturbed == "lost":
            return []
        if disturbed is not None:
            code, header = disturbed
            return [[pack_reply(route, code), encode_header(header)]]
        row = verb_row_of(route.verb)
        assert row is not None, "clients send known verbs"
        header = decode_header(frames[1], row.request, route.flags)
        answered = getattr(self, f"_{Verb(route.verb).name.lower()}")(route, header, frames[2:])
        replies = [] if answered is None or self.lose(route) else [answered]
        return replies + self._woken()

    def _reply(self, route: Route, header: Any, payload: list[bytes] | None = None) -> list[bytes]:
        return [pack_reply(route, Code.OK), encode_header(header), *(payload or [])]

    def _error(self, route: Route, code: Code, message: str = "refused") -> list[bytes]:
        row = row_of(code)
        header = m.ErrorReply(name=code.name, message=message, retryable=row.retryable)
        return [pack_reply(route, code), encode_header(header)]

    def _hello(self, route: Route, hello: m.Hello, _: list[bytes]) -> list[bytes]:
        self.known_session = True
        welcome = m.Welcome(
            session="1", router_epoch="1", broker="fake", minor=0, batch_version=1,
            shards=self.shards, heartbeat_ms=10_000, limits=LIMITS,
        )  # fmt: skip
        return self._reply(route, welcome)

    def _ping(self, route: Route, *_: Any) -> list[bytes]:
        return self._reply(route, m.Pong())

    def _stats(self, route: Route, *_: Any) -> list[bytes]:
        return self._reply(route, m.StatsReply(actor=f"shard-{route.shard}", figures={"x": 1}))

    def _route(self, route: Route, asked: m.RouteRequest, _: list[bytes]) -> list[bytes]:
        results = []
        for topic in asked.topics:
            found = self.topics.get(topic)
            code = Code.OK if found else Code.TOPIC_NOT_FOUND
            results.append(m.RouteResult(topic=topic, code=code, route=found))
        return self._reply(route, m.RouteReply(topics=results))

    # ---------------------------------------------------------------------------- data path

    def _produce(self, route: Route, asked: m.Produce, payload: list[bytes]) -> list[bytes]:
        results = [
            self._store(entry, batch) for entry, batch in zip(asked.queues, payload, strict=True)
        ]
        return self._reply(route, m.ProduceReply(ack=asked.ack, queues=results))

    def _store(self, entry: m.ProduceQueue, batch: bytes) -> m.ProduceResult:
        number = entry.queue
        topic, row = self._row(number)
        if row is None:
            return m.ProduceResult(queue=number, code=Code.STALE_ROUTE)
        try:
            head = check_batch(batch)
        except BatchError:
            return m.ProduceResult(queue=number, code=Code.CORRUPT_BATCH)
        queue = self.queues[number]
        first, count, base = queue.last.get(head.producer_id, (-1, 0, 0))
        if (head.first_sequence, head.count) == (first, count):
            return m.ProduceResult(
                queue=number, base_offset=base, stored_at_ms=STORED_AT_MS, duplicate=True
            )
        if head.first_sequence <= first:
            return m.ProduceResult(queue=number, code=Code.STALE_SEQUENCE)
        # Behind the sequence, as a shard does: what is stored is never called "not stored".
        if not row.writable or (
            entry.version and topic is not None and entry.version < topic.slots_version
        ):
            return m.ProduceResult(queue=number, code=Code.STALE_ROUTE)
        base = queue.latest
        queue.last[head.producer_id] = head.first_sequence, head.count, base
        queue.records.append((base, head.count, batch))
        queue.latest += head.count
        return m.ProduceResult(queue=number, base_offset=base, stored_at_ms=STORED_AT_MS)

    def _row(self, number: int) -> tuple[m.TopicRoute | None, m.QueueRoute | None]:
        name, queue_id = self._made.get(number, ("", 0))
        topic = self.topics.get(name)
        rows = [] if topic is None else topic.queues[queue_id : queue_id + 1]
        return (topic, rows[0]) if rows and rows[0].number == number else (None, None)

    def _fetch(self, route: Route, asked: m.Fetch, _: list[bytes]) -> list[bytes] | None:
        reply = self._fetched(route, asked)
        if reply is None and asked.wait_ms:
            self.parked[route.request_id] = route, asked
            return None
        return reply or self._reply(route, m.FetchReply())

    def _fetched(self, route: Route, asked: m.Fetch) -> list[bytes] | None:
        results: list[m.FetchResult] = []
        payload: list[bytes] = []
        size = 0
        for entry in asked.queues:
            queue = self.queues.get(entry.queue)
            _, row = self._row(entry.queue)
            if asked.group_id and not self.groups.allows(entry.queue, entry.generation):
                results.append(m.FetchResult(queue=entry.queue, code=Code.FENCED))
            elif queue is None or row is None or not row.readable:
                results.append(m.FetchResult(queue=entry.queue, code=Code.STALE_ROUTE))
            elif not queue.earliest <= entry.offset <= queue.latest:
                results.append(
                    m.FetchResult(
                        queue=entry.queue, code=Code.OFFSET_OUT_OF_RANGE,
                        earliest=queue.earliest, latest=queue.latest,
                    )
                )  # fmt: skip
            else:
                frame, following = b"", max(entry.offset, queue.earliest)
                for base, count, batch in queue.records:
                    room = size + len(batch) <= asked.bytes_max or not (payload or frame)
                    if base + count > entry.offset and following >= base and room:
                        frame += record_of(batch, entry.queue, base, STORED_AT_MS)
                        size += len(batch)
                        following = base + count
                if frame:
                    payload.append(frame)
                    results.append(
                        m.FetchResult(
                            queue=entry.queue, frames=1, next_offset=following,
                            earliest=queue.earliest, latest=queue.latest,
                        )
                    )  # fmt: skip
        return self._reply(route, m.FetchReply(queues=results), payload) if results else None

    def _woken(self) -> list[list[bytes]]:
        replies = []
        for request_id, (route, asked) in list(self.parked.items()):
            reply = self._fetched(route, asked)
            if reply is not None:
                del self.parked[request_id]
                replies.append(reply)
        for route, answer in self.groups.woken():
            replies.append(self._heard(route, answer))
        for route, answer in self.work.woken():
            replies.append(self._reply(route, answer))
        return replies

    # ------------------------------------------------------------------------------- groups

    def _group_join(self, route: Route, asked: g.GroupJoin, _: list[bytes]) -> list[bytes]:
        answer = self.groups.join(asked)
        if isinstance(answer, tuple):
            return self._error(route, *answer)
        return self._reply(route, answer)

    def _events(self, route: Route, asked: g.Events, _: list[bytes]) -> list[bytes] | None:
        answer = self.groups.events(route, asked)
        return None if answer is None else self._heard(route, answer)

    def _heard(self, route: Route, answer: Any) -> list[bytes]:
        return (
            self._error(route, answer) if isinstance(answer, Code) else self._reply(route, answer)
        )

    def _group_leave(self, route: Route, asked: g.GroupLeave, _: list[bytes]) -> list[bytes]:
        return self._reply(route, self.groups.leave(asked))

    def _ack(self, route: Route, asked: g.Ack, _: list[bytes]) -> list[bytes]:
        return self._reply(route, self.groups.ack(asked))

    def _cursors(self, route: Route, asked: g.Cursors, _: list[bytes]) -> list[bytes]:
        return self._reply(route, self.groups.where(asked))

    def _nack(self, route: Route, asked: g.Nack, _: list[bytes]) -> list[bytes]:
        return self._reply(route, self.groups.nack(asked))

    def _receive(self, route: Route, asked: w.Receive, _: list[bytes]) -> list[bytes] | None:
        answer = self.work.receive(route, asked)
        return None if answer is None else self._reply(route, *answer)

    def _settle(self, route: Route, asked: w.Settle, _: list[bytes]) -> list[bytes]:
        return self._reply(route, self.work.settle(asked))

    def end_waits(self) -> list[list[bytes]]:
        """Replies to all who wait for something to receive: their time is over."""
        return [self._reply(*one) for one in self.work.woken(all_of_them=True)]

    def _offsets(self, route: Route, asked: m.Offsets, _: list[bytes]) -> list[bytes]:
        results = []
        for entry in asked.queues:
            queue = self.queues.get(entry.queue)
            if queue is None:
                results.append(m.OffsetsResult(queue=entry.queue, code=Code.STALE_ROUTE))
                continue
            at_time = None
            if entry.time_ms is not None:
                at_time = queue.earliest if entry.time_ms <= STORED_AT_MS else queue.latest
            results.append(
                m.OffsetsResult(
                    queue=entry.queue, earliest=queue.earliest, latest=queue.latest,
                    at_time=at_time,
                )
            )  # fmt: skip
        return self._reply(route, m.OffsetsReply(queues=results))

    # --------------------------------------------------------------------------- catalogue

    def _topic_create(self, route: Route, asked: m.TopicCreate, _: list[bytes]) -> list[bytes]:
        if asked.topic in self.topics:
            return self._error(route, Code.TOPIC_EXISTS, f"topic {asked.topic!r} exists")
        return self._reply(route, m.TopicReply(route=self.create(asked.topic, asked.queues)))

    def _topic_update(self, route: Route, asked: m.TopicUpdate, _: list[bytes]) -> list[bytes]:
        found = self.topics.get(asked.topic)
        if found is None:
            return self._error(route, Code.TOPIC_NOT_FOUND)
        found.version += 1
        return self._reply(route, m.TopicReply(route=found))

    def _topic_delete(self, route: Route, asked: m.TopicDelete, _: list[bytes]) -> list[bytes]:
        found = self.topics.pop(asked.topic, None)
        if found is None:
            return self._error(route, Code.TOPIC_NOT_FOUND)
        return self._reply(route, m.TopicReply(route=found))

    def _topic_list(self, route: Route, asked: m.TopicList, _: list[bytes]) -> list[bytes]:
        names = sorted(name for name in self.topics if name > asked.after)
        page = names[: asked.count_max]
        rows = [
            m.TopicSummary(
                topic=name, topic_id=self.topics[name].topic_id,
                write_queues=len(self.topics[name].queues),
                read_queues=len(self.topics[name].queues),
            )
            for name in page
        ]  # fmt: skip
        return self._reply(route, m.TopicListReply(topics=rows, more=len(names) > len(page)))


assert BATCH_HEADER_BYTES == 64, "records are sliced behind it"
