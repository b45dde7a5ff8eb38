"""Fetcher: keeps a consumer's buffer filled. Pure.

One FETCH for each shard names all its queues and is parked at the shard until something is there;
the next one leaves as soon as its answer came, while the user still works on what it brought, until
the buffer holds enough bytes.

An answer is believed only for queues that still stand where it was asked for: a seek makes the rest
of it old news. A parked FETCH that no longer fits (a seek, another queue, a resume) is replaced by
one with the same id, which the shard exchanges for the older one; after that an answer may be to
either, so it must also start at the offset that is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.batch import BatchError, BatchView
from shardmq.actors.protocol.codec import HeaderError, decode_header, encode_header
from shardmq.actors.protocol.codes import Code, row_of
from shardmq.actors.protocol.messages import (
    Fetch,
    FetchQueue,
    FetchReply,
    FetchResult,
    QueueRoute,
)
from shardmq.actors.protocol.verbs import Verb

from ..errors import ShardMQError, remote_error
from ..link.calls import Call, Reply
from ..link.core import ClientCore
from ..received import Delivery
from ..records import FetchedRecord, RecordError, split_records
from ..routes import Routes
from .buffer import Buffer
from .cursor import Cursor, Item
from .faults import damaged, out_of_range
from .options import FetcherOptions
from .rerouting import Owner, Rerouting

__all__ = ["Fetcher", "FetcherOptions"]

WAIT_MS = 10_000
"""How long a FETCH is parked at a shard."""
ANSWER_MS = 2_000.0
"""How long its answer may take beyond that before it is sent again."""
AGAIN_MS = 100.0


_Asked = dict[int, tuple[int, int]]
"""Queue number -> the offset asked for, and the generation of the grant that allows it."""


class _Pending:
    """A FETCH in flight."""

    __slots__ = ("asked", "call", "replaced")

    def __init__(self, call: Call, asked: _Asked) -> None:
        self.call = call
        self.asked = asked
        self.replaced = False


class Fetcher:
    """The pure part of a pull consumer."""

    def __init__(self, core: ClientCore, routes: Routes, options: FetcherOptions) -> None:
        self.buffer = Buffer(options.buffer_bytes, options.buffer_messages)
        self.core = core
        self.owner: Owner = Rerouting(self, routes)
        self.group_id = 0
        """0: reads for nobody's group."""
        self.news: Callable[[], None] | None = None
        """Called when something came, for those who do not wait for `has_news`."""
        self._options = options
        self._cursors: dict[tuple[str, int], Cursor] = {}
        self._by_number: dict[int, Cursor] = {}
        self._pending: dict[int, _Pending] = {}

    # ----------------------------------------------------------------------------- assignment

    def assign(self, cursors: Iterable[Cursor], now: Now) -> None:
        """Adds queues; one that is assigned already starts again at its new position."""
        for cursor in cursors:
            key = cursor.topic, cursor.queue.queue_id
            if key in self._cursors:
                self._forget(self._cursors[key])
            self._cursors[key] = self._by_number[cursor.queue.number] = cursor
        self.pump(now)

    def cursors(self) -> list[Cursor]:
        return list(self._cursors.values())

    def cursor(self, topic: str, queue_id: int) -> Cursor | None:
        return self._cursors.get((topic, queue_id))

    def seek(self, cursor: Cursor, offset: int, now: Now) -> None:
        """The next message of this queue is the one at `offset`."""
        self.buffer.drop(cursor)
        cursor.position = cursor.fetch_offset = offset
        cursor.fault = None
        self.pump(now)

    def pause(self, cursor: Cursor) -> None:
        """Delivers nothing of this queue until `resume`."""
        cursor.paused = True

    def resume(self, cursor: Cursor, now: Now) -> None:
        cursor.paused = False
        self.pump(now)

    def close(self) -> None:
        """Forgets everything in flight."""
        for pending in self._pending.values():
            self.core.forget(pending.call)
        self._pending.clear()
        self.buffer.items.clear()
        self._cursors.clear()
        self._by_number.clear()

    # ------------------------------------------------------------------------------- delivery

    @property
    def has_news(self) -> bool:
        """True if `next_item` would return or raise something."""
        cursors = self._cursors.values()
        return any(not item.cursor.paused for item in self.buffer.items) or any(
            cursor.fault is not None and not cursor.paused for cursor in cursors
        )

    def next_item(self, now: Now, *, more: bool = False) -> Item | None:
        """The next batch, opened; `done` or `give_back` must follow. With `more` an error stays
        where it is: what was read before it is delivered first.

        Raises:
            DamagedRecord: a record could not be read; the next call goes on behind it.
            OffsetOutOfRange: again at each call, until the queue is sought elsewhere.
        """
        for index, item in enumerate(self.buffer.items):
            if not item.cursor.paused:
                if more and item.error is not None:
                    return None
                del self.buffer.items[index]
                return self._opened(item, now)
        for cursor in self._cursors.values():
            if cursor.fault is not None and not cursor.paused and not more:
                raise cursor.fault
        return None

    def done(self, item: Item, now: Now) -> None:
        """All of `item` was delivered."""
        if item.is_current:
            item.cursor.position = item.next_offset
            self._settle_position(item.cursor)
        self.buffer.free(item)
        self.pump(now)

    def give_back(self, item: Item, start: int) -> None:
        """Only the messages before `start` were delivered."""
        if not item.is_current:
            self.buffer.free(item)
            return
        item.start = start
        item.cursor.position = item.position()
        self.buffer.items.appendleft(item)

    def _opened(self, item: Item, now: Now) -> Item:
        cursor = item.cursor
        if item.error is not None:
            cursor.position = item.next_offset
            self.pump(now)
            raise item.error
        try:
            item.open()
        except BatchError as error:
            self.done(item, now)
            text = f"the batch is malformed: {error}"
            raise damaged(cursor, cursor.position, item.next_offset, text) from None
        return item

    # ------------------------------------------------------------------------------- fetching

    def pump(self, now: Now) -> None:
        """Asks every shard for what is wanted of it."""
        wanted: dict[int, _Asked] = {}
        for cursor in self._cursors.values():
            if cursor.wants_more:
                number = cursor.queue.number
                wanted.setdefault(cursor.queue.shard, {})[number] = cursor.place
        for shard, asked in wanted.items():
            pending = self._pending.get(shard)
            if pending is None:
                if self.buffer.has_room:
                    self._fetch(shard, asked, now)
            elif any(pending.asked.get(number) != place for number, place in asked.items()):
                pending.asked = asked
                pending.replaced = True
                self.core.replace(pending.call, self._header(asked), now)

    def _header(self, asked: _Asked) -> bytes:
        return encode_header(
            Fetch(
                group_id=self.group_id,
                queues=[
                    FetchQueue(queue=number, offset=offset, generation=generation)
                    for number, (offset, generation) in asked.items()
                ],
                bytes_max=self._options.fetch_bytes,
                wait_ms=WAIT_MS,
            )
        )

    def _fetch(self, shard: int, asked: _Asked, now: Now) -> None:
        call = Call(
            Verb.FETCH,
            self._header(asked),
            partial(self._answered, shard),
            # Two attempts: after a lost answer the second one brings the same again.
            deadline_ms=now.mono_ms + 2 * (WAIT_MS + ANSWER_MS),
            shard=shard,
            attempt_ms=WAIT_MS + ANSWER_MS,
        )
        self._pending[shard] = _Pending(call, asked)
        self.core.submit(call, now)

    def _answered(self, shard: int, reply: Reply, now: Now) -> None:
        pending = self._pending.pop(shard)
        if reply.code != Code.OK:
            self._refused(pending, reply, now)
            return
        try:
            results = decode_header(reply.header, FetchReply).queues
        except HeaderError:
            results = []
        frames = iter(reply.payload)
        for result in results:
            payload = [frame for _, frame in zip(range(result.frames), frames, strict=False)]
            cursor = self._by_number.get(result.queue)
            if cursor is None or cursor.stopped:
                continue
            if pending.asked.get(result.queue) == cursor.place:
                self._take(cursor, result, payload, pending.replaced, now)
        self.pump(now)
        if self.news is not None and self.buffer.items:
            self.news()

    def _refused(self, pending: _Pending, reply: Reply, now: Now) -> None:
        if row_of(reply.code).retryable:
            self.core.timers.at(now.mono_ms + AGAIN_MS, self.pump)
            return
        error = reply.error()
        fault = remote_error(reply.code, error.message, error.hint)
        for number in pending.asked:
            cursor = self._by_number.get(number)
            if cursor is not None:
                cursor.fault = fault

    def _take(
        self, cursor: Cursor, result: FetchResult, payload: list[bytes], doubted: bool, now: Now
    ) -> None:
        """One queue's share of an answer."""
        if result.code == Code.OK:
            for frame in payload:
                records = split_records(frame)
                if doubted and records and not _holds(records[0], cursor.fetch_offset):
                    return
                for record in records:
                    self._take_record(cursor, record, result.next_offset)
            passed = not payload or cursor.selection is not None
            if passed and not doubted and result.next_offset > cursor.fetch_offset:
                # A crash left a gap, or the subscription selects nothing there: asked for again
                # it would be answered at once, for ever.
                cursor.fetch_offset = result.next_offset
                self._settle_position(cursor)
        elif doubted and row_of(result.code).code != Code.STALE_ROUTE:
            return
        elif result.code == Code.OFFSET_OUT_OF_RANGE:
            self._out_of_range(cursor, result)
        elif result.code == Code.DAMAGED:
            text = result.message or "the record's checksum does not fit"
            self._damaged(cursor, result.next_offset, text)
        elif result.code in (Code.STALE_ROUTE, Code.MOVED):
            self.owner.stale(cursor, now)
        elif result.code == Code.FENCED:
            self.owner.fenced(cursor, now)
        elif not row_of(result.code).retryable:
            cursor.fault = remote_error(result.code, result.message)

    def _take_record(
        self, cursor: Cursor, record: FetchedRecord | RecordError, frame_end: int
    ) -> None:
        if isinstance(record, RecordError):
            end = record.next_offset if record.base_offset >= 0 else frame_end
            if end > cursor.fetch_offset:
                self._damaged(cursor, end, str(record))
            return
        end = record.next_offset
        if end <= cursor.fetch_offset or record.queue != cursor.queue.number:
            return
        view = BatchView(record.batch, record.head)
        delivery = Delivery(
            cursor.topic, cursor.queue.queue_id, record.base_offset, record.stored_at_ms, view
        )
        size = len(record.batch)
        self.buffer.put(
            Item(
                cursor, end, delivery=delivery, start_offset=cursor.fetch_offset, size=size,
                count=record.head.count,
            )
        )  # fmt: skip
        cursor.fetch_offset = end

    def _settle_position(self, cursor: Cursor) -> None:
        """With nothing held of its queue, a cursor stands where it reads on."""
        if not self.buffer.holds(cursor):
            cursor.position = cursor.fetch_offset

    # --------------------------------------------------------------------------------- faults

    def _damaged(self, cursor: Cursor, next_offset: int, text: str) -> None:
        next_offset = max(next_offset, cursor.fetch_offset + 1)
        error = damaged(cursor, cursor.fetch_offset, next_offset, text)
        self.buffer.put(Item(cursor, next_offset, error=error))
        cursor.fetch_offset = next_offset

    def _out_of_range(self, cursor: Cursor, result: FetchResult) -> None:
        policy = self._options.on_out_of_range
        if policy != "error":
            offset = result.earliest if policy == "earliest" else result.latest
            self.buffer.drop(cursor)
            cursor.position = cursor.fetch_offset = offset
            return
        cursor.fault = out_of_range(cursor, result)

    # ------------------------------------------------------------------------- for the owner

    def holds(self, cursor: Cursor) -> bool:
        """True while `cursor` is one of those that are read."""
        return self._cursors.get((cursor.topic, cursor.queue.queue_id)) is cursor

    def wake(self, cursor: Cursor, now: Now) -> None:
        """Reads on from a queue that was stale."""
        cursor.stale = False
        self.pump(now)

    def move(self, cursor: Cursor, queue: QueueRoute) -> None:
        """The queue is on another shard, or it is another queue with the same id."""
        self._by_number.pop(cursor.queue.number, None)
        if queue.number != cursor.queue.number:
            # Deleted and created again: another queue, from its start. What is held went with
            # the old one, and its offsets mean nothing here.
            self.buffer.drop(cursor)
            cursor.position = cursor.fetch_offset = 0
        cursor.queue = queue
        self._by_number[queue.number] = cursor

    def drop(self, cursor: Cursor) -> None:
        """Forgets a queue and what is held of it."""
        if self.holds(cursor):
            del self._cursors[cursor.topic, cursor.queue.queue_id]
            self._forget(cursor)

    def stop(self, cursor: Cursor) -> None:
        """Asks for no more of a queue, and drops what is held of it and not delivered."""
        self.buffer.drop(cursor)
        cursor.stopped = True
        cursor.fetch_offset = cursor.position

    def lose(self, cursor: Cursor, error: ShardMQError) -> None:
        """The queue is gone: says so once, behind what was still read from it."""
        self._cursors.pop((cursor.topic, cursor.queue.queue_id), None)
        self._by_number.pop(cursor.queue.number, None)
        self.buffer.put(Item(cursor, cursor.fetch_offset, error=error))

    def _forget(self, cursor: Cursor) -> None:
        self.buffer.drop(cursor)
        self._by_number.pop(cursor.queue.number, None)


def _holds(record: Any, offset: int) -> bool:
    """True if a record is surely the one at `offset`."""
    return bool(record.base_offset <= offset < record.next_offset)
