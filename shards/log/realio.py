"""The real LogIO: descriptors and system calls, nothing else.

Owns the mapping of the port to Linux. Knows no record and no file name.

No mmap: a store into a mapped page of a full disk is SIGBUS, not an error that can be handled.
Short writes are continued, interrupted calls are repeated by Python itself (PEP 475).
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Sequence

__all__ = ["RealLogIO"]

_IOV_MAX = 1024


class RealLogIO:
    """Files of this machine. Stateless: one instance serves every thread."""

    def make_directory(self, path: str) -> None:
        missing = []
        while path and not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        for directory in reversed(missing):
            os.mkdir(directory, 0o700)
            self.fsync_dir(os.path.dirname(directory) or ".")

    def open(self, path: str, *, create: bool = False, write: bool = False) -> int:
        flags = os.O_RDWR if write or create else os.O_RDONLY
        return os.open(path, flags | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)

    def close(self, file: int) -> None:
        os.close(file)

    def writev(self, file: int, buffers: Sequence[bytes], offset: int) -> None:
        for first in range(0, len(buffers), _IOV_MAX):
            some = buffers[first : first + _IOV_MAX]
            wanted = sum(map(len, some))
            done = os.pwritev(file, some, offset)
            if done < wanted:
                self._write_rest(file, memoryview(b"".join(some))[done:], offset + done)
            offset += wanted

    def _write_rest(self, file: int, rest: memoryview, offset: int) -> None:
        while rest:
            done = os.pwrite(file, rest, offset)
            rest, offset = rest[done:], offset + done

    def pread(self, file: int, size: int, offset: int) -> bytes:
        data = os.pread(file, size, offset)
        while 0 < len(data) < size:
            more = os.pread(file, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def fdatasync(self, file: int) -> None:
        os.fdatasync(file)

    def fallocate(self, file: int, size: int) -> None:
        os.posix_fallocate(file, 0, size)

    def truncate(self, file: int, size: int) -> None:
        os.ftruncate(file, size)

    def size(self, file: int) -> int:
        return os.fstat(file).st_size

    def next_data(self, file: int, offset: int) -> int:
        try:
            return os.lseek(file, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return self.size(file)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def fsync_dir(self, path: str) -> None:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(path)) if os.path.isdir(path) else []

    def free_bytes(self, path: str) -> int:
        figures = os.statvfs(path)
        return figures.f_bavail * figures.f_frsize

    def lock(self, file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def identity(self) -> str:
        return f"pid {os.getpid()} on {socket.gethostname()}"
