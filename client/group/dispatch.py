"""Dispatcher: deals what was fetched to workers, and joins what they have done. Pure.

Messages are dealt in runs, so that a worker takes a lock per run and not per message. A run is as
long as the listener is quick: about RUN_MS of its time, one message for a slow listener. Done is
told to the queue's tracker as ranges: a run covers everything from its first message up to the
first of the next run, so what the subscription left out needs no thought.

What was taken from the fetcher counts against its buffer until all of its messages are done.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from math import inf

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.batch import BatchError
from shardmq.actors.protocol.group_messages import NackMessage

from ..consume.cursor import Cursor, Item
from ..consume.fetcher import Fetcher
from ..errors import DamagedRecord, ShardMQError
from ..received import Delivery, ReceivedMessage, place_of
from .core import GroupCore, Holding
from .ledger import Ledger, Open, Segment
from .nacks import Nacker
from .outcomes import Failure, timed_out
from .work import Listener, Work

__all__ = ["Dispatcher"]

RUN_MS = 2.0
RUN_MESSAGES_MAX = 1_024
STALLED_MS = 10.0
WATCH_MS = 25.0
"""While listeners are at work, how often it is looked whether one of them takes long."""
_log = logging.getLogger("shardmq.client")


class Dispatcher:
    """For listeners that do not care about order."""

    def __init__(
        self,
        core: GroupCore,
        nacker: Nacker | None,
        listeners: Mapping[str, Listener],
        timeout_ms: float | None,
        retry_delay_ms: Callable[[int], int | None] = lambda attempt: None,
    ) -> None:
        self.stopped = False
        self.running: set[Work] = set()
        self._is_watching = False
        self.replace_worker: Callable[[], None] | None = None
        """Called when a worker is stuck in a listener that timed out."""
        self._core = core
        self._fetcher: Fetcher = core.fetcher
        self._nacker = nacker
        self._listeners = listeners
        self._timeout_ms = timeout_ms
        self._retry_delay_ms = retry_delay_ms
        self._ledgers: dict[Cursor, Ledger] = {}
        self._segments: deque[Segment] = deque()
        self._cost_ms: dict[Listener, float] = {}
        """Of one message, smoothed."""

    # ------------------------------------------------------------------------ what workers do

    def take(self, now: Now) -> Work | None:
        """The next run; `finish` must follow."""
        if self.stopped or not (self._segments or self._refill(now)):
            return None
        listener = self._listeners[self._segments[0].messages[0].topic]
        part = self._cut(listener.batch or self.run_length(listener))
        work = Work(listener, part.messages, part.first, part.end, part.batch, now.mono_ms)
        if listener.batch > len(part.messages):
            self._fill(work, part, now)
        self._begin(work, now)
        return work

    def _cut(self, count: int) -> Segment:
        """At most so many messages of the segment that waits longest."""
        part = self._segments[0].cut(count)
        if not self._segments[0]:
            self._segments.popleft()
        return part

    def _fill(self, work: Work, part: Segment, now: Now) -> None:
        """A list goes on with what follows in its queue, batch by batch, as far as it is here."""
        parts, listener = [part], work.listener
        messages = list(part.messages)
        while len(messages) < listener.batch and (self._segments or self._refill(now)):
            head = self._segments[0]
            is_other = self._listeners[head.messages[head.start].topic] is not listener
            if is_other or head.batch.ledger is not part.batch.ledger:
                break
            parts.append(self._cut(listener.batch - len(messages)))
            messages += parts[-1].messages
        if len(parts) > 1:
            work.messages, work.iterator, work.rows = messages, iter(messages), parts

    def finish(self, work: Work, now: Now) -> bool:
        """A worker is through with its run. False: it was replaced, nobody needs it any more."""
        if work.given_up:
            return False
        self.running.discard(work)
        self._learn(work, now)
        self._settle(work, work.failures, now)
        return True

    def run_length(self, listener: Listener) -> int:
        """Messages of one run."""
        cost_ms = self._cost_ms.get(listener)
        if cost_ms is None:
            return 1
        return max(1, min(RUN_MESSAGES_MAX, int(RUN_MS / max(cost_ms, 1e-6))))

    @property
    def wants_another(self) -> bool:
        """True if one more worker would find something to do, and help: with listeners that are
        quick one worker does it all, and others would only be in its way."""
        if self.stopped or not (self._segments or self._fetcher.buffer.items):
            return False
        return not self.running or any(
            self.run_length(listener) < RUN_MESSAGES_MAX for listener in self._listeners.values()
        )

    def _unstall(self, now: Now) -> None:
        """What waits behind a message that takes long is dealt to somebody else."""
        self._is_watching = False
        for work in list(self.running):
            took_ms = now.mono_ms - work.started_ms
            if not work.listener.batch and took_ms > STALLED_MS:
                self._put_back(work)
                cost_ms = took_ms / max(1, work.taken)
                self._cost_ms[work.listener] = max(cost_ms, self._cost_ms.get(work.listener, 0.0))
        if self.wants_another and self._fetcher.news is not None:
            self._fetcher.news()
        self._watch(now)

    def _watch(self, now: Now) -> None:
        if self.running and not self._is_watching:
            self._is_watching = True
            self._fetcher.core.timers.at(now.mono_ms + WATCH_MS, self._unstall)

    # ---------------------------------------------------------------------- what the core says

    def begin(self, holding: Holding) -> Ledger:
        """The ledger of a queue that is read."""
        cursor, tracker = holding.cursor, holding.tracker
        assert cursor is not None, "only a queue that is read can be worked on"
        assert tracker is not None, "only a queue that is read can be worked on"
        ledger = self._ledgers.get(cursor)
        if ledger is None:
            ledger = self._ledgers[cursor] = Ledger(holding, tracker.floor)
        return ledger

    def stop(self, holding: Holding, now: Now) -> None:
        """Nothing more of a revoked queue is dealt."""
        ledger = self.begin(holding)
        ledger.is_stopping = True
        assert holding.cursor is not None, "the ledger says so"
        self._fetcher.stop(holding.cursor)
        self._drop(ledger, now)
        self._let_go(ledger, now)

    def dropped(self, holding: Holding, now: Now) -> None:
        """The queue is gone: nobody waits for what is in work of it."""
        if holding.cursor is not None and holding.cursor in self._ledgers:
            ledger = self._ledgers.pop(holding.cursor)
            ledger.is_gone = True
            self._drop(ledger, now)

    def passed(self) -> None:
        """Queues with nothing in work: all that was fetched is done."""
        waiting = {item.cursor for item in self._fetcher.buffer.items}
        for holding in self._core.holdings.values():
            cursor, tracker = holding.cursor, holding.tracker
            if cursor is None or tracker is None or cursor.stopped:
                continue
            ledger = self.begin(holding)
            if not ledger.open and cursor not in waiting:
                tracker.add(tracker.floor, cursor.fetch_offset)
                ledger.dealt = max(ledger.dealt, cursor.fetch_offset)

    def close(self) -> None:
        """Deals nothing more; what waits is dropped."""
        self.stopped = True
        self._segments.clear()

    # ----------------------------------------------------------------------------------- dealing

    def _refill(self, now: Now) -> bool:
        """Opens fetched batches until there is something to deal."""
        while True:
            batch = self._next_batch(now)
            if batch is None:
                return False
            if batch.item.messages:
                self._deal(batch)
                return True

    def _next_batch(self, now: Now) -> Open | None:
        while True:
            try:
                item = self._fetcher.next_item(now)
            except DamagedRecord as error:
                _log.error("a record cannot be read and is left out: %s", error)
                continue
            except ShardMQError as error:
                self._core.fail(error)
                return None
            if item is None:
                return None
            holding = self._core.holdings.get(item.cursor.queue.number)
            if holding is None or holding.cursor is not item.cursor:
                self._fetcher.buffer.free(item)
                continue
            self._check_columns(item)
            ledger = self.begin(holding)
            first, ledger.dealt = ledger.dealt, max(ledger.dealt, item.next_offset)
            item.start = first
            batch = Open(item, ledger)
            if item.messages:
                ledger.open += 1
            else:
                self._done(ledger, first, item.next_offset)
                self._fetcher.buffer.free(item)
                self._fetcher.pump(now)
            return batch

    def _check_columns(self, item: Item) -> None:
        """What dealing needs of a batch can be read; else there is nothing in it to deal."""
        try:
            if item.messages:
                self._open_columns(item.messages[0]._delivery)
        except BatchError as error:
            where = f"{item.cursor.topic!r} queue {item.cursor.queue.queue_id}"
            _log.error("a malformed batch of %s is left out: %s", where, error)
            item.messages = []

    def _open_columns(self, delivery: Delivery) -> None:
        assert delivery.offset_deltas is None or delivery.offset_deltas

    def _deal(self, batch: Open) -> None:
        """Appends the segments of a batch: one, or one for each origin in a retry queue."""
        messages, first, end = batch.item.messages, batch.item.start, batch.item.next_offset
        if not messages[0]._delivery.is_retry:
            self._segments.append(Segment(batch, messages, first, end))
            return
        for index, message in enumerate(messages):
            behind = place_of(messages[index + 1]) if index + 1 < len(messages) else end
            why = self._why_unwanted(message)
            if why is None:
                self._segments.append(Segment(batch, [message], first, behind))
            else:
                self._done(batch.ledger, first, place_of(message))
                self._done(batch.ledger, place_of(message) + 1, behind)
                # Not in here: telling it may settle the batch that is being dealt.
                fail = partial(self._fail, batch, Failure(message, why, dead=True))
                self._fetcher.core.timers.at(0.0, fail)
            first = behind

    def _why_unwanted(self, message: ReceivedMessage) -> str | None:
        try:
            topic = message.topic
        except BatchError as error:
            return str(error)
        known = topic in self._listeners
        return None if known else f"this member has no listener for topic {topic!r}"

    def _begin(self, work: Work, now: Now) -> None:
        self.running.add(work)
        self._watch(now)
        if self._timeout_ms is not None:
            due_ms = now.mono_ms + self._timeout_ms
            self._fetcher.core.timers.at(due_ms, partial(self._check, work))

    # ---------------------------------------------------------------------------------- settling

    def _learn(self, work: Work, now: Now) -> None:
        count = len(work.messages)
        if not work.listener.batch and count:
            took_ms = (now.mono_ms - work.started_ms) / count
            known_ms = self._cost_ms.get(work.listener, took_ms)
            weight = 0.5 if took_ms > known_ms else 0.2
            self._cost_ms[work.listener] = known_ms + weight * (took_ms - known_ms)

    def _settle(self, work: Work, failures: list[Failure], now: Now) -> None:
        """A run is through; the messages that failed are told first."""
        for part in work.rows or (Segment(work.batch, work.messages, work.first, work.end),):
            here = set(map(id, part.messages)) if failures else ()
            mine = [one for one in failures if id(one.message) in here]
            self._settle_part(part, mine, now)

    def _settle_part(self, part: Segment, failures: list[Failure], now: Now) -> None:
        batch, first = part.batch, part.first
        for failure in failures:
            place = place_of(failure.message)
            self._done(batch.ledger, first, place)
            first = place + 1
        self._done(batch.ledger, first, part.end)
        self._close_some(batch, len(part.messages) - len(failures), now)
        for failure in failures:
            self._fail(batch, failure, now)

    def _done(self, ledger: Ledger, first: int, end: int) -> None:
        tracker = ledger.holding.tracker
        if not ledger.is_gone and tracker is not None:
            tracker.add(first, end)

    def _fail(self, batch: Open, failure: Failure, now: Now) -> None:
        tracker = batch.ledger.holding.tracker
        place = place_of(failure.message)
        if batch.ledger.is_gone or tracker is None:
            self._close_some(batch, 1, now)
        elif self._nacker is None:
            _log.warning("%r failed and does not come again: %s", failure.message, failure.cause)
            self._done(batch.ledger, place, place + 1)
            self._close_some(batch, 1, now)
        else:
            delay_ms = failure.delay_ms
            if delay_ms is None and not failure.dead:
                delay_ms = self._retry_delay_ms(failure.message.attempt)
            message = NackMessage(
                offset=place,
                delay_ms=delay_ms,
                dead=failure.dead,
                cause=failure.cause,
                detail=failure.detail,
                attempt=failure.attempt,
                earlier=list(failure.earlier),
            )
            self._nacker.add(tracker, message, partial(self._told, batch, place), now)

    def _told(self, batch: Open, place: int, told: bool, now: Now) -> None:
        if told:
            self._done(batch.ledger, place, place + 1)
        self._close_some(batch, 1, now)

    def _close_some(self, batch: Open, count: int, now: Now) -> None:
        batch.left -= count
        if batch.left == 0 and count:
            batch.ledger.open -= 1
            self._fetcher.buffer.free(batch.item)
            self._fetcher.pump(now)
            self._let_go(batch.ledger, now)

    def _let_go(self, ledger: Ledger, now: Now) -> None:
        if ledger.is_stopping and not ledger.is_gone and not ledger.open:
            self._core.let_go(ledger.holding, now)

    def _drop(self, ledger: Ledger, now: Now) -> None:
        """What of a queue waits for a worker."""
        kept: deque[Segment] = deque()
        dropped: list[Segment] = []
        for segment in self._segments:
            (dropped if segment.batch.ledger is ledger else kept).append(segment)
        self._segments = kept
        for segment in dropped:
            self._close_some(segment.batch, len(segment), now)

    # ---------------------------------------------------------------------------------- too slow

    def _put_back(self, work: Work) -> bool:
        """What the worker has not begun waits for another one."""
        rest = work.rest()
        if rest:
            first, work_end = place_of(rest[0]), work.end
            work.end = first
            self._segments.appendleft(Segment(work.batch, rest, first, work_end))
        return bool(rest)

    def _check(self, work: Work, now: Now) -> None:
        """Gives up on a listener that takes too long for one message."""
        if work not in self.running or self._timeout_ms is None:
            return
        since_ms, begun = work.message_since_ms, work.taken
        if since_ms == inf:
            return  # through, and about to say so
        if now.mono_ms < since_ms + self._timeout_ms or not begun:
            due_ms = max(since_ms, now.mono_ms - self._timeout_ms + 1.0) + self._timeout_ms
            self._fetcher.core.timers.at(due_ms, partial(self._check, work))
            return
        work.given_up = True
        self.running.discard(work)
        self._give_up(work, begun, self._timeout_ms, now)
        if self.replace_worker is not None:
            self.replace_worker()

    def _give_up(self, work: Work, begun: int, timeout_ms: float, now: Now) -> None:
        self._put_back(work)
        stuck = work.messages if work.listener.batch else work.messages[begun - 1 :]
        failures = [*work.failures, *(timed_out(one, timeout_ms) for one in stuck)]
        self._settle(work, failures, now)
