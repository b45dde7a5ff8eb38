"""Records about cursors as a fold sees them, for tests that need no journal."""

from __future__ import annotations

from collections.abc import Sequence

from shardmq.shards.log.record import STATE, LogRecord
from shardmq.shards.state.records import (
    CursorMove,
    Granted,
    GrantedQueue,
    HandedOut,
    HandedQueue,
    StateRecord,
    encode_state,
)


def state(queue: int, one: StateRecord) -> LogRecord:
    return LogRecord(0, STATE, queue, 0, 0, 0, encode_state(one), 70, 0, 0)


def granted(
    queue: int = 1,
    generation: int = 1,
    *,
    group_id: int = 7,
    member: str = "ann",
    floor: int | None = 0,
) -> LogRecord:
    one = GrantedQueue(queue, generation, member, "*", floor)
    return state(queue, Granted(group_id, "billing", [one]))


def handed(
    *pieces: tuple[int, int, int], queue: int = 1, group_id: int = 7, until_ms: int = 90,
    receipt: int = 5, passed: Sequence[int] = (),
) -> LogRecord:  # fmt: skip
    moves = [CursorMove(queue, 0, list(passed))] if passed else []
    row = HandedQueue(queue, receipt, until_ms, True, list(pieces))
    return state(queue, HandedOut(group_id, [row], moves))
