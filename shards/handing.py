"""Handing out: which messages of one queue a RECEIVE gets.

Owns the choice, and the record that makes it final. What fits is `basket.py`'s, how batches are cut
`cut.py`'s, when a queue is looked at `work_groups.py`'s.

    in this order      what happens
    visible again      handed out, with one attempt more; dead letters if that would be too many
    never handed out   handed out, as far as the group selects them

All that the choice leaves out on its way (messages that the group does not select, gaps, damaged
batches) is done with by the same record as what it takes. So whatever a crash leaves, each offset
below the front is done with, or handed out.

A queue with too many rows or ranges gives nothing new until something of it is settled. In fifo, a
queue of which anything is handed out and invisible gives nothing at all.
"""

from __future__ import annotations

import logging
from array import array
from enum import Enum
from typing import Final

from shardmq.actors.kernel.logs import fields
from shardmq.actors.kernel.ports import Now, QueueLog
from shardmq.actors.protocol.batch import BatchError, BatchUnopened
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.limits import ACK_RANGES_MAX, HANDOUTS_MAX, MIB

from .ahead import Ahead
from .basket import Basket, Unfit
from .cursors_log import CursorLog
from .cut import OpenedBatch, OpenedBatches
from .filters import tags_of
from .granted import Refused
from .log.errors import DamagedRecord
from .retention import earliest_readable
from .scheduling import Scheduling
from .serving import ServedQueue, Serving
from .state.cursors import Cursor, Cursors
from .state.handouts import NEVER, Handout, free_stretch
from .state.ranges import add
from .state.records import CursorMove, CursorsMoved, HandedOut, HandedQueue
from .work_groups import WorkQueue

__all__ = ["ROWS_MAX", "Handing"]

_log = logging.getLogger("shardmq.shard")
ROWS_MAX: Final = 500_000
"""Handed-out stretches of all queues of a shard, some 40 bytes each."""
LOOK_COST_MAX: Final = 2 * MIB
"""What one look at a queue may cost, in the prices of `filters.py`."""
DEAD_COST: Final = 512
"""Of a message that becomes a dead letter."""
RETRY_MS: Final = 1_000
"""Until a queue is looked at again that is held up by something that tells no news."""
_CAUSE: Final = ("not acknowledged in time", "")
_CAUSE_FAILED: Final = ("failed, with fewer attempts left than there were", "")


class Handing:
    """Hands out messages of single queues."""

    def __init__(
        self, journal: QueueLog, serving: Serving, cursors: Cursors, log: CursorLog,
        scheduling: Scheduling,
    ) -> None:  # fmt: skip
        self.journal = journal
        self.cursors = cursors
        self.log = log
        self.scheduling = scheduling
        self.opened = OpenedBatches(journal)
        self.ahead = Ahead(journal, self.opened)
        self._served = serving.by_number
        self.damaged = 0
        """Stretches that were passed over."""

    def take(self, work: WorkQueue, basket: Basket, now: Now) -> tuple[bool, int]:
        """Put into `basket` what the queue has for it. Returns whether there may be more now (else
        `work.rest_ms` says when), and what the look has cost."""
        served = self._served.get(work.number)
        cursor = self.cursors.get(work.group.group_id, work.number)
        if served is None or cursor is None or not served.readable:
            work.rest_ms = NEVER
            return False, 0
        look = _Look(self, work, served, cursor, basket, now)
        return look.run(), look.cost

    def fresh_left(self, work: WorkQueue) -> int:
        """At most how many messages of the queue were never handed out."""
        served = self._served.get(work.number)
        cursor = self.cursors.get(work.group.group_id, work.number)
        if served is None or cursor is None:
            return 0
        return max(0, served.offsets.visible - max(work.front, cursor.floor))

    def repeat(self, work: WorkQueue, basket: Basket, now: Now) -> None:
        """Put into `basket` what its receipt holds of the queue already."""
        served = self._served.get(work.number)
        cursor = self.cursors.get(work.group.group_id, work.number)
        if served is not None and cursor is not None and served.readable:
            _Look(self, work, served, cursor, basket, now).repeat()


class _Fate(Enum):
    """What becomes of messages that are visible again."""

    AGAIN = 1
    BURIED = 2
    HELD_UP = 3


class _Look:
    """One look at one queue."""

    __slots__ = (
        "_basket",
        "_cursor",
        "_handing",
        "_is_held_up",
        "_now",
        "_passed",
        "_pieces",
        "_pieces_left",
        "_served",
        "_tags",
        "_work",
        "cost",
    )

    def __init__(
        self, handing: Handing, work: WorkQueue, served: ServedQueue, cursor: Cursor,
        basket: Basket, now: Now,
    ) -> None:  # fmt: skip
        self._handing = handing
        self._work = work
        self._served = served
        self._cursor = cursor
        self._basket = basket
        self._now = now
        self._tags = tags_of(cursor.expression)
        self._pieces: list[tuple[int, int, int]] = []
        self._pieces_left = NEVER
        self._passed = array("Q")
        self._is_held_up = False
        self.cost = 0

    @property
    def _is_over(self) -> bool:
        return self._basket.full or self.cost >= LOOK_COST_MAX

    def run(self) -> bool:
        """Whether there may be more now."""
        work, cursor, basket, wall_ms = self._work, self._cursor, self._basket, self._now.wall_ms
        work.blocked = False
        earliest = earliest_readable(self._handing.journal, self._served)
        if earliest > cursor.floor:
            self._log(CursorsMoved(work.group.group_id, [CursorMove(work.number, earliest)]))
        handouts = cursor.handouts
        if basket.fifo and handouts is not None and handouts.latest_ms() > wall_ms:
            work.blocked = True
            work.rest_ms = handouts.latest_ms()
            return False
        looked_again = self._again()
        if not self._is_over and not (basket.fifo and self._is_held_up):
            self._fresh()
        self._commit()
        if looked_again and not work.due and cursor.handouts is not None:
            starts, soonest_ms = cursor.handouts.visible(wall_ms)
            work.due.extend(starts)
            work.soonest_ms = min(work.soonest_ms, soonest_ms)
        if self._is_over or (work.due and not self._is_held_up):
            return True
        work.rest_ms = work.soonest_ms
        if self._is_held_up:
            work.rest_ms = min(work.rest_ms, wall_ms + RETRY_MS)
        return False

    def repeat(self) -> None:
        """Hand out nothing, but say again what was."""
        handouts, basket = self._cursor.handouts, self._basket
        rows = [] if handouts is None else handouts.held_by(basket.receipt, self._now.wall_ms)
        for row in rows:
            if self._is_over:
                break
            known_ms = basket.until_ms if basket.parts else row.until_ms
            basket.until_ms = min(known_ms, row.until_ms)
            self._give(row.start, row.stop, row.attempt)
        self._pieces.clear()
        self._commit()

    def _log(self, record: CursorsMoved | HandedOut) -> None:
        self._handing.log.append(record, self._work.number, self._now)

    def _commit(self) -> None:
        work, cursor, basket = self._work, self._cursor, self._basket
        group_id = work.group.group_id
        moves = []
        if self._passed:
            moves.append(CursorMove(work.number, cursor.floor, self._passed.tolist()))
        if self._pieces:
            until_ms = basket.until_ms
            handed = HandedQueue(work.number, basket.receipt, until_ms, True, self._pieces)
            self._log(HandedOut(group_id, [handed], moves))
            work.soonest_ms = min(work.soonest_ms, until_ms)
        elif moves:
            self._log(CursorsMoved(group_id, moves))

    # ------------------------------------------------------------------ visible again

    def _again(self) -> bool:
        """Hand out what is visible again. True if there was any."""
        work, wall_ms, basket, cursor = self._work, self._now.wall_ms, self._basket, self._cursor
        due = work.due
        if cursor.handouts is None:
            due.clear()
            work.soonest_ms = NEVER
            return False
        if basket.fifo:
            due.clear()  # their order counts, so all are looked at, and all are visible
        if not due:
            if work.soonest_ms > wall_ms and not basket.fifo:
                return False
            starts, work.soonest_ms = cursor.handouts.visible(wall_ms)
            due.extend(starts)
            if not due:
                return False
        behind = 0
        while due and not self._is_over:
            handouts = self._cursor.handouts  # dead letters may have left none
            row = None if handouts is None else handouts.from_offset(max(due[0], behind))
            if row is None or row.until_ms > wall_ms:
                due.popleft()
                continue
            assert handouts is not None, "a row is one of them"
            fate = self._fate(row, len(handouts))
            if fate is _Fate.BURIED:
                due.popleft()
                continue
            if fate is _Fate.HELD_UP:
                self._is_held_up = True
                break
            behind = self._give(row.start, row.stop, row.attempt + 1)
            if basket.peek:
                break
            if behind < row.stop:
                due[0] = behind
                break
            due.popleft()
        return True

    def _fate(self, row: Handout, rows: int) -> _Fate:
        """What becomes of a row that is visible again; dead letters are decided here."""
        if row.attempt >= self._basket.max_attempts:
            cause = _CAUSE if row.held else _CAUSE_FAILED
            stretch = (row.start, row.stop, row.attempt)
            group_id, scheduling = self._work.group.group_id, self._handing.scheduling
            try:
                scheduling.bury(group_id, self._served, self._cursor, [stretch], cause, self._now)
                self.cost += DEAD_COST * (row.stop - row.start)
                return _Fate.BURIED
            except Refused as refused:
                if refused.code != Code.TOPIC_NOT_FOUND:
                    return _Fate.HELD_UP
                # Nowhere to go: rather once more than never.
        is_cut = row.stop - row.start > self._basket.count_left
        return _Fate.HELD_UP if is_cut and rows >= 2 * HANDOUTS_MAX else _Fate.AGAIN

    # ------------------------------------------------------------------ never handed out

    def _fresh(self) -> None:
        """Hand out what never was."""
        work, cursor, basket, handing = self._work, self._cursor, self._basket, self._handing
        visible = self._served.offsets.visible
        acked, handouts = cursor.acked, cursor.handouts
        at = max(work.front, cursor.floor)
        while at < visible and not self._is_over:
            at, stop = free_stretch(at, acked, handouts)
            if at >= visible:
                break
            rows = 0 if handouts is None else len(handouts)
            ranges_left = ACK_RANGES_MAX - len(acked) // 2
            if at == cursor.floor:
                ranges_left = max(1, ranges_left)  # else nothing would ever be done with
            self._pieces_left = min(
                HANDOUTS_MAX - rows, ROWS_MAX - handing.cursors.rows, ranges_left
            ) - len(self._pieces)  # fmt: skip
            if self._pieces_left <= 0:
                work.blocked = True
                self._is_held_up |= handing.cursors.rows >= ROWS_MAX
                break
            stop = min(stop, visible)
            at = self._give(at, stop, 1)
            if at < stop and not self._is_over:
                work.blocked = True
                break
        if not basket.peek:
            work.front = at

    # ------------------------------------------------------------------ stretches

    def _give(self, at: int, stop: int, attempt: int) -> int:
        """Hand out the messages between two offsets that the group selects, as many as fit; returns
        the offset behind those, and behind what was passed over."""
        basket = self._basket
        while at < stop and not self._is_over and self._pieces_left > 0:
            batch, behind = self._batch(at, stop)
            if batch is None:
                if behind == at:
                    break
                at = behind
                continue
            first, last = batch.run_from(batch.index_from(at), stop, self._tags)
            if first == last:
                behind = min(stop, batch.stop)
                self._pass(at, behind)
                at = behind
                continue
            offset = batch.offset(first)
            self._pass(at, offset)
            at = offset
            try:
                count = basket.put(
                    self._served, self._cursor.generation, attempt, batch, first, last
                )
            except (Unfit, BatchError) as error:
                code = error.code if isinstance(error, Unfit) else Code.DAMAGED
                at = self._fault(code, offset, offset + 1, str(error))
                continue
            if not count:
                break
            at = batch.offset(first + count - 1) + 1
            self._piece(offset, at, attempt)
        return at

    def _piece(self, start: int, stop: int, attempt: int) -> None:
        if self._basket.peek:
            return
        pieces = self._pieces
        if pieces and pieces[-1][1:] == (start, attempt):
            pieces[-1] = (pieces[-1][0], stop, attempt)
        else:
            pieces.append((start, stop, attempt))
            self._pieces_left -= 1

    def _pass(self, start: int, stop: int) -> None:
        """Nobody is to get these."""
        add(self._passed, start, stop)

    def _fault(self, code: Code, start: int, stop: int, message: str) -> int:
        """They cannot be handed out. Returns where to go on."""
        self._basket.fault(self._work.number, code, start, stop, message)
        if self._basket.peek:
            return start  # who comes for them hears of it
        self._handing.damaged += 1
        _log.error(
            "messages of a work queue are passed over",
            extra=fields(queue=self._work.number, offset=start, next_offset=stop, reason=message),
        )
        self._pass(start, stop)
        return stop

    # ------------------------------------------------------------------ batches

    def _batch(self, at: int, stop: int) -> tuple[OpenedBatch | None, int]:
        """The batch that holds `at`; or none, and the offset up to which nothing is to be had,
        which is `at` itself where it is left to others or to another time."""
        handing, work = self._handing, self._work
        cost_max = LOOK_COST_MAX - self.cost
        span, behind, cost = handing.ahead.next(work, at, stop, self._tags, cost_max)
        self.cost += cost
        if span is None:
            self._pass(at, behind)
            return None, behind
        try:
            return handing.opened.get(span), at
        except BatchUnopened as error:
            # They may be sound: nobody gets them, and nobody loses them.
            self._is_held_up = True
            _log.error(
                "a work queue waits for a codec", extra=fields(queue=work.number, reason=str(error))
            )
            return None, at
        except (DamagedRecord, BatchError) as error:
            behind = min(stop, span.base_offset + span.count)
            return None, self._fault(Code.DAMAGED, at, behind, str(error))
