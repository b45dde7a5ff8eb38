"""The disk under one simulated process: which faults befall it, and what a power cut leaves.

Owns the choices; the model of files, names and what is synced is `support.disk`. Must not know what
a log is.

    process killed   the page cache stays; a write in progress may be there in part
    power cut        of the unsynced operations a chosen part stays; writes may be torn
    sync fails       a part reaches the platter, the rest is marked clean: a later sync does not
                     write it, though reads go on showing it until the power is cut
    disk full        what has no blocks yet gets none
"""

from __future__ import annotations

import errno
import random
from collections.abc import Sequence
from typing import TypeVar

from support.disk import Call, Killed, SimDisk, SimIO, disk_error

__all__ = ["Disk", "Killed"]

T = TypeVar("T")
SECTOR_BYTES = 512
KILLING = frozenset(
    {"open", "writev", "fdatasync", "fallocate", "truncate", "rename", "unlink", "fsync_dir"}
)


class Disk:
    """One process's disk through all its lives."""

    def __init__(self, chance: random.Random) -> None:
        self.kill_in: int | None = None
        """Calls until the process is killed in one of them."""
        self.sync_fails = False
        """The next sync does."""
        self._chance = chance
        self._disk = SimDisk()

    def io(self) -> SimIO:
        """The LogIO of a new process."""
        io = _FaultyIO(self._disk, self, self._chance)
        io.before = self._before
        return io

    def copy(self) -> SimIO:
        """What a reader sees now, on a disk of its own: for a replay beside the live log."""
        twin = self._disk.clone()
        twin.capacity_bytes = None
        return twin.io()

    def fill(self, left_bytes: int) -> None:
        """A neighbour leaves only so much."""
        self._disk.capacity_bytes = self._disk.used_bytes() + left_bytes

    def free(self) -> None:
        """The neighbour is gone."""
        self._disk.capacity_bytes = None

    def process_died(self) -> None:
        """Descriptors and locks go, the page cache stays."""
        self.kill_in = None
        self._disk.kill()

    def power_cut(self) -> None:
        """Unsynced operations are kept, torn or lost, each on its own."""
        self.kill_in = None
        self.sync_fails = False
        kept = _some(self._disk.unsynced(), self._chance)
        cut = {
            serial: _torn_at(size, self._chance)
            for serial, size in self._disk.write_sizes().items()
            if size > 1 and self._chance.random() < 0.3
        }
        self._disk = self._disk.power_cut(kept, cut)

    def _before(self, call: Call) -> None:
        if self.kill_in is not None and call.name in KILLING:
            self.kill_in -= 1
            if self.kill_in <= 0:
                raise Killed
        if self.sync_fails and call.name == "fdatasync":
            self.sync_fails = False
            file = self._disk.find(call.path)
            file.ops[:] = _some(file.ops, self._chance)
            file.sync()
            raise disk_error(errno.EIO, call.path)


class _FaultyIO(SimIO):
    """A killed writev has written a part."""

    def __init__(self, disk: SimDisk, faults: Disk, chance: random.Random) -> None:
        super().__init__(disk)
        self._faults = faults
        self._chance = chance

    def writev(self, file: int, buffers: Sequence[bytes], offset: int) -> None:
        if self._faults.kill_in == 1:
            data = b"".join(buffers)
            part = data[: self._chance.randint(0, len(data))]
            self._faults.kill_in = None
            if part:
                super().writev(file, [part], offset)
            raise Killed
        super().writev(file, buffers, offset)


def _torn_at(size: int, chance: random.Random) -> int:
    """How many bytes of a torn write arrive: whole sectors, or any number."""
    at = chance.randrange(size)
    return at if chance.random() < 0.5 else at - at % SECTOR_BYTES


def _some(items: Sequence[T], chance: random.Random) -> list[T]:
    """Mostly a beginning, as a journaling file system keeps it; sometimes any part."""
    share = chance.choice((0.0, 0.5, 0.5, 0.9, 1.0))
    if chance.random() < 0.6:
        return list(items[: round(share * len(items))])
    return [one for one in items if chance.random() < share]
