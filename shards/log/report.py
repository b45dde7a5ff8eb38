"""What recovery found and did, for people and for the console.

Owns the words. Plain values: nothing here is alive.
"""

from __future__ import annotations

import msgspec

from .decide import Action, Row
from .scan import Damage

__all__ = ["JournalStats", "LostStretch", "RecoveryReport", "SetAside", "lost_stretch"]


class LostStretch(msgspec.Struct, frozen=True):
    """One damaged stretch [start, end) of lsns and what became of it."""

    start: int
    end: int
    label: str
    """Row of the decision table."""
    found: str
    read_only: bool
    queue: int = -1
    base_offset: int = -1
    count: int = 0

    def __str__(self) -> str:
        text = f"{self.label}: {self.found} at [{self.start}, {self.end})"
        if self.queue >= 0:
            text += f", queue {self.queue} offsets [{self.base_offset}, "
            text += f"{self.base_offset + self.count})"
        return text + (", read-only until it is accepted" if self.read_only else "")


class SetAside(msgspec.Struct, frozen=True):
    """Bytes that recovery took out of the log, kept in a file."""

    path: str
    start: int
    records: int
    """Sound records in it."""
    floors: dict[int, int]
    """Queue: offset below which none is given again."""

    def __str__(self) -> str:
        offsets = ", ".join(f"queue {queue} below {end}" for queue, end in self.floors.items())
        return (
            f"the log ends at {self.start}; what stood behind was set aside in {self.path}:"
            f" {self.records} sound records ({offsets or 'no offsets'}), they were not synced as"
            " far as the log knows but may have been acknowledged"
        )


class RecoveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """One recovery."""

    epoch: int
    end: int
    durable: int
    """Largest durable lsn that a record named: what lay above was written again and synced."""
    replay_from: int
    """Lsn at which the newest whole snapshot begins."""
    segments: int
    segments_scanned: int
    records_scanned: int
    read_only: bool
    lost: list[LostStretch]
    set_aside: list[SetAside]
    notes: list[str]

    def lines(self) -> list[str]:
        """Everything an operator should read, worst first; empty after a clean start."""
        lost = [str(one) for one in sorted(self.lost, key=lambda one: not one.read_only)]
        return lost + [str(one) for one in self.set_aside] + self.notes


class JournalStats(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a running journal, made when asked for."""

    end: int
    durable: int
    epoch: int
    segments: int
    bytes: int
    """From the oldest byte kept to the end."""
    read_only: bool
    disk_full: bool
    free_bytes: int
    syncs: int
    sync_ms_last: float
    sync_ms_mean: float
    records: int
    """Appended since the start."""
    records_per_sync: float
    damaged_records: int
    """Met by reads and scrubs since the start, and by recovery."""
    scrubbed_bytes: int
    segments_dropped: int


def lost_stretch(damage: Damage, row: Row) -> LostStretch:
    """`damage` as the report words it."""
    return LostStretch(
        damage.start, damage.end, row.label, damage.found.value, row.action is Action.READ_ONLY,
        damage.queue, damage.base_offset, damage.messages,
    )  # fmt: skip
