"""Work mutants: known bugs of work queues, planted in the real code, to be seen one at a time.

Owns these bugs, as `mutants.py` does the others, and the whole table with them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from shardmq.shards import handing
from shardmq.shards.basket import Basket
from shardmq.shards.handing import _Fate, _Look
from shardmq.shards.receive import Receiving
from shardmq.shards.settle import Settling, _Settlement
from shardmq.shards.state.cursors import Cursors
from shardmq.shards.state.handouts import Handouts
from shardmq.shards.work_groups import WorkGroups

from . import group_mutants, reset_mutants
from .mutants import MUTANTS, mutant, planted

__all__ = ["MUTANTS", "group_mutants", "planted", "reset_mutants"]


# --- handing out -----------------------------------------------------------------------------


@mutant
def leaves_handouts_out_of_the_snapshot() -> list[tuple[Any, str, Any]]:
    right = Cursors.snapshot

    def snapshot(self: Any, bucket: int) -> Any:
        handouts = {cursor: cursor.handouts for _, _, cursor in self.all()}
        for cursor in handouts:
            cursor.handouts = None
        try:
            return right(self, bucket)
        finally:
            for cursor, rows in handouts.items():
                cursor.handouts = rows

    return [(Cursors, "snapshot", snapshot)]


@mutant
def takes_handouts_for_visible_too_early() -> list[tuple[Any, str, Any]]:
    right = Handouts.visible

    def visible(self: Any, now_ms: int) -> Any:
        return right(self, now_ms + 100)

    look = _Look._again

    def again(self: Any) -> bool:
        now = self._now
        self._now = now._replace(wall_ms=now.wall_ms + 100)
        try:
            return look(self)
        finally:
            self._now = now

    return [(Handouts, "visible", visible), (_Look, "_again", again)]


@mutant
def does_not_count_attempts_of_handouts() -> list[tuple[Any, str, Any]]:
    right = _Look._give

    def give(self: Any, at: int, stop: int, attempt: int) -> int:
        return right(self, at, stop, max(1, attempt - 1))

    return [(_Look, "_give", give)]


@mutant
def never_gives_up_a_message_that_nobody_settles() -> list[tuple[Any, str, Any]]:
    return [(_Look, "_fate", lambda self, row, rows: _Fate.AGAIN)]


@mutant
def hands_out_behind_what_is_handed_out_in_fifo() -> list[tuple[Any, str, Any]]:
    right = Basket.__init__

    def begin(self: Any, header: Any, wall_ms: int, **options: Any) -> None:
        right(self, header, wall_ms, **options)
        self.fifo = False

    return [(Basket, "__init__", begin)]


@mutant
def passes_over_one_message_too_many() -> list[tuple[Any, str, Any]]:
    right = _Look._pass

    def pass_over(self: Any, start: int, stop: int) -> None:
        right(self, start, stop + (stop > start))

    return [(_Look, "_pass", pass_over)]


@mutant
def hands_out_what_nobody_selects() -> list[tuple[Any, str, Any]]:
    return [(handing, "tags_of", lambda expression: None)]


@mutant
def gives_more_to_a_receipt_that_comes_again() -> list[tuple[Any, str, Any]]:
    return [(Receiving, "_repeated_for", lambda self, *arguments: None)]


@mutant
def wakes_nobody_who_waits_for_messages() -> list[tuple[Any, str, Any]]:
    def news(self: Any, queues: Any) -> None:
        for served in queues:
            for work in self._by_queue.get(served.number, ()):
                if not work.listed and not work.gone:
                    work.listed = True
                    work.group.ready.append(work)

    return [(WorkGroups, "news", news)]


# --- settling --------------------------------------------------------------------------------


@mutant
def settles_however_late() -> list[tuple[Any, str, Any]]:
    right = _Settlement._find

    def find(self: Any, *arguments: Any) -> Any:
        now = self._now
        self._now = now._replace(wall_ms=0)
        try:
            return right(self, *arguments)
        finally:
            self._now = now

    return [(_Settlement, "_find", find)]


@mutant
def settles_whatever_the_receipt() -> list[tuple[Any, str, Any]]:
    right = _Settlement._find

    def find(self: Any, item: Any, served: Any, cursor: Any) -> Any:
        rows = [] if cursor.handouts is None else cursor.handouts.within(item.start, item.stop)
        if rows:
            item = msgspec.structs.replace(item, receipt=rows[0].receipt)
        return right(self, item, served, cursor)

    return [(_Settlement, "_find", find)]


@mutant
def answers_an_ack_of_a_receipt_and_forgets_it() -> list[tuple[Any, str, Any]]:
    return [(_Settlement, "_ack", lambda self, item, cursor, rows: None)]


@mutant
def has_a_failed_handout_come_again_at_once() -> list[tuple[Any, str, Any]]:
    right = _Settlement._hand_out

    def hand_out(self: Any, item: Any, rows: Any, delay_ms: int, *, held: bool) -> None:
        right(self, item, rows, delay_ms if held else 0, held=held)

    return [(_Settlement, "_hand_out", hand_out)]


@mutant
def says_that_a_message_stays_and_does_nothing() -> list[tuple[Any, str, Any]]:
    right = _Settlement._hand_out

    def hand_out(self: Any, item: Any, rows: Any, delay_ms: int, *, held: bool) -> None:
        if not held:
            right(self, item, rows, delay_ms, held=held)

    return [(_Settlement, "_hand_out", hand_out)]


@mutant
def counts_a_handout_that_was_returned() -> list[tuple[Any, str, Any]]:
    right = _Settlement._hand_out

    def hand_out(self: Any, item: Any, rows: Any, delay_ms: int, *, held: bool) -> None:
        if item.act == "return":
            rows = [row._replace(attempt=row.attempt + 1) for row in rows]
        right(self, item, rows, delay_ms, held=held)

    return [(_Settlement, "_hand_out", hand_out)]


@mutant
def tells_nobody_of_what_was_returned() -> list[tuple[Any, str, Any]]:
    right = WorkGroups.given_back

    def given_back(self: Any, group_id: int, queue: int, until_ms: int, now: Any) -> None:
        if until_ms > now.wall_ms:
            right(self, group_id, queue, until_ms, now)

    return [(WorkGroups, "given_back", given_back)]


class _HastyLog:
    """A CursorLog that does not wait for the disk."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def answer(self, request: Any, header: Any, out: list[Any]) -> None:
        out.append(request.answer(header))


@mutant
def answers_a_settle_before_it_is_durable() -> list[tuple[Any, str, Any]]:
    right = Settling.handle

    def handle(self: Any, *arguments: Any) -> None:
        log = self.log
        self.log = _HastyLog(log)
        try:
            right(self, *arguments)
        finally:
            self.log = log

    return [(Settling, "handle", handle)]
