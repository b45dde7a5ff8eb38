"""Errors of the log."""

from __future__ import annotations

import errno

from shardmq.shards.log.errors import (
    DamagedRecord,
    DirectoryInUse,
    FatalLogError,
    LogError,
    OtherFormat,
    OtherOwner,
    ReadOnlyLog,
)


def test_every_error_says_what_to_know_about_it() -> None:
    assert "pid 7 on here" in str(DirectoryInUse("/d", "pid 7 on here"))
    assert "another process" in str(DirectoryInUse("/d", ""))
    assert "format 9" in str(OtherFormat("/d/0.log", 9, 1))
    assert "'shard-1'" in str(OtherOwner("/d/0.log", "shard-1", "shard-0"))
    assert "--accept-damage" in str(ReadOnlyLog("/d"))
    damaged = DamagedRecord(3, 40, 2, 1234)
    assert (damaged.queue, damaged.base_offset, damaged.count, damaged.lsn) == (3, 40, 2, 1234)
    assert "queue 3" in str(damaged)


def test_a_fatal_error_is_an_os_error_with_its_number() -> None:
    fatal = FatalLogError("syncing the log", OSError(errno.EIO, "Input/output error"))
    assert isinstance(fatal, OSError)
    assert isinstance(fatal, LogError)
    assert fatal.errno == errno.EIO
    assert str(fatal).startswith("syncing the log: ")
