"""What can go wrong in the log, as types.

Owns the tree of errors; knows nothing of who raises them.

    LogError
      DirectoryInUse     another process holds the directory, and the text says which
      OtherFormat        written by a version whose format is not read here
      OtherOwner         the directory belongs to another actor (shard-1's log given to shard-0)
      ReadOnlyLog        an append to a journal that waits for the operator's decision
      DamagedRecord      a record that fails its checksum was asked for
      FatalLogError      the disk failed an operation after which nothing may be acknowledged

`FatalLogError` is an OSError too: after a failed write or sync the process ends, because a second
fdatasync may return 0 with the pages already gone. Nobody catches it but the one who exits.
"""

from __future__ import annotations

__all__ = [
    "DamagedRecord",
    "DirectoryInUse",
    "FatalLogError",
    "LogError",
    "OtherFormat",
    "OtherOwner",
    "ReadOnlyLog",
]


class LogError(Exception):
    """Any refusal or failure of the log."""


class DirectoryInUse(LogError):
    """Another process holds the lock of the directory."""

    def __init__(self, directory: str, holder: str) -> None:
        super().__init__(f"{directory} is in use by {holder or 'another process'}")
        self.directory = directory
        self.holder = holder


class OtherFormat(LogError):
    """A file of a format version that this program does not read."""

    def __init__(self, path: str, found: int, readable: int) -> None:
        super().__init__(
            f"{path} has log format {found}, this program reads format {readable}:"
            " start the version that wrote it"
        )
        self.found = found


class OtherOwner(LogError):
    """The directory was filled by another actor."""

    def __init__(self, path: str, found: str, expected: str) -> None:
        super().__init__(f"{path} belongs to {found!r}, not to {expected!r}")
        self.found = found


class ReadOnlyLog(LogError):
    """An append to a log that is read-only until its damage has been accepted."""

    def __init__(self, directory: str) -> None:
        super().__init__(
            f"{directory} is read-only: it is damaged below what was durable, and a state record"
            f" may be lost; look with 'python -m shardmq.shards.dump {directory} --verify', then"
            " restore a copy or accept the loss with --accept-damage"
        )


class DamagedRecord(LogError):
    """A stored batch that fails its checksum, named exactly, never served."""

    def __init__(self, queue: int, base_offset: int, count: int, lsn: int) -> None:
        super().__init__(
            f"queue {queue}: the batch at offset {base_offset} ({count} messages) is damaged"
            f" at log position {lsn}"
        )
        self.queue = queue
        self.base_offset = base_offset
        self.count = count
        self.lsn = lsn


class FatalLogError(LogError, OSError):
    """The disk failed; the process must end, and recovery look at what is really there."""

    def __init__(self, doing: str, cause: OSError) -> None:
        super().__init__(f"{doing}: {cause}")
        self.errno = cause.errno
