"""A disk in memory that forgets what was not synced: the simulated and the recording LogIO.

Owns the model of what a power cut leaves. Must not know the log: it sees bytes and names.

Each file has what the system shows (`shown`) and what is on the platter (`kept`); between them lie
the operations since its last sync. A directory likewise: creations, renames and removals count only
after `fsync_dir`. A power cut keeps any subset of these operations, and of a write that is kept any
part: disks and file systems reorder, and the log may rely on nothing else.

    disk = SimDisk()
    io = disk.io()                      a LogIO; another one is another process
    io.before = function(call)          sees each call first; may raise, to fail or to kill
    disk.kill()                         the process is gone, the page cache stays
    disk.power_cut(keep=..., cut=...)   the machine is gone
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["Call", "Killed", "SimDisk", "SimIO", "disk_error"]

MUTATING = frozenset(
    {"open", "writev", "fdatasync", "fallocate", "truncate", "rename", "unlink", "fsync_dir"}
)


class Killed(BaseException):
    """The process ends here: raised out of a call, caught by nobody but the test."""


class Call(NamedTuple):
    """One call of the LogIO, as `before` sees it and as a recording keeps it."""

    name: str
    path: str
    detail: int = 0
    """Offset, or size."""


class _Op(NamedTuple):
    """One operation that a power cut may forget."""

    kind: str
    offset: int
    data: bytes
    serial: int


class _Entry(NamedTuple):
    """One change of a directory that a power cut may forget: `name` is `file`, or gone."""

    removed: str | None
    added: str | None
    file: _File | None
    serial: int


class _File:
    """A file: what is shown, what is kept, and the operations between."""

    def __init__(self) -> None:
        self.shown = bytearray()
        self.kept = bytearray()
        self.ops: list[_Op] = []
        self.holder: SimIO | None = None

    def sync(self) -> None:
        for op in self.ops:
            _apply(self.kept, op)
        self.ops.clear()


def _apply(data: bytearray, op: _Op, part: int | None = None) -> None:
    if op.kind == "truncate":
        del data[op.offset :]
    size = op.offset if op.kind != "write" else op.offset + len(op.data[:part])
    if len(data) < size:
        data.extend(bytes(size - len(data)))
    if op.kind == "write":
        data[op.offset : size] = op.data[:part]


class _Directory:
    def __init__(self) -> None:
        self.shown: dict[str, _File] = {}
        self.kept: dict[str, _File] = {}
        self.entries: list[_Entry] = []

    def change(
        self, removed: str | None, added: str | None, file: _File | None, serial: int
    ) -> None:
        entry = _Entry(removed, added, file, serial)
        self.entries.append(entry)
        _enter(self.shown, entry)

    def sync(self) -> None:
        self.kept = dict(self.shown)
        self.entries.clear()


def _enter(names: dict[str, _File], entry: _Entry) -> None:
    # A rename whose source never became durable still brings the file under its new name.
    if entry.removed is not None:
        names.pop(entry.removed, None)
    if entry.added is not None and entry.file is not None:
        names[entry.added] = entry.file


class SimDisk:
    """All files and directories, with a capacity in bytes (None for no bound)."""

    def __init__(self, capacity_bytes: int | None = None) -> None:
        self.capacity_bytes = capacity_bytes
        self.directories: dict[str, _Directory] = {"/": _Directory()}
        self.serial = 0
        self.unreadable: set[tuple[str, int]] = set()
        """(path, sector number): EIO when read."""

    def io(self) -> SimIO:
        """A new process's view."""
        return SimIO(self)

    # ------------------------------------------------------------------ what a crash leaves

    def unsynced(self) -> list[int]:
        """Serial numbers of the operations that a power cut may forget, in order."""
        serials = [op.serial for file in self._files() for op in file.ops]
        for directory in self.directories.values():
            serials += [entry.serial for entry in directory.entries]
        return sorted(serials)

    def write_sizes(self) -> dict[int, int]:
        """Serial number and length of each write that may be torn."""
        files = self._files()
        return {op.serial: len(op.data) for file in files for op in file.ops if op.kind == "write"}

    def power_cut(
        self, keep: Iterable[int] | None = None, cut: Mapping[int, int] | None = None
    ) -> SimDisk:
        """The disk after a power cut, this one being left as it is.

        Args:
            keep: serials of the operations that reached the platter; None for all of them.
            cut: of a write that is kept, how many of its first bytes did.
        """
        kept = None if keep is None else set(keep)
        cut = cut or {}
        after = SimDisk(self.capacity_bytes)
        after.serial = self.serial
        copies: dict[int, _File] = {}
        for path, directory in self.directories.items():
            names = dict(directory.kept)
            for entry in directory.entries:
                if kept is None or entry.serial in kept:
                    _enter(names, entry)
            twin = after.directories[path] = _Directory()
            for name, file in names.items():
                if id(file) not in copies:
                    copies[id(file)] = _survivor(file, kept, cut)
                twin.kept[name] = twin.shown[name] = copies[id(file)]
        return after

    def kill(self) -> None:
        """Every process on this disk is gone, with its locks; what it wrote is still shown."""
        for file in self._files():
            file.holder = None

    def fail_sync(self, path: str) -> None:
        """What a failed fdatasync may leave: the pages of `path` are shown, called clean, and not
        on the platter; a later sync has nothing to do."""
        self.find(path).ops.clear()

    def clone(self) -> SimDisk:
        """A copy of what is shown, all of it synced: what copying the files gives."""
        return self.power_cut()

    # ------------------------------------------------------------------ looking and tampering

    def paths(self) -> list[str]:
        return sorted(
            f"{path}/{name}" for path, one in self.directories.items() for name in one.shown
        )

    def read(self, path: str) -> bytes:
        """What a file shows."""
        return bytes(self.find(path).shown)

    def rot(self, path: str, offset: int, data: bytes) -> None:
        """Put `data` into a file, on the platter and as shown, behind everybody's back."""
        file = self.find(path)
        file.sync()
        for image in (file.shown, file.kept):
            image[offset : offset + len(data)] = data

    def cut_file(self, path: str, size: int) -> None:
        """Shorten a file, on the platter and as shown."""
        file = self.find(path)
        file.sync()
        del file.shown[size:], file.kept[size:]

    def find(self, path: str) -> _File:
        directory, name = os.path.split(path)
        try:
            return self.directories[directory].shown[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no such file", path) from None

    def directory(self, path: str) -> _Directory:
        try:
            return self.directories[path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no such directory", path) from None

    def next_serial(self) -> int:
        self.serial += 1
        return self.serial

    def used_bytes(self) -> int:
        return sum(len(file.shown) for file in self._files())

    def grow(self, path: str, more: int) -> None:
        if self.capacity_bytes is not None and self.used_bytes() + more > self.capacity_bytes:
            raise disk_error(errno.ENOSPC, path)

    def _files(self) -> list[_File]:
        found: dict[int, _File] = {}
        for one in self.directories.values():
            for file in (*one.shown.values(), *one.kept.values()):
                found[id(file)] = file
        return list(found.values())


def _survivor(file: _File, kept: set[int] | None, cut: Mapping[int, int]) -> _File:
    twin = _File()
    twin.kept = bytearray(file.kept)
    for op in file.ops:
        if kept is None or op.serial in kept:
            _apply(twin.kept, op, cut.get(op.serial))
    twin.shown = bytearray(twin.kept)
    return twin


def disk_error(number: int, path: str = "") -> OSError:
    """An OSError as the system would raise it."""
    return OSError(number, os.strerror(number), path)


class SimIO:
    """The LogIO of one process. Records its calls in `calls`."""

    def __init__(self, disk: SimDisk) -> None:
        self.disk = disk
        self.before: Callable[[Call], None] | None = None
        self.calls: list[Call] = []
        self.recording = False
        self._open: dict[int, tuple[str, _File]] = {}
        self._next = 3

    def _call(self, name: str, path: str, detail: int = 0) -> None:
        call = Call(name, path, detail)
        if self.recording:
            self.calls.append(call)
        if self.before is not None:
            self.before(call)

    @property
    def open_files(self) -> int:
        return len(self._open)

    def make_directory(self, path: str) -> None:
        self._call("make_directory", path)
        self.disk.directories.setdefault(path, _Directory())

    def open(self, path: str, *, create: bool = False, write: bool = False) -> int:
        parent, name = os.path.split(path)
        directory = self.disk.directory(parent)
        if name not in directory.shown:
            self._call("open", path)
            if not create:
                raise disk_error(errno.ENOENT, path)
            directory.change(None, name, _File(), self.disk.next_serial())
        self._next += 1
        self._open[self._next] = (path, directory.shown[name])
        return self._next

    def close(self, file: int) -> None:
        _, node = self._open.pop(file)
        if node.holder is self:
            node.holder = None

    def writev(self, file: int, buffers: Sequence[bytes], offset: int) -> None:
        path, node = self._open[file]
        data = b"".join(buffers)
        self._call("writev", path, offset)
        self.disk.grow(path, max(0, offset + len(data) - len(node.shown)))
        self._do(node, "write", offset, data)

    def pread(self, file: int, size: int, offset: int) -> bytes:
        path, node = self._open[file]
        self._call("pread", path, offset)
        if self.disk.unreadable:
            for sector in range(offset // 512, (offset + size + 511) // 512):
                if (path, sector) in self.disk.unreadable:
                    raise disk_error(errno.EIO, path)
        return bytes(node.shown[offset : offset + size])

    def fdatasync(self, file: int) -> None:
        path, node = self._open[file]
        self._call("fdatasync", path)
        node.sync()

    def fallocate(self, file: int, size: int) -> None:
        path, node = self._open[file]
        self._call("fallocate", path, size)
        if size > len(node.shown):
            self.disk.grow(path, size - len(node.shown))
            self._do(node, "allocate", size, b"")

    def truncate(self, file: int, size: int) -> None:
        path, node = self._open[file]
        self._call("truncate", path, size)
        if size != len(node.shown):
            self._do(node, "truncate", size, b"")

    def _do(self, node: _File, kind: str, offset: int, data: bytes) -> None:
        op = _Op(kind, offset, data, self.disk.next_serial())
        node.ops.append(op)
        _apply(node.shown, op)

    def size(self, file: int) -> int:
        return len(self._open[file][1].shown)

    def next_data(self, file: int, offset: int) -> int:
        rest = bytes(self._open[file][1].shown[offset:])
        return offset + len(rest) - len(rest.lstrip(b"\0"))

    def rename(self, old: str, new: str) -> None:
        self._call("rename", new)
        parent, name = os.path.split(old)
        assert os.path.dirname(new) == parent, "a log renames within one directory"
        directory = self.disk.directory(parent)
        node = self.disk.find(old)
        directory.change(name, os.path.basename(new), node, self.disk.next_serial())

    def unlink(self, path: str) -> None:
        self._call("unlink", path)
        parent, name = os.path.split(path)
        self.disk.find(path)
        self.disk.directory(parent).change(name, None, None, self.disk.next_serial())

    def fsync_dir(self, path: str) -> None:
        self._call("fsync_dir", path)
        self.disk.directory(path).sync()

    def listdir(self, path: str) -> list[str]:
        self._call("listdir", path)
        inside = [one for one in self.disk.directories if os.path.dirname(one) == path != one]
        names = self.disk.directories[path].shown if path in self.disk.directories else {}
        return sorted([*names, *map(os.path.basename, inside)])

    def free_bytes(self, path: str) -> int:
        capacity = self.disk.capacity_bytes
        return 1 << 50 if capacity is None else capacity - self.disk.used_bytes()

    def lock(self, file: int) -> bool:
        node = self._open[file][1]
        if node.holder not in (None, self):
            return False
        node.holder = self
        return True

    def identity(self) -> str:
        return "pid 1 on simulated"
