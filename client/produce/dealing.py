"""Dealing: the messages of a parcel to queues, as one encoded batch for each.

    keyless          in turn, message by message: the share of queue q is rows[q::n]
    ordering key     the queue of the key's slot
    explicit queue   that queue

Within a queue the order is that of the parcel. Where all messages are keyless the shares are
slices, which costs nothing for each message. Sequence numbers come from one counter: every part
takes a contiguous range, so they grow in each queue as long as parts enter lanes in the order in
which they were dealt.

A parcel that gathered by itself is dealt to fewer queues when it is small, so that each share has
SHARE_MESSAGES; the next parcel goes on with the next queues.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shardmq.actors.protocol.batch import encode_batch, read_batch_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.columns import Columns
from shardmq.actors.protocol.messages import QueueRoute

from ..routes import TopicMap
from .columns import every_nth, picked, recovered
from .receipts import EXPLICIT, KEYED, KEYLESS, Parcel, Part, SendFault

__all__ = ["SHARE_MESSAGES", "Dealer"]

SHARE_MESSAGES = 256
"""A batch costs the producer, the broker and the consumer together some 200 us, whatever is in it;
256 messages of 100 bytes cost about as much again."""

_Rows = dict[tuple[int, int], list[int]]


class Dealer:
    """Deals for one producer: it holds the sequence counter and whose turn it is."""

    def __init__(self, producer_id: int, compression: int) -> None:
        self.producer_id = producer_id
        self.next_sequence = 1
        self._compression = compression
        self._turn: dict[str, int] = {}

    def deal(
        self,
        parcel: Parcel,
        columns: Columns,
        explicit: Mapping[int, int],
        topic: TopicMap,
        born_ms: tuple[int, int],
        share_messages: int = 1,
    ) -> list[Part]:
        """Seals `parcel`: its parts, encoded, in the order in which they shall leave. A part whose
        queue does not exist is settled with a fault. Keyless messages go to so many queues that
        each gets `share_messages`, to all if there are enough."""
        count = parcel.count = len(columns.bodies)
        if not topic.writable:
            text = f"topic {parcel.topic!r} has no queue that can be written"
            parcel.parts = []
            parcel.fault = SendFault(Code.INVALID_ARGUMENT, text)
            return []
        turn = self._turn.get(parcel.topic, self.producer_id) % len(topic.writable)
        if columns.ordering_keys is None and not explicit:
            shares = min(len(topic.writable), max(1, count // share_messages))
            parts = self._dealt_in_turn(parcel, columns, topic, turn, born_ms, shares)
            turn += count if share_messages == 1 else shares
        else:
            parts = self._dealt_by_key(parcel, columns, explicit, topic, turn, born_ms)
            turn += count
        self._turn[parcel.topic] = turn
        parcel.parts = parts
        parcel.open_parts = sum(not part.settled for part in parts)
        return parts

    def deal_alone(self, parcel: Parcel, columns: Columns, topic: TopicMap, born_ms: int) -> Part:
        """Seals a parcel of one keyless message, as `deal` would, for a topic that has a queue that
        can be written."""
        turn = self._turn.get(parcel.topic, self.producer_id) % len(topic.writable)
        self._turn[parcel.topic] = turn + 1
        part = Part(parcel, topic.writable[turn], 1)
        self.encode(part, columns, (born_ms, born_ms))
        parcel.count = parcel.open_parts = 1
        parcel.parts = [part]
        return part

    def _dealt_in_turn(
        self,
        parcel: Parcel,
        columns: Columns,
        topic: TopicMap,
        turn: int,
        born_ms: tuple[int, int],
        shares: int,
    ) -> list[Part]:
        queues = topic.writable
        parts = []
        for start in range(shares):
            rows = columns if shares == 1 else every_nth(columns, start, shares)
            part = Part(parcel, queues[(turn + start) % len(queues)], len(rows.bodies))
            self.encode(part, rows, born_ms)
            parts.append(part)
        return parts

    def _dealt_by_key(
        self,
        parcel: Parcel,
        columns: Columns,
        explicit: Mapping[int, int],
        topic: TopicMap,
        turn: int,
        born_ms: tuple[int, int],
    ) -> list[Part]:
        rows_of, missing = _rows_by_queue(columns, explicit, topic, turn)
        places: list[tuple[int, int]] = [(0, 0)] * len(columns.bodies)
        parts: list[Part] = []
        for (queue_id, kind), rows in rows_of.items():
            part = Part(parcel, topic.queues[queue_id], len(rows))
            part.kind = kind
            if kind == KEYED:
                part.version = topic.version
            for row, at in enumerate(rows):
                places[at] = len(parts), row
            self.encode(part, picked(columns, rows), born_ms)
            parts.append(part)
        for at, queue_id in missing.items():
            text = f"topic {parcel.topic!r} has no queue {queue_id} that can be written"
            part = Part(parcel, QueueRoute(queue_id=queue_id, number=0, shard=0), 1)
            part.settled, part.fault = True, SendFault(Code.INVALID_ARGUMENT, text)
            places[at] = len(parts), 0
            parts.append(part)
        parcel.places = places
        return parts

    def encode(self, part: Part, columns: Columns, born_ms: tuple[int, int]) -> None:
        """Gives a part its sequence range and its bytes."""
        part.first_sequence = self.next_sequence
        self.next_sequence += part.count
        part.batch = encode_batch(
            columns,
            producer_id=self.producer_id,
            first_sequence=part.first_sequence,
            first_born_ms=born_ms[0],
            last_born_ms=born_ms[1],
            compression=self._compression,
        )

    def deal_again(self, part: Part, topic: TopicMap) -> list[Part]:
        """A part that was certainly not stored, dealt over the queues as they are now. The same
        part where its queue still stands and no key of it can have moved; none where it cannot go
        on. Whatever goes on has new sequences: in its lane it may stand behind others that do."""
        assert not part.unknown, "only the same bytes to the same queue are stored once"
        queue = topic.queues.get(part.queue.queue_id)
        stays = queue is not None and queue.writable
        if not stays and (part.kind == EXPLICIT or not topic.writable):
            return []
        if stays and queue is not None and part.kind != KEYED:
            part.queue = queue
            self.encode(part, recovered(part.batch), _born_ms(part))
            return [part]
        columns = recovered(part.batch)
        turn = self._turn.get(topic.topic, 0)
        self._turn[topic.topic] = turn + 1
        rows_of, _ = _rows_by_queue(columns, {}, topic, turn)
        if part.kind == KEYLESS:
            queue = topic.writable[turn % len(topic.writable)]
            rows_of = {(queue.queue_id, KEYLESS): list(range(part.count))}
        moved: list[Any] = [None] * part.count
        parts = []
        for (queue_id, kind), rows in rows_of.items():
            child = Part(part.parcel, topic.queues[queue_id], len(rows))
            child.kind, child.version = kind, topic.version if kind == KEYED else 0
            child.deadline_ms, child.attempts = part.deadline_ms, part.attempts
            for row, at in enumerate(rows):
                moved[at] = child, row
            self.encode(child, picked(columns, rows), _born_ms(part))
            parts.append(child)
        part.moved = moved
        part.batch = b""
        return parts


def _born_ms(part: Part) -> tuple[int, int]:
    head = read_batch_header(part.batch)
    return head.first_born_ms, head.last_born_ms


def _rows_by_queue(
    columns: Columns, explicit: Mapping[int, int], topic: TopicMap, turn: int
) -> tuple[_Rows, dict[int, int]]:
    """Rows of each (queue, kind), in the order of the parcel; and, by row, the explicit queues
    that cannot be written."""
    keys = columns.ordering_keys or [None] * len(columns.bodies)
    writable = topic.writable
    rows_of: _Rows = {}
    missing: dict[int, int] = {}
    for row, key in enumerate(keys):
        queue: QueueRoute | None
        kind = KEYLESS
        if row in explicit:
            queue, kind = topic.queues.get(explicit[row]), EXPLICIT
            if queue is None or not queue.writable:
                missing[row] = explicit[row]
                continue
        elif key is not None:
            queue, kind = topic.queue_for(key), KEYED
        else:
            queue = writable[(turn + row) % len(writable)]
        if queue is None:
            queue = writable[0]
        rows_of.setdefault((queue.queue_id, kind), []).append(row)
    return rows_of, missing
