"""PRODUCE: batches from a client into the journal.

Owns what is asked of each batch, in this order, and why in this order:

    queue served here?        else STALE_ROUTE: nothing is known of it
    batch sound?              else BAD_REQUEST, or CORRUPT_BATCH where only the checksum fails
    sequence                  a duplicate gets its first receipt, whatever else has changed since:
                              a refusal would say "not stored" of something that is stored
    codec installed here?     else NOT_SUPPORTED: copies are made of single messages, if need be
    writable, route fresh?    else STALE_ROUTE
    room for it?              else BUSY, DISK_FULL, READ_ONLY
    append

Every decision uses all that is appended, synced or not; only the reply waits for the disk.
"""

from __future__ import annotations

from shardmq.actors.kernel.ports import Letter, Now, QueueLog
from shardmq.actors.protocol.batch import (
    FLAG_COPIES,
    BatchError,
    BatchHeader,
    batch_crc,
    read_batch_header,
)
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.compress import installed_codecs
from shardmq.actors.protocol.limits import REQUEST_QUEUES_MAX
from shardmq.actors.protocol.messages import (
    AckMode,
    Produce,
    ProduceQueue,
    ProduceReply,
    ProduceResult,
)

from .append import Appender
from .durability import Durability
from .requests import Request
from .serving import Serving
from .state.producers import ProducerEntry, Producers

__all__ = ["ProduceReplies", "Producing", "receipt_again"]


class ProduceReplies:
    """Sends replies to PRODUCE when the ack mode is reached."""

    def __init__(self, journal: QueueLog, durability: Durability) -> None:
        self._journal = journal
        self._durability = durability

    def send(
        self, request: Request, reply: ProduceReply, ack: AckMode, lsn: int, out: list[Letter]
    ) -> None:
        """`synced` waits until everything below `lsn` is durable. The other two leave with this
        turn, and a turn writes what it appended before its replies leave."""
        letter = request.answer(reply)
        if ack == "synced" and lsn > self._journal.durable:
            self._durability.hold(lsn, letter)
        else:
            out.append(letter)


class Producing:
    """The verb PRODUCE, with batches."""

    def __init__(
        self, serving: Serving, producers: Producers, appender: Appender, replies: ProduceReplies
    ) -> None:
        self._served = serving.by_number
        self._producers = producers
        self._appender = appender
        self._replies = replies
        self._codecs = installed_codecs()
        self.duplicates = 0

    def handle(self, request: Request, header: Produce, now: Now, out: list[Letter]) -> None:
        """Answer one PRODUCE: one reply with a result for each batch."""
        items, payload = header.queues, request.payload
        if len(items) != len(payload) or not 0 < len(items) <= REQUEST_QUEUES_MAX:
            text = (
                f"PRODUCE has one payload frame for each of 1 to {REQUEST_QUEUES_MAX} queues,"
                f" not {len(payload)} frames for {len(items)}"
            )
            out.append(request.refuse(Code.BAD_REQUEST, text))
            return
        lsn = 0
        results = []
        for item, frame in zip(items, payload, strict=True):
            result, lsn_end = self._store(item, frame, now)
            results.append(result)
            if lsn_end > lsn:
                lsn = lsn_end
        ack = header.ack
        self._replies.send(request, ProduceReply(ack=ack, queues=results), ack, lsn, out)

    def _store(self, item: ProduceQueue, frame: bytes, now: Now) -> tuple[ProduceResult, int]:
        """Result of one batch, and the lsn that has to be durable for it."""
        queue = item.queue
        served = self._served.get(queue)
        if served is None:
            return _refusal(queue, Code.STALE_ROUTE, f"queue {queue} is not on this shard")
        try:
            head = read_batch_header(frame)
        except BatchError as error:
            return _refusal(queue, Code.BAD_REQUEST, str(error))
        if head.length != len(frame):
            text = f"the batch declares {head.length} bytes and has {len(frame)}"
            return _refusal(queue, Code.BAD_REQUEST, text)
        if head.flags & FLAG_COPIES:
            return _refusal(queue, Code.BAD_REQUEST, "only the broker itself writes copies")
        if batch_crc(frame) != head.crc:
            return _refusal(queue, Code.CORRUPT_BATCH, "the checksum does not fit")
        entry = self._producers.get(head.producer_id, queue)
        if entry is not None and head.first_sequence < entry.first_sequence + entry.count:
            return self._known(queue, head, entry)
        if head.bodies_codec not in self._codecs or head.meta_codec not in self._codecs:
            text = "this broker cannot open lz4; install shardmq[lz4] there, or use zstd"
            return _refusal(queue, Code.NOT_SUPPORTED, text)
        version = item.version
        if not served.writable or (version and version < served.slots_version):
            text = f"queue {queue} is closed for writing, or the route is old"
            return _refusal(queue, Code.STALE_ROUTE, text)
        no_room = self._appender.no_room(len(frame), entry is None, now)
        if no_room is not None:
            return _refusal(queue, no_room.code, no_room.message, no_room.retry_after_ms)
        return self._appender.append(served, frame, head.count, now)

    def _known(
        self, queue: int, head: BatchHeader, entry: ProducerEntry
    ) -> tuple[ProduceResult, int]:
        """A batch that is not above the last one of its producer."""
        last = (entry.first_sequence, entry.count, entry.crc)
        if (head.first_sequence, head.count, head.crc) == last:
            self.duplicates += 1
            return receipt_again(queue, entry)
        stored = entry.first_sequence + entry.count - 1
        text = f"sequence {head.first_sequence} is not above {stored}, which is stored already"
        return _refusal(queue, Code.STALE_SEQUENCE, text)


def receipt_again(queue: int, entry: ProducerEntry) -> tuple[ProduceResult, int]:
    """The first receipt of a batch that came again, and the lsn that has to be durable for it."""
    receipt = ProduceResult(
        queue=queue,
        base_offset=entry.base_offset,
        stored_at_ms=entry.stored_at_ms,
        duplicate=True,
    )
    return receipt, entry.lsn_end


def _refusal(
    queue: int, code: Code, message: str, retry_after_ms: int = 0
) -> tuple[ProduceResult, int]:
    result = ProduceResult(queue=queue, code=code, message=message, retry_after_ms=retry_after_ms)
    return result, 0
