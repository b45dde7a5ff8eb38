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

from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.batch import BatchError, BatchView
from shardmq.actors.protocol.codec import HeaderError, decode_header, encode_header
from shardmq.actors.protocol.codes import Code, row_of
from shardmq.actors.protocol.messages import Fetch, FetchQueue, FetchReply, FetchResult
from shardmq.actors.protocol.verbs import Verb

from ..errors import DamagedRecord, OffsetOutOfRange, RemoteError, ShardMQError, remote_error
from ..link.calls import Call, Reply
from ..link.core import ClientCore
from ..received import Delivery
from ..records import FetchedRecord, RecordError, split_records
from ..routes import RouteFault, Routes, TopicMap
from .cursor import Cursor, Item

__all__ = ["Fetcher", "FetcherOptions"]

WAIT_MS = 10_000
"""How long a FETCH is parked at a shard."""
ANSWER_MS = 2_000.0
"""How long its answer may take beyond that before it is sent again."""
ROUTE_MS = 10_000.0
AGAIN_MS = 100.0


class FetcherOptions(NamedTuple):
    fetch_bytes: int
    """Credit of one FETCH."""
    buffer_bytes: int
    """No further FETCH leaves while so much is held."""
    on_out_of_range: str
    """error, earliest or latest."""


class _Pending:
    """A FETCH in flight."""

    __slots__ = ("asked", "call", "replaced")

    def __init__(self, call: Call, asked: dict[int, int]) -> None:
        self.call = call
        self.asked = asked
        """Offset asked for, by queue number."""
        self.replaced = False


class Fetcher:
    """The pure part of a pull consumer."""

    def __init__(self, core: ClientCore, routes: Routes, options: FetcherOptions) -> None:
        self.items: deque[Item] = deque()
        """What came, in order."""
        self._core = core
        self._routes = routes
        self._options = options
        self._cursors: dict[tuple[str, int], Cursor] = {}
        self._by_number: dict[int, Cursor] = {}
        self._pending: dict[int, _Pending] = {}
        self._held_bytes = 0

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
        self._drop_items(cursor)
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
            self._core.forget(pending.call)
        self._pending.clear()
        self.items.clear()
        self._cursors.clear()
        self._by_number.clear()

    # ------------------------------------------------------------------------------- delivery

    @property
    def has_news(self) -> bool:
        """True if `next_item` would return or raise something."""
        cursors = self._cursors.values()
        return any(not item.cursor.paused for item in self.items) or any(
            cursor.fault is not None and not cursor.paused for cursor in cursors
        )

    def next_item(self, now: Now, *, more: bool = False) -> Item | None:
        """The next batch, opened; `done` or `give_back` must follow. With `more` an error stays
        where it is: what was read before it is delivered first.

        Raises:
            DamagedRecord: a record could not be read; the next call goes on behind it.
            OffsetOutOfRange: again at each call, until the queue is sought elsewhere.
        """
        for index, item in enumerate(self.items):
            if not item.cursor.paused:
                if more and item.error is not None:
                    return None
                del self.items[index]
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
        self._held_bytes -= item.size
        item.size = 0
        self.pump(now)

    def give_back(self, item: Item, start: int) -> None:
        """Only the messages before `start` were delivered."""
        if not item.is_current:
            self._held_bytes -= item.size
            return
        item.start = start
        item.cursor.position = item.position()
        self.items.appendleft(item)

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
            raise _damaged(cursor, cursor.position, item.next_offset, text) from None
        return item

    # ------------------------------------------------------------------------------- fetching

    def pump(self, now: Now) -> None:
        """Asks every shard for what is wanted of it."""
        wanted: dict[int, dict[int, int]] = {}
        for cursor in self._cursors.values():
            if cursor.wants_more:
                number = cursor.queue.number
                wanted.setdefault(cursor.queue.shard, {})[number] = cursor.fetch_offset
        for shard, asked in wanted.items():
            pending = self._pending.get(shard)
            if pending is None:
                if self._held_bytes < self._options.buffer_bytes:
                    self._fetch(shard, asked, now)
            elif any(pending.asked.get(number) != offset for number, offset in asked.items()):
                pending.asked = asked
                pending.replaced = True
                self._core.replace(pending.call, self._header(asked), now)

    def _header(self, asked: dict[int, int]) -> bytes:
        return encode_header(
            Fetch(
                queues=[FetchQueue(queue=number, offset=at) for number, at in asked.items()],
                bytes_max=self._options.fetch_bytes,
                wait_ms=WAIT_MS,
            )
        )

    def _fetch(self, shard: int, asked: dict[int, int], now: Now) -> None:
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
        self._core.submit(call, now)

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
            if cursor is not None and pending.asked.get(result.queue) == cursor.fetch_offset:
                self._take(cursor, result, payload, pending.replaced, now)
        self.pump(now)

    def _refused(self, pending: _Pending, reply: Reply, now: Now) -> None:
        if row_of(reply.code).retryable:
            self._core.timers.at(now.mono_ms + AGAIN_MS, self.pump)
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
            if not payload and not doubted and result.next_offset > cursor.fetch_offset:
                # A crash left a gap: asked for again it would be answered at once, for ever.
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
            self._ask_route(cursor, now)
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
        self._put(Item(cursor, end, delivery=delivery, start_offset=cursor.fetch_offset, size=size))
        cursor.fetch_offset = end

    def _settle_position(self, cursor: Cursor) -> None:
        """With nothing held of its queue, a cursor stands where it reads on."""
        if not any(item.cursor is cursor for item in self.items):
            cursor.position = cursor.fetch_offset

    def _put(self, item: Item) -> None:
        self._held_bytes += item.size
        self.items.append(item)

    # --------------------------------------------------------------------------------- faults

    def _damaged(self, cursor: Cursor, next_offset: int, text: str) -> None:
        next_offset = max(next_offset, cursor.fetch_offset + 1)
        error = _damaged(cursor, cursor.fetch_offset, next_offset, text)
        self._put(Item(cursor, next_offset, error=error))
        cursor.fetch_offset = next_offset

    def _out_of_range(self, cursor: Cursor, result: FetchResult) -> None:
        policy = self._options.on_out_of_range
        if policy != "error":
            offset = result.earliest if policy == "earliest" else result.latest
            self._drop_items(cursor)
            cursor.position = cursor.fetch_offset = offset
            return
        text = (
            f"offset {cursor.fetch_offset} of {cursor.topic!r} queue {cursor.queue.queue_id} is"
            f" not there: it has {result.earliest} to {result.latest}"
        )
        error = OffsetOutOfRange(text)
        error.topic, error.queue_id = cursor.topic, cursor.queue.queue_id
        error.offset = cursor.fetch_offset
        error.earliest, error.latest = result.earliest, result.latest
        cursor.fault = error

    def _ask_route(self, cursor: Cursor, now: Now) -> None:
        cursor.stale = True
        self._routes.forget(cursor.topic)
        told = partial(self._told, cursor)
        self._routes.ask(cursor.topic, told, now.mono_ms + ROUTE_MS, now)

    def _told(self, cursor: Cursor, found: TopicMap | RouteFault, now: Now) -> None:
        queue_id = cursor.queue.queue_id
        if self._cursors.get((cursor.topic, queue_id)) is not cursor:
            return
        if isinstance(found, RouteFault):
            if row_of(found.code).retryable:
                self._later_ask(cursor, now)
            else:
                self._lose(cursor, remote_error(found.code, found.message, found.hint))
            return
        queue = found.queues.get(queue_id)
        if queue is None or not queue.readable:
            text = f"queue {queue_id} of {cursor.topic!r} is closed for reading"
            self._lose(cursor, RemoteError(text, code=Code.STALE_ROUTE, retryable=False))
        elif queue.number == cursor.queue.number and queue.shard == cursor.queue.shard:
            # The shard has not heard of it yet.
            self._core.timers.at(now.mono_ms + AGAIN_MS, partial(self._fresh, cursor))
        else:
            self._by_number.pop(cursor.queue.number, None)
            if queue.number != cursor.queue.number:
                # Deleted and created again: another queue, from its start. What is held went with
                # the old one, and its offsets mean nothing here.
                self._drop_items(cursor)
                cursor.position = cursor.fetch_offset = 0
            cursor.queue = queue
            self._by_number[queue.number] = cursor
            self._fresh(cursor, now)

    def _fresh(self, cursor: Cursor, now: Now) -> None:
        cursor.stale = False
        self.pump(now)

    def _later_ask(self, cursor: Cursor, now: Now) -> None:
        def again(now: Now) -> None:
            if self._cursors.get((cursor.topic, cursor.queue.queue_id)) is cursor:
                self._ask_route(cursor, now)

        self._core.timers.at(now.mono_ms + AGAIN_MS, again)

    def _lose(self, cursor: Cursor, error: ShardMQError) -> None:
        """The queue is gone: says so once, behind what was still read from it."""
        self._cursors.pop((cursor.topic, cursor.queue.queue_id), None)
        self._by_number.pop(cursor.queue.number, None)
        self._put(Item(cursor, cursor.fetch_offset, error=error))

    def _forget(self, cursor: Cursor) -> None:
        self._drop_items(cursor)
        self._by_number.pop(cursor.queue.number, None)

    def _drop_items(self, cursor: Cursor) -> None:
        kept = [item for item in self.items if item.cursor is not cursor]
        self._held_bytes -= sum(item.size for item in self.items if item.cursor is cursor)
        self.items = deque(kept)


def _holds(record: Any, offset: int) -> bool:
    """True if a record is surely the one at `offset`."""
    return bool(record.base_offset <= offset < record.next_offset)


def _damaged(cursor: Cursor, offset: int, next_offset: int, text: str) -> DamagedRecord:
    where = f"{cursor.topic!r} queue {cursor.queue.queue_id}"
    hint = f"reading goes on at offset {next_offset}"
    error = DamagedRecord(f"{where}, offset {offset}: {text}", hint=hint)
    error.topic, error.queue_id = cursor.topic, cursor.queue.queue_id
    error.offset, error.next_offset = offset, next_offset
    return error
