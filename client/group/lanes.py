"""KeyedDispatcher: deals messages so that those of one ordering key are done in order. Pure.

A lane holds the messages of one key of one queue; those without a key are one lane, too, so that
they keep the order of their queue. One worker at a time works on a lane, different lanes run beside
each other.

    lane         means                                    then
    ready        has messages, nobody works on them       a worker takes a run of it
    running      a worker is on it                        ready again, or gone when it is empty
    suspended    its first message has failed             ready again after the suspension

A failed message stays at the head of its lane: it is delivered again, with its attempts counted
here, until it is done or goes to the dead letters; only its lane waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.retries import HISTORY_CAUSE_CHARS, HISTORY_MAX

from ..received import Delivery, ReceivedMessage, again, place_of
from .core import GroupCore
from .dispatch import Dispatcher
from .ledger import Ledger, Open
from .nacks import Nacker
from .outcomes import EarlierFailure, Failure, sendable, timed_out
from .work import Listener, Work

__all__ = ["KeyedDispatcher"]


class _Row(NamedTuple):
    message: ReceivedMessage
    first: int
    end: int
    batch: Open
    earlier: tuple[EarlierFailure, ...] = ()


def _noted(attempt: int, failure: Failure, now: Now) -> EarlierFailure:
    chars_max = HISTORY_CAUSE_CHARS
    return attempt, now.wall_ms, sendable(failure.cause, chars_max, 4 * chars_max)


class _Lane:
    __slots__ = ("is_suspended", "key", "rows")

    def __init__(self, key: tuple[Ledger, str | None]) -> None:
        self.key = key
        self.rows: deque[_Row] = deque()
        self.is_suspended = False


class KeyedDispatcher(Dispatcher):
    """For listeners that want the messages of a key in order."""

    def __init__(
        self,
        core: GroupCore,
        nacker: Nacker | None,
        listeners: Mapping[str, Listener],
        timeout_ms: float | None,
        *,
        max_attempts: int,
        suspend_ms: float,
    ) -> None:
        super().__init__(core, nacker, listeners, timeout_ms)
        self._max_attempts = max_attempts
        self._suspend_ms = suspend_ms
        self._lanes: dict[tuple[Ledger, str | None], _Lane] = {}
        self._ready: deque[_Lane] = deque()

    def take(self, now: Now) -> Work | None:
        if self.stopped:
            return None
        while not self._ready:
            batch = self._next_batch(now)
            if batch is None:
                return None
            if batch.item.messages:
                self._deal(batch)
        lane = self._ready.popleft()
        listener = self._listeners[lane.rows[0].message.topic]
        count = min(len(lane.rows), listener.batch or self.run_length(listener))
        rows = [lane.rows.popleft() for _ in range(count)]
        messages = [row.message for row in rows]
        work = Work(listener, messages, rows[0].first, rows[-1].end, rows[0].batch, now.mono_ms)
        work.lane, work.rows, work.stops_at_failure = lane, rows, True
        self._begin(work, now)
        return work

    @property
    def wants_another(self) -> bool:
        return not self.stopped and bool(self._ready or self._fetcher.buffer.items)

    def _watch(self, now: Now) -> None:
        """Nothing may overtake a message that takes long."""

    def close(self) -> None:
        super().close()
        self._ready.clear()
        self._lanes.clear()

    # ---------------------------------------------------------------------------------- inside

    def _open_columns(self, delivery: Delivery) -> None:
        super()._open_columns(delivery)
        assert delivery.ordering_keys is None or delivery.ordering_keys

    def _deal(self, batch: Open) -> None:
        messages, first, ledger = batch.item.messages, batch.item.start, batch.ledger
        delivery = messages[0]._delivery
        # The columns are asked for once: this loop is what each message of a key costs.
        keys, lanes, is_retry = delivery.ordering_keys, self._lanes, delivery.is_retry
        ends = [*map(place_of, messages[1:]), batch.item.next_offset]
        for message, behind in zip(messages, ends, strict=True):
            why = self._why_unwanted(message) if is_retry else None
            if why is not None:
                fail = partial(
                    self._bury, _Row(message, first, behind, batch), Failure(message, why)
                )
                self._fetcher.core.timers.at(0.0, fail)
            else:
                key = ledger, keys[message._index] if keys is not None else None
                lane = lanes.get(key)
                if lane is None:
                    lane = lanes[key] = _Lane(key)
                    self._ready.append(lane)
                lane.rows.append(_Row(message, first, behind, batch))
            first = behind

    def _settle(self, work: Work, failures: list[Failure], now: Now) -> None:
        lane: _Lane = work.lane
        rows: list[_Row] = work.rows
        done = len(rows)
        if failures:
            failed = place_of(failures[0].message)
            done = next(i for i, row in enumerate(rows) if place_of(row.message) == failed)
        for row in rows[:done]:
            self._done(row.batch.ledger, row.first, row.end)
        ledger = lane.key[0]
        if ledger.is_gone or ledger.is_stopping:
            # What was not done is the next owner's.
            self._end(lane)
            for row in (*rows, *lane.rows):
                self._close_some(row.batch, 1, now)
            lane.rows.clear()
            return
        lane.rows.extendleft(reversed(rows[done:]))
        for row in rows[:done]:
            self._close_some(row.batch, 1, now)
        if failures:
            self._failed(lane, failures[0], now)
        if lane.is_suspended:
            return
        if lane.rows:
            self._ready.append(lane)
        else:
            self._end(lane)

    def _failed(self, lane: _Lane, failure: Failure, now: Now) -> None:
        row = lane.rows.popleft()
        attempt = row.message.attempt
        if failure.dead or attempt >= self._max_attempts or self._nacker is None:
            self._bury(row, failure, now)
            return
        lane.rows.appendleft(
            row._replace(
                message=again(row.message, attempt + 1),
                earlier=(*row.earlier, _noted(attempt, failure, now))[1 - HISTORY_MAX :],
            )
        )
        lane.is_suspended = True
        wait_ms = self._suspend_ms if failure.delay_ms is None else failure.delay_ms
        self._fetcher.core.timers.at(now.mono_ms + wait_ms, partial(self._resume, lane))

    def _bury(self, row: _Row, failure: Failure, now: Now) -> None:
        place = place_of(row.message)
        self._done(row.batch.ledger, row.first, place)
        self._done(row.batch.ledger, place + 1, row.end)
        told = failure._replace(dead=True)
        if row.earlier:
            told = told._replace(attempt=row.message.attempt, earlier=row.earlier)
        self._fail(row.batch, told, now)

    def _resume(self, lane: _Lane, now: Now) -> None:
        del now
        if self._lanes.get(lane.key) is lane and lane.is_suspended:
            lane.is_suspended = False
            self._ready.append(lane)
            if self._fetcher.news is not None:
                self._fetcher.news()

    def _end(self, lane: _Lane) -> None:
        if self._lanes.get(lane.key) is lane:
            del self._lanes[lane.key]

    def _drop(self, ledger: Ledger, now: Now) -> None:
        running: set[Any] = {work.lane for work in self.running}
        mine = [lane for key, lane in self._lanes.items() if key[0] is ledger]
        for lane in mine:
            if lane in running:
                continue  # its end settles all of it
            self._end(lane)
            for row in lane.rows:
                self._close_some(row.batch, 1, now)
            lane.rows.clear()
        self._ready = deque(lane for lane in self._ready if lane.rows)

    def _give_up(self, work: Work, begun: int, timeout_ms: float, now: Now) -> None:
        work.rest()
        stuck = work.rows[0 if work.listener.batch else begun - 1].message
        self._settle(work, [timed_out(stuck, timeout_ms)], now)
