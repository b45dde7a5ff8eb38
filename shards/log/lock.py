"""The lock of a log's directory: one writer at a time.

Owns the file LOCK. The lock itself is the kernel's (`flock`), so it is gone with its holder,
however that ended, and stays with a holder that is merely stopped. The text in the file only tells
people who it is.
"""

from __future__ import annotations

from . import names
from .errors import DirectoryInUse
from .io import LogIO

__all__ = ["take_lock"]

_HOLDER_BYTES_MAX = 200


def take_lock(io: LogIO, directory: str) -> int:
    """The locked descriptor; closing it gives the lock back.

    Raises:
        DirectoryInUse: somebody has it; the text says who.
    """
    file = io.open(names.path_of(directory, names.LOCK), create=True)
    if not io.lock(file):
        holder = io.pread(file, _HOLDER_BYTES_MAX, 0).decode("utf-8", "replace").strip()
        io.close(file)
        raise DirectoryInUse(directory, holder)
    io.truncate(file, 0)
    io.writev(file, [io.identity().encode() + b"\n"], 0)
    return file
