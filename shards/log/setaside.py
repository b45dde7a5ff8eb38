"""Bytes that recovery takes out of the log, and what must be remembered of them.

Owns the directory `set-aside` and the file in which the operator accepts damages.

What stood behind the end of the log may have been acknowledged, though the log cannot know it. So
it is kept: copied to a file and synced before anything is cut. And the offsets that can still be
read in it are never given again: for each queue a FLOOR record goes into the log. A file is called
`.pending` until these records are durable, so a crash at any point does it once more, to the same
effect.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from . import names
from .io import LogIO
from .logscan import LogScan
from .reader import iterate
from .record import BATCH, FLOOR
from .report import SetAside
from .scan import CHUNK_BYTES, read_around_errors, scan

__all__ = ["accept", "accepted", "describe", "durable_before", "pending", "set_aside", "settle"]

PENDING = ".pending"
_DRAFT = ".tmp"


class _Accepted(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    damages: list[tuple[int, int]]


class _Piece(NamedTuple):
    base: int
    start: int
    stop: int


def set_aside(io: LogIO, directory: str, found: LogScan, epoch: int) -> None:
    """Copy everything behind `found.end` to a pending file, synced. No file if it is all zeros."""
    folder = names.path_of(directory, names.SET_ASIDE)
    path = names.path_of(folder, names.set_aside_name(found.end, epoch, found.durable))
    if path.rpartition("/")[2] + PENDING in io.listdir(folder):
        return  # by an attempt that was cut short; it saw more of the log than is left now
    pieces = _pieces(io, directory, found)
    if not pieces:
        return
    io.make_directory(folder)
    target = io.open(path + _DRAFT, create=True)
    try:
        io.truncate(target, 0)
        for base, start, stop in pieces:
            source = io.open(names.path_of(directory, names.log_name(base)))
            try:
                for at in range(start, stop, CHUNK_BYTES):
                    size = min(CHUNK_BYTES, stop - at)
                    data = read_around_errors(io, source, size, at - base)
                    io.writev(target, [data], at - found.end)
            finally:
                io.close(source)
        io.fdatasync(target)
    finally:
        io.close(target)
    io.rename(path + _DRAFT, path + PENDING)
    io.fsync_dir(folder)


def _pieces(io: LogIO, directory: str, found: LogScan) -> list[_Piece]:
    """Parts of segments behind the end, each cut behind its last byte that is not zero."""
    pieces = []
    for base in found.bases:
        file = io.open(names.path_of(directory, names.log_name(base)))
        try:
            size = io.size(file)
            start = max(found.end, base)
            stop = _last_data(io, file, start - base, size) + base
        finally:
            io.close(file)
        if stop > start:
            pieces.append(_Piece(base, start, stop))
    return pieces


def _last_data(io: LogIO, file: int, start: int, size: int) -> int:
    """Behind the last byte of [start, size) that is not zero; `start` if there is none."""
    last = at = start
    while (at := io.next_data(file, at)) < size:
        data = read_around_errors(io, file, CHUNK_BYTES, at)
        if not data:
            break
        used = len(data.rstrip(b"\0"))
        last = at + used if used else last
        at += len(data)
    return last


def pending(io: LogIO, directory: str) -> list[SetAside]:
    """Files whose floors are not yet durable in the log. Drafts of a crashed attempt are removed:
    what they hold is still in the log."""
    folder = names.path_of(directory, names.SET_ASIDE)
    found = []
    for name in io.listdir(folder):
        path = names.path_of(folder, name)
        if name.endswith(_DRAFT):
            io.unlink(path)
        elif name.endswith(PENDING):
            found.append(describe(io, path))
    return found


def durable_before(io: LogIO, directory: str) -> int:
    """D as a recovery that was cut short knew it: the records that named it may be removed."""
    pending = [
        one
        for one in io.listdir(names.path_of(directory, names.SET_ASIDE))
        if one.endswith(PENDING)
    ]
    return max(map(names.durable_of, pending), default=0)


def describe(io: LogIO, path: str) -> SetAside:
    """What is in a set-aside file."""
    start = names.lsn_of(path)
    file = io.open(path)
    floors: dict[int, int] = {}
    records = 0
    try:
        size = io.size(file)
        result = scan(io, file, start, size, sealed=False, header_bytes=0)
        at = start
        for stop, behind in [*((one.start, one.end) for one in result.damages), (start + size, 0)]:
            for record in iterate(io, file, start, at, stop):
                records += 1
                if record.kind in (BATCH, FLOOR):
                    floor = record.base_offset + record.count
                    floors[record.queue] = max(floor, floors.get(record.queue, 0))
            at = max(at, behind)
        for one in result.damages:  # a sound prefix tells which offsets its damaged body had
            if one.queue >= 0:
                floor = one.base_offset + one.messages
                floors[one.queue] = max(floor, floors.get(one.queue, 0))
    finally:
        io.close(file)
    return SetAside(path, start, records, dict(sorted(floors.items())))


def settle(io: LogIO, directory: str, files: list[SetAside]) -> None:
    """The floors of `files` are durable: drop the `.pending`."""
    for one in files:
        io.rename(one.path, one.path.removesuffix(PENDING))
    if files:
        io.fsync_dir(names.path_of(directory, names.SET_ASIDE))


def accepted(io: LogIO, directory: str) -> list[tuple[int, int]]:
    """Stretches whose loss the operator has accepted.

    Raises:
        msgspec.ValidationError: somebody wrote something else into the file.
    """
    if names.ACCEPTED not in io.listdir(directory):
        return []
    file = io.open(names.path_of(directory, names.ACCEPTED))
    try:
        return msgspec.json.decode(io.pread(file, io.size(file), 0), type=_Accepted).damages
    finally:
        io.close(file)


def accept(io: LogIO, directory: str, damages: list[tuple[int, int]]) -> None:
    """Add `damages` to what is accepted, durably; the next start of the log reads it."""
    together = sorted({*accepted(io, directory), *damages})
    path = names.path_of(directory, names.ACCEPTED)
    file = io.open(path + _DRAFT, create=True)
    try:
        io.truncate(file, 0)
        io.writev(file, [msgspec.json.encode(_Accepted(1, together))], 0)
        io.fdatasync(file)
    finally:
        io.close(file)
    io.rename(path + _DRAFT, path)
    io.fsync_dir(directory)
