"""RELEASE: what falls due is appended to its queue.

Owns the verb, the watermark and the piece of work that a turn does. How an entry becomes a copy
stands in `release_copies.py`, when it is due in `near.py`, that it ends in `state/schedule.py`.

The coordinator has the clock: RELEASE names the watermark, below which everything is due. It is
written down when something becomes due by it, so that a restart goes on where this was, and never
goes back. The answer is the next due time; it is parked until that is another than the coordinator
knows. What is due already is this shard's own matter and never told: it is done turn by turn, and
where the journal takes nothing just now, tried again later.

The record of a copy's batch ends the entry: there is no moment at which a message is in both places
or in neither. An entry whose message cannot be read any more (the disk lost it) is ended by a
record of its own, loudly: else it would be tried for ever.

Copies are taken for longer than other data by a disk that is getting full: what an entry still
needs of the log is held back from retention (`carry.py`).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from shardmq.actors.kernel.ports import Letter, Now, QueueLog
from shardmq.actors.protocol.group_messages import Release, ReleaseReply
from shardmq.actors.protocol.limits import WAIT_MS_MAX

from .append import Appender, no_room_to_finish
from .losses import Failed, Losses
from .near import Near
from .release_copies import Parcel, copied
from .requests import Request
from .serving import Serving
from .state.records import WatermarkRaised, encode_state
from .state.schedule import NEVER, Schedule

__all__ = ["Releasing"]

NEAR_MS: Final = 60_000
"""How far ahead entries are read back."""
TURN_ENTRIES: Final = 128
"""Some 30 µs each."""
_RECORD_BYTES: Final = 1_024
_PAST_MS: Final = 0.0
_NEVER_MS: Final = float("inf")


class _Parked(NamedTuple):
    """A RELEASE that waits for news."""

    request: Request
    known_due_ms: int
    deadline_ms: float


class Releasing:
    """The verb RELEASE, and what comes of it."""

    def __init__(
        self, journal: QueueLog, schedule: Schedule, serving: Serving, appender: Appender,
        losses: Losses,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._schedule = schedule
        self._served = serving.by_number
        self._appender = appender
        self._losses = losses
        self._near = Near(journal, schedule)
        self._until_ms = schedule.watermark_ms
        """The highest watermark that was named."""
        self._parked: _Parked | None = None
        self._failed: list[Failed] = []
        """Entries to be ended without a copy."""
        self._retry_at_ms = _PAST_MS
        self._wake_at_ms = _PAST_MS
        """When (mono) there is something to do, unless there are new entries ..."""
        self._read_at_ms = 0
        """... or the next ones have come near (wall)."""
        self.released = 0
        self.faults = 0

    @property
    def wake_at_ms(self) -> float | None:
        return None if self._wake_at_ms == _NEVER_MS else self._wake_at_ms

    def handle(self, request: Request, header: Release, now: Now, out: list[Letter]) -> None:
        """Take one RELEASE; `turn` does the work and answers."""
        self._until_ms = max(self._until_ms, header.until_ms)
        if self._parked is not None:
            self._answer(out)
        wait_ms = min(header.wait_ms, WAIT_MS_MAX, request.route.tail)
        request.header = b""
        self._parked = _Parked(request, header.known_due_ms, now.mono_ms + wait_ms)
        self._wake_at_ms = _PAST_MS

    def durable_advanced(self) -> None:
        """What was decided a moment ago may be carried out now."""
        if self._near.blocked:
            self._wake_at_ms = _PAST_MS

    def turn(self, now: Now, out: list[Letter]) -> None:
        """Read and release a piece of what is due, and answer who waits, if there is news."""
        due = now.mono_ms >= self._wake_at_ms or now.wall_ms >= self._read_at_ms
        if not due and not self._schedule.unread:
            return
        busy = now.mono_ms >= self._retry_at_ms and self._work(now)
        parked = self._parked
        if parked is not None:
            next_due_ms = self._near.next_due_ms()
            news = next_due_ms > self._until_ms and _told(next_due_ms) != parked.known_due_ms
            if news or now.mono_ms >= parked.deadline_ms:
                self._answer(out)
        self._read_at_ms = self._near.far_due_ms() - NEAR_MS
        self._wake_at_ms = _PAST_MS if busy else self._next_ms(now)

    def _next_ms(self, now: Now) -> float:
        retry_ms = self._retry_at_ms if self._retry_at_ms > now.mono_ms else _NEVER_MS
        return retry_ms if self._parked is None else min(retry_ms, self._parked.deadline_ms)

    def stop(self, out: list[Letter]) -> None:
        """Answer who waits."""
        self._wake_at_ms = _NEVER_MS
        if self._parked is not None:
            self._answer(out)

    def stats(self) -> dict[str, Any]:
        """Figures for the verb STATS."""
        schedule = self._schedule
        return {
            "schedule_entries": len(schedule),
            "schedule_periods": schedule.periods,
            "schedule_near": len(self._near),
            "schedule_released": self.released,
            "schedule_lost": self._losses.count,
            "schedule_watermark_ms": schedule.watermark_ms,
            "schedule_next_due_ms": _told(self._near.next_due_ms()),
        }

    # ------------------------------------------------------------------ a piece of work

    def _work(self, now: Now) -> bool:
        """Do a piece; True if the next one can be done at once."""
        near, until_ms = self._near, self._until_ms
        damaged = near.read(max(until_ms, now.wall_ms) + NEAR_MS)
        self._failed += [Failed(one, "its record is damaged") for one in damaged]
        if near.due(until_ms) or self._failed:
            self._release(now)
        waits_for_room = self._retry_at_ms > now.mono_ms
        return not waits_for_room and (near.more or near.due(until_ms))

    def _release(self, now: Now) -> None:
        if not self._has_room(_RECORD_BYTES, now):
            return
        near, schedule, until_ms = self._near, self._schedule, self._until_ms
        if until_ms > schedule.watermark_ms and near.due(until_ms):
            self._journal.append_state(encode_state(WatermarkRaised(until_ms)), now)
        found = copied(self._journal, near.take(until_ms, TURN_ENTRIES))
        near.give_back(found.left)
        self._failed += found.failed
        self.faults += found.faults
        for parcel in found.parcels:
            self._append(parcel, now)
        self._losses.end(self._failed, now)
        self._failed = []

    def _append(self, parcel: Parcel, now: Now) -> None:
        served = self._served.get(parcel.queue)
        if served is None:
            reason = f"queue {parcel.queue} is not on this shard any more"
            self._failed += [Failed(one, reason) for one in parcel.entries]
        elif self._has_room(len(parcel.frame), now):
            count = len(parcel.entries)
            self._appender.append(served, parcel.frame, count, now)
            self.released += count
        else:
            self._near.give_back(parcel.entries)

    def _has_room(self, size: int, now: Now) -> bool:
        no_room = no_room_to_finish(self._journal, size)
        if no_room is not None:
            self._retry_at_ms = now.mono_ms + no_room.retry_after_ms
        return no_room is None

    # ------------------------------------------------------------------ answering

    def _answer(self, out: list[Letter]) -> None:
        parked, self._parked = self._parked, None
        assert parked is not None
        reply = ReleaseReply(next_due_ms=_told(self._near.next_due_ms()))
        out.append(parked.request.answer(reply))


def _told(due_ms: int) -> int:
    """A due time as it is told: 0 means that there is none."""
    return 0 if due_ms == NEVER else max(due_ms, 1)
