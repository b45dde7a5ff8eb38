"""Fetcher: keeps a consumer's buffer filled. Pure.

One FETCH for each shard names all its queues (`lanes.py`: several where that is more than one may
name) and is parked at the shard until something is there; the next one leaves as soon as its answer
came, while the user still works on what it brought, until the buffer holds enough bytes.

An answer is believed only for queues that still stand where it was asked for: a seek makes the rest
of it old news. A parked FETCH that no longer fits (a seek, another queue, a resume) is replaced by
one with the same id, which the shard exchanges for the older one; after that an answer may be to
either, so it must also start at the offset that is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.batch import BatchError, BatchView
from shardmq.actors.protocol.codec import HeaderError, decode_header
from shardmq.actors.protocol.codes import Code, row_of
from shardmq.actors.protocol.messages import FetchReply, FetchResult, QueueRoute
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
from .lanes import Asked, Lane, Lanes, fetch_header
from .options import FetcherOptions
from .rerouting import Owner, Rerouting

__all__ = ["Fetcher", "FetcherOptions"]

WAIT_MS = 10_000
"""How long a FETCH is parked at a shard."""
ANSWER_MS = 2_000.0
"""How long its answer may take beyond that before it is sent again."""
AGAIN_MS = 100.0


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
        self._faulty: dict[Cursor, None] = {}
        """Those with a fault, the oldest first."""
        self._lanes = Lanes()
        self._pumps_soon = False

    # ----------------------------------------------------------------------------- assignment

    def assign(self, cursors: Iterable[Cursor], now: Now) -> None:
        """Adds queues; one that is assigned already starts again at its new position."""
        for cursor in cursors:
            key = cursor.topic, cursor.queue.queue_id
            if key in self._cursors:
                self._forget(self._cursors[key])
            self._cursors[key] = cursor
            self._lanes.add(cursor)
        self.pump(now)

    def cursors(self) -> list[Cursor]:
        return list(self._cursors.values())

    def cursor(self, topic: str, queue_id: int) -> Cursor | None:
        return self._cursors.get((topic, queue_id))

    def seek(self, cursor: Cursor, offset: int, now: Now) -> None:
        """The next message of this queue is the one at `offset`."""
        self.seek_all([(cursor, offset)], now)

    def seek_all(self, places: Sequence[tuple[Cursor, int]], now: Now) -> None:
        """`seek` for several queues."""
        self.buffer.drop_all(cursor for cursor, _ in places)
        for cursor, offset in places:
            cursor.position = cursor.fetch_offset = offset
            cursor.fault = None
            self._faulty.pop(cursor, None)
            self._lanes.touch(cursor)
        self.pump(now)

    def pause(self, cursor: Cursor) -> None:
        """Delivers nothing of this queue until `resume`."""
        cursor.paused = True

    def resume(self, cursor: Cursor, now: Now) -> None:
        self.resume_all([cursor], now)

    def resume_all(self, cursors: Iterable[Cursor], now: Now) -> None:
        for cursor in cursors:
            cursor.paused = False
            self._lanes.touch(cursor)
        self.pump(now)

    def close(self) -> None:
        """Forgets everything in flight."""
        for lane in self._lanes:
            if lane.call is not None:
                self.core.forget(lane.call)
        self._lanes.clear()
        self.buffer.clear()
        self._cursors.clear()
        self._faulty.clear()

    # ------------------------------------------------------------------------------- delivery

    @property
    def has_news(self) -> bool:
        """True if `next_item` would return or raise something."""
        return any(not item.cursor.paused for item in self.buffer.items) or any(
            not cursor.paused for cursor in self._faulty
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
                return self._opened(self.buffer.take(index), now)
        for cursor in self._faulty:
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
        self.buffer.put_back(item)

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
        lanes = self._lanes.open
        for lane in list(lanes):
            if lane.call is not None:
                wanted = lane.wanted()
                if not lane.has_all(wanted):
                    lane.asked, lane.replaced = wanted, True
                    self.core.replace(lane.call, self._header(wanted), now)
            elif not self.buffer.has_room:
                continue
            else:
                wanted = lane.wanted()
                if wanted:
                    self._fetch(lane, wanted, now)
            del lanes[lane]

    def _pump_soon(self, now: Now) -> None:
        """Once for all queues of which this is said at the same time."""
        if not self._pumps_soon:
            self._pumps_soon = True
            self.core.timers.at(now.mono_ms, self._pump_now)

    def _pump_now(self, now: Now) -> None:
        self._pumps_soon = False
        self.pump(now)

    def _header(self, asked: Asked) -> bytes:
        options = self._options
        return fetch_header(asked, self.group_id, options.fetch_bytes, WAIT_MS)

    def _fetch(self, lane: Lane, asked: Asked, now: Now) -> None:
        lane.asked, lane.replaced = asked, False
        lane.call = Call(
            Verb.FETCH,
            self._header(asked),
            partial(self._answered, lane),
            # Two attempts: after a lost answer the second one brings the same again.
            deadline_ms=now.mono_ms + 2 * (WAIT_MS + ANSWER_MS),
            shard=lane.shard,
            attempt_ms=WAIT_MS + ANSWER_MS,
        )
        self.core.submit(lane.call, now)

    def _answered(self, lane: Lane, reply: Reply, now: Now) -> None:
        lane.call = None
        if reply.code != Code.OK:
            self._refused(lane, reply, now)
            return
        self._lanes.open[lane] = None
        try:
            results = decode_header(reply.header, FetchReply).queues
        except HeaderError:
            results = []
        frames = iter(reply.payload)
        for result in results:
            payload = [frame for _, frame in zip(range(result.frames), frames, strict=False)]
            cursor = self._lanes.cursor(result.queue)
            if cursor is None or cursor.stopped:
                continue
            if lane.asked.get(result.queue) == cursor.place:
                self._take(cursor, result, payload, lane.replaced, now)
        self.pump(now)
        if self.news is not None and self.buffer.items:
            self.news()

    def _refused(self, lane: Lane, reply: Reply, now: Now) -> None:
        if row_of(reply.code).retryable:
            self.core.timers.at(now.mono_ms + AGAIN_MS, partial(self._again, lane))
            return
        error = reply.error()
        fault = remote_error(reply.code, error.message, error.hint)
        for number in lane.asked:
            cursor = self._lanes.cursor(number)
            if cursor is not None:
                self.fail(cursor, fault)

    def _again(self, lane: Lane, now: Now) -> None:
        self._lanes.open[lane] = None
        self.pump(now)

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
            self.fail(cursor, remote_error(result.code, result.message))

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
        self.fail(cursor, out_of_range(cursor, result))

    # ------------------------------------------------------------------------- for the owner

    def holds(self, cursor: Cursor) -> bool:
        """True while `cursor` is one of those that are read."""
        return self._cursors.get((cursor.topic, cursor.queue.queue_id)) is cursor

    def wake(self, cursor: Cursor, now: Now) -> None:
        """Reads on from a queue that was stale."""
        cursor.stale = False
        self._lanes.touch(cursor)
        self._pump_soon(now)

    def fail(self, cursor: Cursor, fault: Exception) -> None:
        """Reads no more of a queue, and says why, until it is sought."""
        cursor.fault = fault
        self._faulty[cursor] = None

    def move(self, cursor: Cursor, queue: QueueRoute) -> None:
        """The queue is on another shard, or it is another queue with the same id."""
        self._lanes.remove(cursor.queue.number)
        if queue.number != cursor.queue.number:
            # Deleted and created again: another queue, from its start. What is held went with
            # the old one, and its offsets mean nothing here.
            self.buffer.drop(cursor)
            cursor.position = cursor.fetch_offset = 0
        cursor.queue = queue
        self._lanes.add(cursor)

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
        self._lanes.remove(cursor.queue.number)
        self._faulty.pop(cursor, None)
        self.buffer.put(Item(cursor, cursor.fetch_offset, error=error))

    def _forget(self, cursor: Cursor) -> None:
        self.buffer.drop(cursor)
        self._lanes.remove(cursor.queue.number)
        self._faulty.pop(cursor, None)


def _holds(record: Any, offset: int) -> bool:
    """True if a record is surely the one at `offset`."""
    return bool(record.base_offset <= offset < record.next_offset)
