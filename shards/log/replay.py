"""Replay: the state of the projections and the index, from what the scan found sound.

Owns the second pass over the log. Trusts the first: checksums were verified there.

Offsets are never given twice, also not those of a batch that was lost below D:

* a batch with a sound prefix behind which the body is damaged still tells its queue and offsets:
  the projections see a FLOOR instead of it, and the index keeps it, so that reading it says exactly
  what is damaged;
* where even the prefix is lost, it may have been any queue's. A queue with later records shows
  where it went on. For the others a floor is laid as far ahead as the lost bytes can have counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from shardmq.actors.kernel.ports import Projection
from shardmq.actors.protocol.limits import BATCH_MESSAGES_MAX

from .io import LogIO
from .logscan import LogScan
from .queueindex import QueueIndex
from .reader import iterate, read_record
from .record import (
    BATCH,
    BATCH_HEADER_BYTES,
    FLOOR,
    PREFIX_BYTES,
    STATE,
    LogRecord,
)  # fmt: skip
from .scan import Damage, Found, Scan
from .segment import SegmentFiles
from .snapshot import Gate, read_slice

__all__ = ["Replay"]


class Replay:
    """One replay into fresh projections and an empty index."""

    def __init__(
        self, io: LogIO, files: SegmentFiles, index: QueueIndex, projections: Sequence[Projection]
    ) -> None:
        self._io = io
        self._files = files
        self._index = index
        self._projections = projections
        self._gates: list[Gate] = []
        self._last_lsn = -1
        self.floors: dict[int, int] = {}
        """Queue: offset below which none may be given again, besides what records say."""
        self.notes: list[str] = []

    def run(self, found: LogScan) -> None:
        """Restore the snapshot and apply everything that the scan left in."""
        self._gates = [Gate(one, found.replay_from) for one in self._projections]
        self._restore(found)
        damages = found.left_out()
        unknown = [one for one in damages if one.end > found.replay_from and _hides_offsets(one)]
        unknown_until = max((one.end for one in unknown), default=-1)
        gone_on: set[int] = set()
        for one in found.scans:
            self._index.open_segment(one.base)
            self._segment(one, damages, found, unknown_until, gone_on)
        if unknown:
            self._leap(sum(_offsets_at_most(one) for one in unknown), gone_on)

    def chain(self) -> int:
        """Crc of the last prefix that stays, for the next record to name."""
        if self._last_lsn < 0:
            return 0
        base = self._files.segment_of(self._last_lsn).base
        crc = self._io.pread(self._files.file(base), 4, self._last_lsn - base + 8)
        return int.from_bytes(crc, "little")

    def _restore(self, found: LogScan) -> None:
        by_name = {gate.projection.name: gate for gate in self._gates}
        unknown = set()
        for one in found.series or ():
            base = self._files.segment_of(one.lsn).base
            record = read_record(self._io, self._files.file(base), base, one.lsn, one.length)
            body = read_slice(record.payload)
            gate = by_name.get(body.projection)
            if gate is not None:
                gate.restore(body, one.lsn)
            elif body.projection:
                unknown.add(body.projection)
        self.notes += [
            f"the snapshot holds {name!r}, which is not used" for name in sorted(unknown)
        ]

    def _segment(
        self, one: Scan, damages: Sequence[Damage], found: LogScan, unknown_until: int,
        gone_on: set[int],
    ) -> None:  # fmt: skip
        file = self._files.file(one.base)
        limit = min(one.limit, found.end)
        at, replay_from = one.base, found.replay_from
        own = [damage for damage in damages if one.base <= damage.start < limit]
        add, gates = self._index.add, self._gates
        folds = [(gate.bucket_of, gate.apply_fully) for gate in gates]
        gated_until = max((gate.until for gate in gates), default=replay_from)
        for stop, damage in [*((damage.start, damage) for damage in own), (limit, None)]:
            for record in iterate(self._io, file, one.base, at, stop):
                lsn, kind = record.lsn, record.kind
                self._last_lsn = lsn
                if kind == BATCH:
                    add(
                        record.queue, record.base_offset, lsn, record.length, record.count,
                        record.stored_at_ms,
                    )  # fmt: skip
                elif kind not in (STATE, FLOOR):
                    continue
                if lsn >= unknown_until >= 0 and kind != STATE:
                    gone_on.add(record.queue)
                if lsn > gated_until:
                    for bucket_of, apply in folds:
                        if bucket_of(record) >= 0:
                            apply(record)
                elif lsn >= replay_from:
                    for gate in gates:
                        gate.apply(record)
            if damage is not None:
                self._lost(damage, found)
                at = max(at, damage.end)

    def _lost(self, damage: Damage, found: LogScan) -> None:
        if damage.found is not Found.BODY or damage.queue < 0:
            return
        end = damage.base_offset + damage.messages
        self._index.add(
            damage.queue, damage.base_offset, damage.start, damage.end - damage.start,
            damage.messages, damage.stored_at_ms,
        )  # fmt: skip
        if damage.start >= found.replay_from:
            floor = LogRecord(
                damage.start, FLOOR, damage.queue, end, damage.stored_at_ms, 0, b"",
                damage.end - damage.start, 0, 0,
            )  # fmt: skip
            for gate in self._gates:
                gate.apply(floor)

    def _leap(self, offsets: int, gone_on: set[int]) -> None:
        for queue in self._index.queues():
            if queue not in gone_on:
                self.floors[queue] = self._index.next_offset(queue) + offsets


def _hides_offsets(damage: Damage) -> bool:
    """It may have held batches, and nothing tells of which queue. (What is no longer than a prefix
    was a mark.)"""
    return damage.found is not Found.BODY and damage.end - damage.start > PREFIX_BYTES


def _offsets_at_most(damage: Damage) -> int:
    """More messages than the lost bytes can have held."""
    batches = (damage.end - damage.start) // (PREFIX_BYTES + BATCH_HEADER_BYTES) + 1
    return batches * BATCH_MESSAGES_MAX
