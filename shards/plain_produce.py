"""Plain PRODUCE: a topic and messages as JSON, for clients without a batch codec.

Owns how such messages find their queues and become batches. All of a request is stored, or nothing.

    message has       goes to
    queue_id          that queue
    ordering_key      the queue of its slot
    neither           one of this shard's own queues, another one with every request

A queue that lives on another shard is answered with MOVED and that shard's number.

Without `producer_id` the shard is the producer: at least once. With `producer_id` and
`first_sequence` a retry to the same shard is stored once. The client names no bytes and perhaps no
queue, so such a request must end in one queue, its retry is recognised by sequence and count on
any of the topic's queues here, and its messages without key go to a queue that depends on the
producer only.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from shardmq.actors.kernel.ports import Letter, Now, Randomness
from shardmq.actors.protocol.batch import encode_batch, message_id
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.limits import SEQUENCE_MAX
from shardmq.actors.protocol.messages import (
    PlainMessage,
    PlainReceipt,
    Produce,
    ProduceReply,
    ProduceResult,
)
from shardmq.actors.protocol.plain import PlainError, columns_of
from shardmq.actors.protocol.slots import slot_of

from .append import Appender
from .produce import ProduceReplies, receipt_again
from .requests import Request
from .serving import ServedQueue, Serving
from .state.producers import ProducerEntry, Producers
from .state.records import QueuePlace, TopicDefinition
from .state.topics import Topics

__all__ = ["PlainProducing"]

_PRODUCER_ID = re.compile(r"[0-9a-f]{16}")
MESSAGES_MAX = 4_096
"""Messages of one request: its receipts have to fit into a header."""
PLACES_MAX = 256
"""Topics whose places are kept."""


class _Refused(Exception):
    """Ends the handling of a request with a code."""

    def __init__(self, code: Code, message: str, *, shard: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.shard = shard


class _Batch(NamedTuple):
    """Messages of one request for one queue."""

    served: ServedQueue
    indexes: list[int]
    """Where they stood in the request."""
    frame: bytes
    producer_id: int
    first_sequence: int


class _Places:
    """Where the messages of one topic can go; made once for each definition."""

    __slots__ = ("by_queue_id", "definition", "writable")

    def __init__(self, definition: TopicDefinition, serving: Serving) -> None:
        self.definition = definition
        self.by_queue_id = {place.queue_id: place for place in definition.queues}
        own = [serving.by_number[one] for one in serving.numbers_of(definition.topic_id)]
        self.writable = [served for served in own if served.writable]


class PlainProducing:
    """The verb PRODUCE, with plain messages."""

    def __init__(
        self,
        topics: Topics,
        serving: Serving,
        producers: Producers,
        appender: Appender,
        replies: ProduceReplies,
        randomness: Randomness,
    ) -> None:
        self._topics = topics
        self._serving = serving
        self._producers = producers
        self._appender = appender
        self._replies = replies
        self._own_id = randomness.u64()
        """The shard as a producer: a new one with every start, so that its count may start anew."""
        self._own_sequence = 0
        self._turn = 0
        self._places: dict[int, _Places] = {}
        self.duplicates = 0

    def handle(self, request: Request, header: Produce, now: Now, out: list[Letter]) -> None:
        """Answer one PRODUCE that names a topic."""
        try:
            self._handle(request, header, now, out)
        except _Refused as refused:
            out.append(request.refuse(refused.code, refused.message, shard=refused.shard))
        except PlainError as error:
            out.append(request.refuse(error.fault.code, error.fault.message))

    def _handle(self, request: Request, header: Produce, now: Now, out: list[Letter]) -> None:
        messages = header.messages
        if header.queues or request.payload or not messages:
            text = "PRODUCE with a topic has messages, and neither queues nor payload frames"
            raise _Refused(Code.BAD_REQUEST, text)
        if len(messages) > MESSAGES_MAX:
            text = f"a request has at most {MESSAGES_MAX} plain messages, not {len(messages)}"
            raise _Refused(Code.TOO_LARGE, text)
        topic = self._topics.named(str(header.topic))
        if topic is None:
            raise _Refused(Code.TOPIC_NOT_FOUND, f"topic {header.topic!r} is not known here")
        producer_id = _producer_of(header)
        if producer_id is not None:
            known = self._stored_before(topic, producer_id, header)
            if known is not None:
                served, entry = known
                self.duplicates += 1
                result, lsn = receipt_again(served.number, entry)
                everything = list(range(len(messages)))
                batch = _Batch(served, everything, b"", producer_id, entry.first_sequence)
                self._answer(request, header, [(batch, result)], lsn, out)
                return
        batches = self._batches(header, topic, producer_id, now)
        new = sum(
            self._producers.get(one.producer_id, one.served.number) is None for one in batches
        )
        no_room = self._appender.no_room(sum(len(one.frame) for one in batches), new, now)
        if no_room is not None:
            out.append(
                request.refuse(no_room.code, no_room.message, retry_after_ms=no_room.retry_after_ms)
            )
            return
        lsn = 0
        stored = []
        for one in batches:
            result, lsn = self._appender.append(one.served, one.frame, len(one.indexes), now)
            stored.append((one, result))
        self._answer(request, header, stored, lsn, out)

    def _answer(
        self,
        request: Request,
        header: Produce,
        stored: list[tuple[_Batch, ProduceResult]],
        lsn: int,
        out: list[Letter],
    ) -> None:
        receipts: dict[int, PlainReceipt] = {}
        for batch, result in stored:
            for at, index in enumerate(batch.indexes):
                receipts[index] = PlainReceipt(
                    message_id=message_id(batch.producer_id, batch.first_sequence + at),
                    queue_id=batch.served.queue_id,
                    offset=result.base_offset + at,
                )
        reply = ProduceReply(
            ack=header.ack,
            queues=[result for _, result in stored],
            messages=[receipts[index] for index in sorted(receipts)],
        )
        self._replies.send(request, reply, header.ack, lsn, out)

    def _stored_before(
        self, topic: TopicDefinition, producer_id: int, header: Produce
    ) -> tuple[ServedQueue, ProducerEntry] | None:
        last = (header.first_sequence, len(header.messages))
        for number in self._serving.numbers_of(topic.topic_id):
            entry = self._producers.get(producer_id, number)
            if entry is not None and (entry.first_sequence, entry.count) == last:
                return self._serving.by_number[number], entry
        return None

    def _batches(
        self, header: Produce, topic: TopicDefinition, producer_id: int | None, now: Now
    ) -> list[_Batch]:
        """The messages as batches, one for each queue."""
        groups: dict[int, list[int]] = {}
        for index, served in enumerate(self._queues_of(header.messages, topic, producer_id)):
            groups.setdefault(served.number, []).append(index)
        if producer_id is not None and len(groups) > 1:
            text = "messages with a sequence go to one queue: one queue_id or one ordering key"
            raise _Refused(Code.INVALID_ARGUMENT, text)
        batches = []
        for number, indexes in groups.items():
            served = self._serving.by_number[number]
            if producer_id is None:
                sender, sequence = self._own_id, self._own_sequence
                self._own_sequence += len(indexes)
            else:
                assert header.first_sequence is not None
                sender, sequence = producer_id, header.first_sequence
                self._check_sequence(sender, number, sequence)
            rows = [header.messages[index] for index in indexes]
            frame = _frame_of(rows, sender, sequence, now.wall_ms)
            batches.append(_Batch(served, indexes, frame, sender, sequence))
        return batches

    def _check_sequence(self, producer_id: int, queue: int, sequence: int) -> None:
        entry = self._producers.get(producer_id, queue)
        if entry is not None and sequence < entry.first_sequence + entry.count:
            stored = entry.first_sequence + entry.count - 1
            text = f"sequence {sequence} is not above {stored}, which is stored already"
            raise _Refused(Code.STALE_SEQUENCE, text)

    # ------------------------------------------------------------------ where messages go

    def _queues_of(
        self, messages: list[PlainMessage], topic: TopicDefinition, producer_id: int | None
    ) -> list[ServedQueue]:
        places = self._places_of(topic)
        by_queue_id = places.by_queue_id
        any_queue: ServedQueue | None = None
        chosen = []
        for message in messages:
            queue_id = message.queue_id
            if queue_id is None and message.ordering_key is not None and topic.slots:
                queue_id = topic.slots[slot_of(message.ordering_key) % len(topic.slots)]
            if queue_id is not None:
                chosen.append(self._own(by_queue_id.get(queue_id), queue_id))
                continue
            if any_queue is None:
                any_queue = self._any_own(places, producer_id)
            chosen.append(any_queue)
        return chosen

    def _own(self, place: QueuePlace | None, queue_id: int) -> ServedQueue:
        if place is None:
            raise _Refused(Code.INVALID_ARGUMENT, f"the topic has no queue {queue_id}")
        if not place.writable:
            raise _Refused(Code.INVALID_ARGUMENT, f"queue {queue_id} is closed for writing")
        if place.shard != self._serving.shard:
            raise _moved(place)
        return self._serving.by_number[place.number]

    def _places_of(self, topic: TopicDefinition) -> _Places:
        places = self._places.get(topic.topic_id)
        if places is None or places.definition is not topic:
            if len(self._places) >= PLACES_MAX:
                self._places.clear()
            places = self._places[topic.topic_id] = _Places(topic, self._serving)
        return places

    def _any_own(self, places: _Places, producer_id: int | None) -> ServedQueue:
        writable = places.writable
        if writable:
            self._turn += 1
            turn = self._turn if producer_id is None else producer_id
            return writable[turn % len(writable)]
        for place in places.definition.queues:
            if place.writable and place.shard != self._serving.shard:
                raise _moved(place)
        raise _Refused(Code.INVALID_ARGUMENT, "the topic has no queue open for writing")


def _moved(place: QueuePlace) -> _Refused:
    text = f"queue {place.queue_id} lives on shard {place.shard}"
    return _Refused(Code.MOVED, text, shard=place.shard)


def _producer_of(header: Produce) -> int | None:
    """The producer id of a sequenced request, None of one without."""
    if header.producer_id is None and header.first_sequence is None:
        return None
    if header.producer_id is None or header.first_sequence is None:
        text = "give `producer_id` and `first_sequence` together, or neither"
        raise _Refused(Code.INVALID_ARGUMENT, text)
    if not _PRODUCER_ID.fullmatch(header.producer_id):
        raise _Refused(Code.INVALID_ARGUMENT, "`producer_id` is 16 lower-case hex digits")
    if header.first_sequence > SEQUENCE_MAX - len(header.messages):
        raise _Refused(Code.INVALID_ARGUMENT, "sequences stay below 2^63")
    return int(header.producer_id, 16)


def _frame_of(
    messages: list[PlainMessage], producer_id: int, first_sequence: int, wall_ms: int
) -> bytes:
    columns = columns_of(messages)
    born = [wall_ms if one.born_at_ms is None else one.born_at_ms for one in messages]
    return encode_batch(
        columns,
        producer_id=producer_id,
        first_sequence=first_sequence,
        first_born_ms=born[0],
        last_born_ms=born[-1],
    )
