"""Cursors: how far each group is in each queue, and who may go on, as a fold over the journal.

Owns the grants in force and what is done with. Knows nothing of members, of what is stored or of
what a request may do.

    offset   0 ........... floor ......... range ......... range .........
             all is done         not done        not done        not done

Of a work group's queue, rows besides say which of the messages that are not done are in somebody's
hands (`handouts.py`). Whatever is done leaves its row.

A queue has at most one grant of a group in force: that of the highest generation. Inside a
generation a cursor only goes on: a move is merged in, so that it may come twice and in any order.
Only a grant sets a cursor, where it begins or where a reset wants it.

Ten thousand cursors are normal, most without ranges, their texts shared by many.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from sys import intern
from typing import Any, Final

from shardmq.actors.kernel.ports import Record

from ..log.record import STATE
from .buckets import BUCKET_MASK, BUCKETS, digest_of
from .handouts import Handout, Handouts
from .ranges import Bounds, add, cut_below, pairs
from .records import (
    CURSORS_MOVED,
    GRANTED,
    GROUPS_FORGOTTEN,
    HANDED_OUT,
    QUEUES_DROPPED,
    SCHEDULED,
    CursorsMoved,
    Granted,
    GroupsForgotten,
    HandedOut,
    HandedQueue,
    QueuesDropped,
    Scheduled,
    decode_state,
    tag_of,
)

__all__ = ["Cursor", "Cursors", "merged"]

_TAGS: Final = (QUEUES_DROPPED, GRANTED, CURSORS_MOVED, GROUPS_FORGOTTEN, SCHEDULED, HANDED_OUT)
_QUEUE_BITS: Final = 32
_QUEUE_MASK: Final = (1 << _QUEUE_BITS) - 1
_NOTHING: Bounds = ()


class Cursor:
    """A group in one queue."""

    __slots__ = ("acked", "expression", "floor", "generation", "group", "handouts", "member")

    def __init__(
        self, generation: int, member: str, group: str, expression: str, floor: int
    ) -> None:
        self.generation = generation
        """Of the grant in force."""
        self.member = intern(member)
        """Who has it; empty: nobody."""
        self.group = intern(group)
        self.expression = intern(expression)
        """What the group wants of the queue: a tag expression in its canonical form."""
        self.floor = floor
        """First offset that is not done."""
        self.acked: Bounds = _NOTHING
        """Ranges above the floor that are done (`ranges.py`)."""
        self.handouts: Handouts | None = None
        """What is handed out of the rest; None: nothing."""


def merged(cursor: Cursor, floor: int, ranges: Sequence[tuple[int, int]]) -> tuple[int, Bounds]:
    """Floor and ranges of `cursor` when all below `floor` and in `ranges` is done, too."""
    floor = max(floor, cursor.floor)
    if not cursor.acked and all(start <= floor for start, _ in ranges):
        # The usual case: nothing is left out, so there are no ranges.
        return max([floor, *(stop for _, stop in ranges)]), _NOTHING
    acked = array("Q", cursor.acked)
    for start, stop in ranges:
        add(acked, start, stop)
    floor = cut_below(acked, floor)
    return floor, acked or _NOTHING


class Cursors:
    """Projection: (group id, queue) -> cursor."""

    name = "cursors"
    buckets = BUCKETS

    def __init__(self) -> None:
        self._buckets: list[dict[int, Cursor]] = [{} for _ in range(BUCKETS)]
        self.rows = 0
        """Of all handouts."""

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    def get(self, group_id: int, queue: int) -> Cursor | None:
        return self._buckets[queue & BUCKET_MASK].get(group_id << _QUEUE_BITS | queue)

    def all(self) -> Iterator[tuple[int, int, Cursor]]:
        """(group id, queue, cursor) of every cursor, in no order that means anything."""
        for bucket in self._buckets:
            for key, cursor in bucket.items():
                yield key >> _QUEUE_BITS, key & _QUEUE_MASK, cursor

    def bucket_of(self, record: Record) -> int:
        if record.kind == STATE and tag_of(record.payload) in _TAGS:
            return record.queue & BUCKET_MASK
        return -1

    def apply(self, record: Record) -> None:
        state = decode_state(record.payload)
        bucket = record.queue & BUCKET_MASK
        if isinstance(state, Granted):
            self._grant(bucket, state)
        elif isinstance(state, CursorsMoved):
            for move in state.moves:
                self._move(state.group_id, move.queue, move.floor, move.acked)
        elif isinstance(state, Scheduled):
            offsets = sorted(entry.offset for entry in state.entries)
            acked = [bound for offset in offsets for bound in (offset, offset + 1)]
            self._move(state.group_id, record.queue, 0, acked)
        elif isinstance(state, HandedOut):
            for move in state.moves:
                self._move(state.group_id, move.queue, move.floor, move.acked)
            for handed in state.queues:
                self._hand_out(state.group_id, handed)
        elif isinstance(state, GroupsForgotten):
            gone = set(state.group_ids)
            self._keep(bucket, [one for one in self._buckets[bucket] if one >> 32 not in gone])
        else:
            assert isinstance(state, QueuesDropped)
            gone = set(state.queues)
            kept = [one for one in self._buckets[bucket] if one & _QUEUE_MASK not in gone]
            self._keep(bucket, kept)

    def _grant(self, bucket: int, granted: Granted) -> None:
        cursors = self._buckets[bucket]
        for one in granted.queues:
            key = granted.group_id << _QUEUE_BITS | one.queue
            known = cursors.get(key)
            floor = one.floor
            if floor is None:
                floor = 0 if known is None else known.floor
            cursor = Cursor(one.generation, one.member, granted.group, one.expression, floor)
            if one.floor is None and known is not None:
                cursor.acked, cursor.handouts = known.acked, known.handouts
            elif known is not None:
                self.rows -= _rows_of(known)
            cursors[key] = cursor

    def _move(self, group_id: int, queue: int, floor: int, acked: Sequence[int]) -> None:
        cursor = self.get(group_id, queue)
        # Without a cursor, its grant was in a damaged stretch whose loss the operator accepted.
        if cursor is not None:
            ranges = list(pairs(acked))
            cursor.floor, cursor.acked = merged(cursor, floor, ranges)
            if cursor.handouts is not None:
                self._cut(cursor, ranges)

    def _cut(self, cursor: Cursor, done: Sequence[tuple[int, int]]) -> None:
        handouts = cursor.handouts
        assert handouts is not None
        self.rows -= len(handouts)
        handouts.cut(0, cursor.floor)
        for start, stop in done:
            if stop > cursor.floor:
                handouts.cut(start, stop)
        self.rows += len(handouts)
        if not handouts:
            cursor.handouts = None

    def _hand_out(self, group_id: int, handed: HandedQueue) -> None:
        cursor = self.get(group_id, handed.queue)
        if cursor is None:
            return
        handouts = cursor.handouts
        if handouts is None:
            handouts = cursor.handouts = Handouts()
        self.rows -= len(handouts)
        for start, stop, attempt in handed.pieces:
            row = Handout(start, stop, handed.until_ms, attempt, handed.receipt, handed.held)
            handouts.put(row)
        self.rows += len(handouts)

    def _keep(self, bucket: int, keys: list[int]) -> None:
        cursors = self._buckets[bucket]
        if len(keys) < len(cursors):
            self.rows -= sum(map(_rows_of, cursors.values()))
            kept = self._buckets[bucket] = {key: cursors[key] for key in keys}
            self.rows += sum(map(_rows_of, kept.values()))

    def snapshot(self, bucket: int) -> Any:
        rows = [
            [key >> _QUEUE_BITS, key & _QUEUE_MASK, cursor.generation, cursor.member, cursor.group,
             cursor.expression, cursor.floor, list(cursor.acked), *_handed(cursor)]
            for key, cursor in sorted(self._buckets[bucket].items(), key=_key_of)
        ]  # fmt: skip
        return rows or None

    def restore(self, bucket: int, state: Any) -> None:
        self.rows -= sum(map(_rows_of, self._buckets[bucket].values()))
        cursors = self._buckets[bucket] = {}
        for group_id, queue, generation, member, group, expression, floor, acked, *rest in state:
            cursor = Cursor(generation, member, group, expression, floor)
            cursor.acked = array("Q", acked) if acked else _NOTHING
            if rest:  # rows of cursors without handouts, and of older versions, end here
                cursor.handouts = Handouts.restored(rest[0])
                self.rows += len(cursor.handouts)
            cursors[group_id << _QUEUE_BITS | queue] = cursor

    def digest(self) -> int:
        return digest_of(self)


def _rows_of(cursor: Cursor) -> int:
    return 0 if cursor.handouts is None else len(cursor.handouts)


def _handed(cursor: Cursor) -> list[list[int]]:
    return [] if cursor.handouts is None else [cursor.handouts.snapshot()]


def _key_of(item: tuple[int, Cursor]) -> int:
    return item[0]
