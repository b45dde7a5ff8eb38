"""Scanning a directory's segments, and deciding about everything that is found.

Owns the order (newest segment first, as far back as needed) and the facts that need more than one
segment: D, where the log ends, which snapshot to start from. Changes nothing on the disk.

A scan may stop at a segment when it has the newest whole snapshot series and everything above D:
older segments hold nothing that recovery needs. The verifying tool scans them all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from . import names
from .decide import Action, Case, Row, decide
from .io import LogIO
from .scan import Damage, Found, Scan, Slice, scan
from .snapshot import newest_whole_series

__all__ = ["Finding", "LogScan", "Ranges", "scan_log", "segment_bases"]

Ranges = Iterable[tuple[int, int]]
"""Stretches [start, end) of lsns."""


class Finding(NamedTuple):
    """A damage and the row of the table that it meets."""

    damage: Damage
    row: Row


class LogScan:
    """What a directory holds, as far as it was scanned."""

    def __init__(self, bases: list[int]) -> None:
        self.bases = bases
        """Of all segments, oldest first."""
        self.scans: list[Scan] = []
        """Of the newest segments, oldest of them first."""
        self.durable = 0
        """D."""
        self.epoch = -1
        """Largest epoch that any sound record carries, -1 if there is none."""
        self.findings: list[Finding] = []
        """Below the end, in order."""
        self.end = 0
        """Where the log ends: behind the last sound record that stays."""
        self.set_aside: Row | None = None
        """The row by which the log ends at `end`, if bytes behind it are to be set aside."""
        self.series: list[Slice] | None = None
        """Slices of the newest whole snapshot."""

    @property
    def replay_from(self) -> int:
        """Where replay starts: at the newest whole series, else at the oldest record."""
        if self.series is not None:
            return self.series[0].lsn
        return self.bases[0] if self.bases else 0

    @property
    def read_only(self) -> bool:
        return any(one.row.action is Action.READ_ONLY for one in self.findings)

    def left_out(self) -> list[Damage]:
        """Damages that replay steps over."""
        return [one.damage for one in self.findings]


def segment_bases(io: LogIO, directory: str) -> list[int]:
    """Bases of the segments in a directory, ascending."""
    bases = map(names.base_of, io.listdir(directory))
    return sorted(base for base in bases if base is not None)


def scan_log(
    io: LogIO, directory: str, header_bytes: int, accepted: Ranges = (), *, durable: int = 0,
    everything: bool = False,
) -> LogScan:  # fmt: skip
    """Scan the log in `directory`.

    Args:
        header_bytes: length of the record that opens each segment.
        accepted: damages whose loss the operator has accepted.
        durable: what is known of D besides what records name.
        everything: also the segments that recovery does not need.
    """
    result = LogScan(segment_bases(io, directory))
    result.durable = durable
    bases = result.bases
    for index in reversed(range(len(bases))):
        base = bases[index]
        sealed = index + 1 < len(bases)
        file = io.open(names.path_of(directory, names.log_name(base)))
        try:
            size = bases[index + 1] - base if sealed else io.size(file)
            one = scan(io, file, base, size, sealed=sealed, header_bytes=header_bytes)
        finally:
            io.close(file)
        if result.scans:
            _check_link(one, result.scans[0])
        result.scans.insert(0, one)
        result.durable = max(result.durable, one.durable)
        result.epoch = max(result.epoch, one.epoch)
        _find_end(result)
        slices = [slice_ for each in result.scans for slice_ in each.slices]
        result.series = newest_whole_series(slices, result.end)
        if result.series is not None and result.durable >= base and not everything:
            break
    _judge(result, sorted(accepted))
    return result


def _check_link(older: Scan, newer: Scan) -> None:
    """Put a break between two segments that do not follow each other, though each is sound."""
    if None not in (older.chain, newer.first_chain) and older.chain != newer.first_chain:
        at = newer.base
        before = older.last_start if older.end == at else at
        newer.damages.insert(0, Damage(at, at, Found.STALE, False, before=before))


def _damages(result: LogScan) -> list[Damage]:
    """All damages in order. Of two sound records that do not follow each other the first one is
    wrong if it lies below D, where the second one was written later, and durably."""
    found = []
    for one in result.scans:
        for damage in one.damages:
            if damage.start == damage.end and damage.before < result.durable:
                damage = damage._replace(start=damage.before)
            found.append(damage)
    return found


def _find_end(result: LogScan) -> None:
    """The log ends at the first damage at or above D, free space being one of a kind."""
    result.end = max(result.scans[-1].end, result.scans[-1].base)
    result.set_aside = None
    last_sound = result.end
    for damage in _damages(result):
        if damage.start >= result.durable:
            follows = last_sound > damage.end or damage.found is Found.STALE
            row = decide(Case(False, damage.found, follows, not damage.stateless, False))
            result.end = damage.start
            result.set_aside = row if row.action is Action.SET_ASIDE else None
            return


def _judge(result: LogScan, accepted: list[tuple[int, int]]) -> None:
    start = result.replay_from
    damages = [one for one in _damages(result) if one.start < result.durable]
    if result.series is None and result.bases and result.bases[0] > 0:
        # Segments are dropped only behind a whole snapshot, so there was one, and it is damaged.
        damages.insert(0, Damage(0, result.bases[0], Found.MISSING, False))
        start = 0
    for damage in damages:
        state = not damage.stateless and damage.end > start
        taken = any(first <= damage.start and damage.end <= stop for first, stop in accepted)
        row = decide(Case(True, damage.found, True, state, taken))
        result.findings.append(Finding(damage, row))
