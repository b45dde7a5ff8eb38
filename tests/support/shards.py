"""A shard under test: the real core and journal on a simulated disk, time that only the test moves.

Owns the loop that a shell would be: a turn, a sync, a restart. Plays the router, too: it packs
requests and opens replies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol.batch import Columns, encode_batch
from shardmq.actors.protocol.codec import decode_header, encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import (
    FLAG_JSON,
    FLAG_REPLY,
    pack_envelope,
    pack_request,
    unpack_route,
)
from shardmq.actors.protocol.messages import (
    AckMode,
    Define,
    ErrorReply,
    Fetch,
    FetchQueue,
    FetchReply,
    Header,
    Produce,
    ProduceQueue,
    ProduceReply,
    ProduceResult,
    QueueRoute,
    TopicRoute,
)
from shardmq.actors.protocol.verbs import Verb, row_of
from shardmq.shards.log.journal import Journal
from shardmq.shards.log.options import JournalOptions
from shardmq.shards.log.record import PREFIX_BYTES
from shardmq.shards.shard import Shard, ShardState

from .clock import ManualClock
from .disk import SimDisk
from .manual import CountingRandomness

PEER = b"router"
ROUTER_EPOCH = 7
DEADLINE_MS = 30_000


class Reply(msgspec.Struct):
    """A reply as its asker sees it."""

    session: int
    request_id: int
    code: int
    header: Any
    payload: list[bytes]


def batch(
    bodies: Sequence[bytes] = (b"x",), *, producer_id: int = 1, sequence: int = 0, **columns: Any
) -> bytes:
    """A batch as a producer makes it."""
    return encode_batch(
        Columns(bodies=list(bodies), **columns),
        producer_id=producer_id,
        first_sequence=sequence,
        first_born_ms=1,
        last_born_ms=1,
    )


def topic(
    name: str = "orders",
    topic_id: int = 1,
    numbers: Sequence[int] = (1, 2),
    *,
    shard: int = 0,
    version: int = 1,
    retention_ms: int = 0,
    slots: Sequence[int] = (),
) -> TopicRoute:
    """A topic whose queues all live on `shard`."""
    return TopicRoute(
        topic=name,
        topic_id=topic_id,
        version=version,
        slots_version=version,
        queues=[QueueRoute(queue_id=i, number=n, shard=shard) for i, n in enumerate(numbers)],
        slots=list(slots) or list(range(len(numbers))),
        retention_ms=retention_ms,
    )


class ShardUnderTest:
    """See the module. Options of the journal are given by name."""

    def __init__(self, *, number: int = 0, producers_max: int = 1_000, **journal: Any) -> None:
        self.clock = ManualClock()
        self.disk = SimDisk()
        self._number = number
        self._producers_max = producers_max
        # Neither marks nor scrubs by themselves: what happens is what the test does.
        quiet = {"scrub_every_ms": 0, "segment_bytes": 1 << 20, "reserve_bytes": 1 << 14}
        self._options = JournalOptions(**{"directory": "/data/shard", **quiet, **journal})
        self._request_id = 0
        self._sequence = 0
        self.open()

    # ------------------------------------------------------------------ the process

    def open(self) -> None:
        """Start a process on what the disk holds."""
        self.state = ShardState()
        now = self.clock.now()
        self.io = self.disk.io()
        self.journal = Journal.open(self.io, self._options, self.state.projections, now)
        self.core = Shard(
            self._number,
            self.journal,
            self.state,
            CountingRandomness([0xABC]),
            producers_max=self._producers_max,
        )
        self._durable = self.journal.durable

    def restart(self, *, power_cut: bool = False) -> None:
        """Kill the process, or the power, and start again on what is left."""
        if power_cut:
            self.disk = self.disk.power_cut(keep=[])
        else:
            self.disk.kill()
        self.open()

    def digests(self) -> dict[str, int]:
        """Checksum of each projection."""
        return {one.name: one.digest() for one in self.state.projections}

    def turn(self, letters: Sequence[Letter] = ()) -> list[Reply]:
        """One turn of the loop without a sync: what leaves at once."""
        now = self.clock.now()
        effects = self.core.handle(letters, now)
        while self.core.wake_at_ms is not None and self.core.wake_at_ms <= now.mono_ms:
            effects += self.core.handle([], now)
        due_ms = self.journal.wake_at_ms
        if due_ms is not None and due_ms <= now.mono_ms:
            self.journal.tick(now)
        self.journal.write()
        return [opened(effect) for effect in effects]

    def sync(self) -> list[Reply]:
        """Let the disk do all that it can: what leaves after it."""
        now = self.clock.now()
        replies = []
        while (job := self.journal.begin_job(now)) is not None:
            job.run()
            self.journal.finish_job(job, now)
            if self.journal.durable != self._durable:
                self._durable = self.journal.durable
                replies += [opened(one) for one in self.core.durable_advanced(now)]
        return replies

    def pass_time(self, span_ms: float) -> list[Reply]:
        """Let time pass, then one turn and its syncs."""
        self.clock.advance(span_ms)
        return self.turn() + self.sync()

    # ------------------------------------------------------------------ the clients

    def letter(
        self,
        verb: int,
        header: Header | bytes,
        payload: Sequence[bytes] = (),
        *,
        session: int = 1,
        request_id: int | None = None,
        flags: int = 0,
        deadline_ms: int = DEADLINE_MS,
    ) -> Letter:
        """A request as it comes through a router."""
        if request_id is None:
            self._request_id += 1
            request_id = self._request_id
        envelope = pack_envelope(ROUTER_EPOCH, session, 0)
        route = pack_request(verb, request_id, deadline_ms, flags=flags)
        encoded = header if isinstance(header, bytes) else encode_header(header, flags)
        return ("mailbox", PEER, [envelope, route, encoded, *payload])

    def ask(
        self, verb: int, header: Header | bytes, payload: Sequence[bytes] = (), **how: Any
    ) -> Any:
        """The one reply to a request, after a turn and its syncs."""
        return self._answer(self.letter(verb, header, payload, **how))

    def _answer(self, letter: Letter) -> Reply:
        asked = unpack_route(letter[2][1]).request_id
        replies = [one for one in self.turn([letter]) + self.sync() if one.request_id == asked]
        assert len(replies) == 1, replies
        return replies[0]

    def define(self, *topics: TopicRoute, live: Sequence[int] | None = None) -> Reply:
        header = Define(topics=list(topics), live_topic_ids=None if live is None else list(live))
        reply = self.ask(Verb.DEFINE, header)
        assert isinstance(reply, Reply)
        return reply

    def produce_letter(
        self, *batches: tuple[int, bytes], ack: AckMode = "synced", version: int = 0, **how: Any
    ) -> Letter:
        queues = [ProduceQueue(queue=queue, version=version) for queue, _ in batches]
        header = Produce(ack=ack, queues=queues)
        return self.letter(Verb.PRODUCE, header, [frame for _, frame in batches], **how)

    def produce(self, queue: int, frame: bytes, **how: Any) -> ProduceResult:
        """The result of one batch."""
        reply = self._answer(self.produce_letter((queue, frame), **how))
        assert isinstance(reply.header, ProduceReply), reply
        return reply.header.queues[0]

    def fill(
        self, queue: int, *bodies: bytes, producer_id: int = 99, **columns: Any
    ) -> ProduceResult:
        """Store `bodies` as one batch of a producer whose sequence goes on."""
        frame = batch(bodies, producer_id=producer_id, sequence=self._sequence, **columns)
        self._sequence += len(bodies)
        result = self.produce(queue, frame)
        assert result.code == Code.OK, result
        return result

    def fetch_letter(
        self, *queues: tuple[int, int], wait_ms: int = 0, bytes_max: int = 1 << 20, **how: Any
    ) -> Letter:
        wanted = [FetchQueue(queue=queue, offset=offset) for queue, offset in queues]
        header = Fetch(queues=wanted, bytes_max=bytes_max, wait_ms=wait_ms)
        return self.letter(Verb.FETCH, header, **how)

    def fetch(self, *queues: tuple[int, int], **how: Any) -> Reply:
        """The reply to a FETCH that does not wait."""
        reply = self._answer(self.fetch_letter(*queues, **how))
        assert isinstance(reply.header, FetchReply), reply
        return reply


def batches_in(frame: bytes) -> list[bytes]:
    """The batches of a payload frame, which is whole records one behind the other."""
    found = []
    at = 0
    while at < len(frame):
        length = int.from_bytes(frame[at + 4 : at + 8], "little")
        found.append(frame[at + PREFIX_BYTES : at + length])
        at += length
    assert at == len(frame)
    return found


def opened(letter: Letter) -> Reply:
    """A letter to a client, as the client reads it."""
    link, peer, frames = letter
    assert (link, peer) == ("mailbox", PEER)
    envelope, route_frame, header, *payload = frames
    route = unpack_route(route_frame)
    assert route.flags & FLAG_REPLY
    row = row_of(route.verb)
    kind = row.reply if row is not None and route.tail == Code.OK else ErrorReply
    session = int.from_bytes(envelope[8:16], "little")
    # A JSON reply holds messages, so its header may be larger than any other.
    json = route.flags & FLAG_JSON
    opened = msgspec.json.decode(header, type=kind) if json else decode_header(header, kind)
    return Reply(session, route.request_id, route.tail, opened, payload)
