"""SETTLE: what became of messages that were handed out.

Owns the verb. How handouts are kept stands in `state/handouts.py`, how dead letters come to be in
`scheduling.py`.

    said of a stretch       what is done with those of its messages that the receipt holds
    ack                     done with, in the cursor
    nack                    they stay where they are, not held any more, and are visible after the
                            delay; dead letters, if so said or after too many attempts
    invisible               held for so long from now
    return                  visible at once, and handed out once less

What is done with already is settled alike, whoever did it; so is a nack or a return that is
said again. All
else that the receipt does not hold (any more) came too late, and is named in the result.

Acks of a request share one record for each bucket; they are written down before anything else is
said of queues, so that each item meets what those before it did.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from shardmq.actors.kernel.ports import Letter, Now, QueueLog
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.limits import (
    ACK_RANGES_MAX,
    DELAY_MS_MAX,
    HANDOUTS_MAX,
    INVISIBLE_MS_MAX,
    RECEIVE_MESSAGES_MAX,
    REQUEST_QUEUES_MAX,
)
from shardmq.actors.protocol.retries import retry_delay_ms
from shardmq.actors.protocol.work_messages import Settle, SettleItem, SettleReply, SettleResult

from .acks import done_now, fault_of_ranges
from .cursors_log import CursorLog
from .granted import GrantedQueues, Refused
from .requests import Request
from .scheduling import Scheduling
from .serving import ServedQueue, Serving
from .state.buckets import BUCKET_MASK
from .state.cursors import Cursor, Cursors, merged
from .state.handouts import Handout
from .state.ranges import Bounds, add, missing, pairs
from .state.records import CursorMove, CursorsMoved, HandedOut, HandedQueue
from .work_groups import WorkGroups

__all__ = ["Settling"]

_Stretch = tuple[int, int]
_GIVES_BACK = ("nack", "return")


class Settling:
    """The verb SETTLE."""

    def __init__(
        self, journal: QueueLog, serving: Serving, cursors: Cursors, groups: WorkGroups,
        scheduling: Scheduling, log: CursorLog,
    ) -> None:  # fmt: skip
        self.journal = journal
        self.granted = GrantedQueues(serving, cursors)
        self.cursors = cursors
        self.groups = groups
        self.scheduling = scheduling
        self.log = log
        self.messages = 0
        """Messages of which something was said in time."""
        self.expired = 0
        """Messages of which something was said too late."""

    def stats(self) -> dict[str, Any]:
        """Figures for the verb STATS."""
        return {
            "settled": self.messages,
            "expired": self.expired,
            "settles_fenced": self.granted.fenced,
        }

    def handle(self, request: Request, header: Settle, now: Now, out: list[Letter]) -> None:
        """Take one SETTLE; the reply leaves once it is durable."""
        if not header.items or not header.max_attempts:
            text = f"SETTLE names 1 to {REQUEST_QUEUES_MAX} items, and at least one attempt"
            out.append(request.refuse(Code.BAD_REQUEST, text))
            return
        refused = self.log.refused(request)
        if refused is not None:
            out.append(refused)
            return
        settlement = _Settlement(self, header, now)
        results = [settlement.result(item) for item in header.items]
        settlement.write_acks()
        self.log.answer(request, SettleReply(results=results), out)


class _Found(NamedTuple):
    """What stands in the way of an item, and what does not."""

    held: list[Handout]
    """Rows, cut to the item, that its receipt holds."""
    expired: list[_Stretch]


class _Acks(NamedTuple):
    """Acks of one queue that are not written down yet."""

    floor: int
    fresh: array[int]


class _Settlement:
    """One SETTLE while it is worked on."""

    def __init__(self, settling: Settling, header: Settle, now: Now) -> None:
        self._settling = settling
        self._group_id = header.group_id
        self._max_attempts = header.max_attempts
        self._now = now
        self._acks: dict[int, _Acks] = {}

    def result(self, item: SettleItem) -> SettleResult:
        """Carry out one item."""
        try:
            served, cursor = self._asked(item)
            if item.act != "ack":
                self.write_acks()
            found = self._find(item, served, cursor)
            if found.expired and item.queue in self._acks:
                self.write_acks()
                found = self._find(item, served, cursor)
            dead: list[int] = []
            if found.held:
                if item.act == "ack":
                    self._ack(item, cursor, found.held)
                elif item.act == "nack":
                    dead = self._nack(item, served, cursor, found.held)
                elif item.act == "return":
                    untried = [row._replace(attempt=row.attempt - 1) for row in found.held]
                    self._hand_out(item, untried, 0, held=False)
                else:
                    self._hand_out(item, found.held, item.delay_ms or 0, held=True)
        except Refused as error:
            return SettleResult(code=error.code, message=str(error))
        self._settling.messages += sum(row.stop - row.start for row in found.held)
        if not found.expired:
            return SettleResult(code=Code.OK, dead=dead)
        self._settling.expired += sum(stop - start for start, stop in found.expired)
        text = "handed out to others since, or visible to them again"
        return SettleResult(
            code=Code.RECEIPT_EXPIRED, expired=found.expired, dead=dead, message=text
        )

    def write_acks(self) -> None:
        """Write down what is not yet."""
        acks, self._acks = self._acks, {}
        by_bucket: dict[int, list[CursorMove]] = {}
        for queue, (floor, fresh) in acks.items():
            move = CursorMove(queue, floor, fresh.tolist())
            by_bucket.setdefault(queue & BUCKET_MASK, []).append(move)
        for bucket, moves in by_bucket.items():
            self._settling.log.append(CursorsMoved(self._group_id, moves), bucket, self._now)
        for queue in acks:
            self._unblock(queue)

    # ------------------------------------------------------------------ what is meant

    def _asked(self, item: SettleItem) -> tuple[ServedQueue, Cursor]:
        granted = self._settling.granted
        served, cursor = granted.of(self._group_id, item.queue, item.generation)
        fault = _fault_of(item, served)
        if fault is not None:
            raise Refused(Code.INVALID_ARGUMENT, fault)
        return served, cursor

    def _find(self, item: SettleItem, served: ServedQueue, cursor: Cursor) -> _Found:
        rows = [] if cursor.handouts is None else cursor.handouts.within(item.start, item.stop)
        wall_ms, receipt = self._now.wall_ms, item.receipt
        if len(rows) == 1:
            row = rows[0]
            whole = row.start == item.start and row.stop == item.stop
            if whole and row.receipt == receipt and row.held and row.until_ms > wall_ms:
                return _Found(rows, [])
        floor, acked = done_now(self._settling.journal, served, cursor)
        found = _Found([], [])
        at = item.start
        for row in rows:
            found.expired.extend(_not_done(at, row.start, floor, acked))
            at = row.stop
            if row.receipt == receipt and row.held and row.until_ms > wall_ms:
                found.held.append(row)
            elif row.receipt != receipt or row.held or item.act not in _GIVES_BACK:
                found.expired.extend(_not_done(row.start, row.stop, floor, acked))
        found.expired.extend(_not_done(at, item.stop, floor, acked))
        return found

    # ------------------------------------------------------------------ what is done

    def _ack(self, item: SettleItem, cursor: Cursor, rows: Sequence[Handout]) -> None:
        acks = self._acks.get(item.queue)
        if acks is None:
            acks = _Acks(cursor.floor, array("Q"))
        fresh = acks.fresh
        if len(cursor.acked) + len(fresh) + 2 * len(rows) > 2 * ACK_RANGES_MAX:
            ranges = [*pairs(fresh), *((row.start, row.stop) for row in rows)]
            fault = fault_of_ranges(cursor, merged(cursor, 0, ranges)[1])
            if fault is not None:
                raise Refused(Code.BUSY, fault)
        for row in rows:
            add(fresh, row.start, row.stop)
        self._acks[item.queue] = acks

    def _nack(
        self, item: SettleItem, served: ServedQueue, cursor: Cursor, rows: Sequence[Handout]
    ) -> list[int]:
        dead: list[Handout] = []
        again: list[Handout] = []
        for row in rows:
            is_dead = item.dead or row.attempt >= self._max_attempts
            (dead if is_dead else again).append(row)
        buried: list[int] = []
        if dead:
            stretches = [(row.start, row.stop, row.attempt) for row in dead]
            why = item.cause, item.detail
            buried = self._settling.scheduling.bury(
                self._group_id, served, cursor, stretches, why, self._now
            )
            self._unblock(item.queue)
        by_delay: dict[int, list[Handout]] = {}
        for row in again:
            delay_ms = retry_delay_ms(row.attempt) if item.delay_ms is None else item.delay_ms
            by_delay.setdefault(delay_ms, []).append(row)
        for delay_ms, of_delay in by_delay.items():
            self._hand_out(item, of_delay, delay_ms, held=False)
        return buried

    def _hand_out(
        self, item: SettleItem, rows: Sequence[Handout], delay_ms: int, *, held: bool
    ) -> None:
        settling = self._settling
        cursor = settling.cursors.get(self._group_id, item.queue)
        assert cursor is not None
        assert cursor.handouts is not None, "there are rows"
        if len(cursor.handouts) + 2 * len(rows) > 2 * HANDOUTS_MAX + RECEIVE_MESSAGES_MAX:
            text = f"{HANDOUTS_MAX} stretches are handed out of the queue; settle some first"
            raise Refused(Code.BUSY, text)
        until_ms = self._now.wall_ms + delay_ms
        pieces = [(row.start, row.stop, row.attempt) for row in rows]
        handed = HandedQueue(item.queue, item.receipt, until_ms, held, pieces)
        settling.log.append(HandedOut(self._group_id, [handed]), item.queue, self._now)
        settling.groups.given_back(self._group_id, item.queue, until_ms, self._now)

    def _unblock(self, queue: int) -> None:
        groups = self._settling.groups
        work = groups.queue(self._group_id, queue)
        if work is not None and work.blocked:
            groups.mark_ready(work)


def _fault_of(item: SettleItem, served: ServedQueue) -> str | None:
    visible = served.offsets.visible
    if not item.start < item.stop <= visible:
        return (
            f"offsets {item.start} to {item.stop} are no stretch of a queue that ends at {visible}"
        )
    if item.stop - item.start > RECEIVE_MESSAGES_MAX:
        return f"a receipt has at most {RECEIVE_MESSAGES_MAX} messages that lie side by side"
    if (item.delay_ms or 0) > DELAY_MS_MAX:
        return f"a delay has at most {DELAY_MS_MAX} ms, not {item.delay_ms}"
    if item.act == "invisible" and not 1 <= (item.delay_ms or 0) <= INVISIBLE_MS_MAX:
        return f"messages stay invisible for 1 to {INVISIBLE_MS_MAX} ms, not {item.delay_ms}"
    return None


def _not_done(start: int, stop: int, floor: int, acked: Bounds) -> list[_Stretch]:
    """The stretches between two offsets that are not done with."""
    return missing(acked, max(start, floor), stop)
