"""LogIO: the one seam through which the log touches files.

Owns the port; knows no implementation. The real one is `realio.RealLogIO`; a recording and a
simulated one live in the tests, where every call can fail, be torn, or be forgotten by a power cut.
So nothing above this line may call `os` by itself.

Files are small integers (descriptors), paths are strings that the log builds from numbers alone.
Every method raises OSError as the system does; none retries what failed.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Protocol

__all__ = ["LogIO", "is_disk_full"]


class LogIO(Protocol):
    """Files, as little of them as a log needs."""

    def make_directory(self, path: str) -> None:
        """Create `path` and its parents, the new entries synced; no error if it is there."""

    def open(self, path: str, *, create: bool = False, write: bool = False) -> int:
        """A descriptor. `create` makes the file if it is missing, and implies `write`."""

    def close(self, file: int) -> None: ...

    def writev(self, file: int, buffers: Sequence[bytes], offset: int) -> None:
        """Write all of `buffers`, one behind the other, from `offset` on."""

    def pread(self, file: int, size: int, offset: int) -> bytes:
        """`size` bytes from `offset`; fewer only at the end of the file."""

    def fdatasync(self, file: int) -> None: ...

    def fallocate(self, file: int, size: int) -> None:
        """Give the file real blocks, read as zeros where nothing was written, up to `size`."""

    def truncate(self, file: int, size: int) -> None: ...

    def size(self, file: int) -> int: ...

    def next_data(self, file: int, offset: int) -> int:
        """The first position from `offset` on that may hold anything but zeros; the size of the
        file if there is none. Spares recovery from reading preallocated space."""

    def rename(self, old: str, new: str) -> None: ...

    def unlink(self, path: str) -> None: ...

    def fsync_dir(self, path: str) -> None:
        """Make creations, renames and removals in the directory `path` durable."""

    def listdir(self, path: str) -> list[str]:
        """Names in a directory, sorted; empty if there is no such directory."""

    def free_bytes(self, path: str) -> int:
        """What the file system of `path` has left for us."""

    def lock(self, file: int) -> bool:
        """Take the exclusive lock of an open file, without waiting; False if it is held."""

    def identity(self) -> str:
        """Who we are, for the holder line of a lock: process and host."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_disk_full(error: OSError) -> bool:
    """True if `error` says that there is no room: the one kind of failure that passes."""
    return error.errno in _FULL
