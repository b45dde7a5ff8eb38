"""Cursors: grants, moves that are merged, what goes with queues and groups, snapshots."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

from shardmq.shards.log.record import BATCH, LogRecord
from shardmq.shards.state.cursors import Cursor, Cursors, merged
from shardmq.shards.state.ranges import pairs
from shardmq.shards.state.records import (
    CursorMove,
    CursorsMoved,
    EarliestRaised,
    GroupsForgotten,
    QueuesDropped,
    Scheduled,
    ScheduledEntry,
)
from shardmq.shards.state.schedule import RETRY
from support.folding import granted, handed, state


def moved(floor: int, acked: Sequence[int] = (), *, queue: int = 1, group_id: int = 7) -> LogRecord:
    return state(queue, CursorsMoved(group_id, [CursorMove(queue, floor, list(acked))]))


def rows(cursors: Cursors, queue: int = 1) -> list[tuple[int, int, int]]:
    cursor = cursors.get(7, queue)
    assert cursor is not None
    return [(row.start, row.stop, row.attempt) for row in cursor.handouts or ()]


def place(cursors: Cursors, queue: int = 1, group_id: int = 7) -> tuple[int, list[tuple[int, int]]]:
    cursor = cursors.get(group_id, queue)
    assert cursor is not None
    return cursor.floor, list(pairs(cursor.acked))


def test_a_first_grant_makes_a_cursor() -> None:
    cursors = Cursors()
    cursors.apply(granted(generation=3, floor=40))
    cursor = cursors.get(7, 1)
    assert cursor is not None
    assert (cursor.generation, cursor.member, cursor.group) == (3, "ann", "billing")
    assert place(cursors) == (40, [])
    assert (cursors.get(7, 65), cursors.get(8, 1)) == (None, None)


def test_a_later_grant_keeps_what_is_done_unless_it_names_a_floor() -> None:
    cursors = Cursors()
    cursors.apply(granted())
    cursors.apply(moved(5, [8, 10]))
    cursors.apply(granted(generation=2, member="bob", floor=None))
    assert place(cursors) == (5, [(8, 10)])
    cursors.apply(granted(generation=3, floor=2))
    assert place(cursors) == (2, [])


def test_moves_are_merged_whatever_their_order() -> None:
    cursors = Cursors()
    cursors.apply(granted())
    for move in (moved(2), moved(0, [6, 9]), moved(1, [4, 5]), moved(2)):
        cursors.apply(move)
    assert place(cursors) == (2, [(4, 5), (6, 9)])
    cursors.apply(moved(0, [2, 4]))
    assert place(cursors) == (5, [(6, 9)])
    cursors.apply(moved(7))
    assert place(cursors) == (9, [])


def test_what_would_be_is_told_without_a_change() -> None:
    cursor = Cursor(1, "ann", "billing", "*", 3)
    assert merged(cursor, 5, [(7, 8)]) == (5, merged(cursor, 0, [(7, 8)])[1])
    assert (cursor.floor, cursor.acked) == (3, ())


def test_a_move_without_a_cursor_is_let_be() -> None:
    cursors = Cursors()
    cursors.apply(moved(5))
    assert len(cursors) == 0


def test_cursors_go_with_their_queues_and_with_their_groups() -> None:
    cursors = Cursors()
    for group_id in (7, 8, 9):
        for queue in (1, 65, 2):
            cursors.apply(granted(queue, group_id=group_id))
    cursors.apply(state(1, QueuesDropped([65])))
    cursors.apply(state(1, GroupsForgotten([7, 9])))
    left = sorted((group_id, queue) for group_id, queue, _ in cursors.all())
    assert left == [(7, 2), (8, 1), (8, 2), (9, 2)]


def test_only_its_records_concern_it() -> None:
    cursors = Cursors()
    assert cursors.bucket_of(granted(70)) == 6
    assert cursors.bucket_of(moved(1, queue=70)) == 6
    assert cursors.bucket_of(state(70, EarliestRaised([]))) == -1
    assert cursors.bucket_of(LogRecord(0, BATCH, 70, 0, 0, 0, b"", 64, 1, 0)) == -1


def test_a_snapshot_is_the_state() -> None:
    cursors, restored = Cursors(), Cursors()
    for queue in (129, 1, 65):
        cursors.apply(granted(queue, (1 << 63) - 1, group_id=(1 << 32) - 1))
    cursors.apply(granted(65, 4, floor=(1 << 63) - 1))
    cursors.apply(moved(3, [5, 6, 8, 9], queue=129, group_id=(1 << 32) - 1))
    restored.apply(granted(1, group_id=3))
    restored.restore(1, cursors.snapshot(1))
    assert restored.digest() == cursors.digest()
    assert place(restored, 129, (1 << 32) - 1) == (3, [(5, 6), (8, 9)])
    assert cursors.snapshot(2) is None


def test_the_digest_does_not_depend_on_the_way() -> None:
    one, other = Cursors(), Cursors()
    for record in (granted(1), granted(65), moved(0, [3, 4]), moved(0, [4, 5])):
        one.apply(record)
    for record in (granted(65), granted(1), moved(0, [3, 5])):
        other.apply(record)
    assert one.digest() == other.digest()


def test_ten_thousand_cursors_take_a_few_megabytes() -> None:
    cursors = Cursors()
    tracemalloc.start()
    for group_id in range(1_000):
        for queue in range(10):
            member = f"host-{group_id}-{queue}"
            cursors.apply(granted(10_000 + queue, group_id=group_id, member=member))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(cursors) == 10_000
    assert size < 5_000_000, size


def test_what_is_scheduled_for_a_group_is_done_with_in_the_same_record() -> None:
    cursors = Cursors()
    cursors.apply(granted())
    entries = [ScheduledEntry(offset, 0, 9, 2) for offset in (5, 0, 4)]
    for group_id in (0, 7):  # 0: scheduled for nobody
        record = state(1, Scheduled(6, 70, RETRY, False, group_id, "orders", 0, entries))
        assert cursors.bucket_of(record) == 1
        cursors.apply(record)
    assert place(cursors) == (1, [(4, 6)])


def test_what_is_done_leaves_its_row() -> None:
    cursors = Cursors()
    cursors.apply(granted())
    cursors.apply(handed((0, 8, 1), (8, 12, 2)))
    assert (rows(cursors), cursors.rows) == ([(0, 8, 1), (8, 12, 2)], 2)
    cursors.apply(moved(0, [3, 5]))
    assert (rows(cursors), cursors.rows) == ([(0, 3, 1), (5, 8, 1), (8, 12, 2)], 3)
    cursors.apply(moved(3))
    assert place(cursors) == (5, [])
    entries = [ScheduledEntry(9, 0, 9, 2)]
    cursors.apply(state(1, Scheduled(6, 70, RETRY, True, 7, "orders", 0, entries)))
    assert rows(cursors) == [(5, 8, 1), (8, 9, 2), (10, 12, 2)]
    cursors.apply(moved(12))
    cursor = cursors.get(7, 1)
    assert cursor is not None
    assert (cursor.floor, cursor.handouts, cursors.rows) == (12, None, 0)


def test_what_is_handed_out_again_is_one_row_and_what_was_left_out_is_done() -> None:
    cursors = Cursors()
    cursors.apply(granted())
    cursors.apply(handed((0, 8, 1)))
    cursors.apply(handed((2, 4, 2), (9, 11, 1), passed=[8, 9, 11, 20]))
    assert rows(cursors) == [(0, 2, 1), (2, 4, 2), (4, 8, 1), (9, 11, 1)]
    assert place(cursors) == (0, [(8, 9), (11, 20)])
    cursors.apply(handed((0, 1, 1), queue=2))  # no cursor: the operator accepted a loss
    assert cursors.rows == 4


def test_a_grant_keeps_rows_unless_it_names_a_floor() -> None:
    cursors = Cursors()
    cursors.apply(granted())
    cursors.apply(handed((0, 8, 1)))
    cursors.apply(granted(generation=2, floor=None))
    assert (rows(cursors), cursors.rows) == ([(0, 8, 1)], 1)
    cursors.apply(granted(generation=3, floor=4))
    assert (rows(cursors), cursors.rows) == ([], 0)


def test_rows_go_with_their_queues_and_groups_and_come_with_a_snapshot() -> None:
    cursors, restored = Cursors(), Cursors()
    for queue in (1, 65, 129):
        cursors.apply(granted(queue))
        cursors.apply(handed((0, 8, 1), (9, 10, 3), queue=queue))
    for _ in range(2):
        restored.restore(1, cursors.snapshot(1))
        assert restored.digest() == cursors.digest()
        assert (rows(restored, 65), restored.rows) == ([(0, 8, 1), (9, 10, 3)], 6)
    cursors.apply(state(1, QueuesDropped([65])))
    assert cursors.rows == 4
    cursors.apply(state(1, GroupsForgotten([7])))
    assert cursors.rows == 0


def test_a_snapshot_from_before_there_were_handouts_is_restored() -> None:
    cursors = Cursors()
    cursors.restore(1, [[7, 1, 3, "ann", "billing", "*", 5, [7, 9]]])
    assert place(cursors) == (5, [(7, 9)])
    assert cursors.snapshot(1) == [[7, 1, 3, "ann", "billing", "*", 5, [7, 9]]]
