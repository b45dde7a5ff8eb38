"""Stretches of log made by hand, record by record, to be scanned.

Owns the writing of records without a journal, so that wrong ones can be written, too.
"""

from __future__ import annotations

from typing import Any

from shardmq.shards.log.record import (
    BATCH,
    FORMAT_VERSION,
    PREFIX_BYTES,
    SEGMENT,
    STATE,
    LogRecord,
    encode_prefix,
)
from shardmq.shards.log.recovery import segment_header
from support.disk import SimDisk, SimIO

__all__ = ["LogBytes"]


class LogBytes:
    """Records back to back from `base` on. `data` may be changed at will."""

    def __init__(self, base: int = 0, *, chain: int = 0, epoch: int = 0) -> None:
        self.base = base
        self.data = bytearray()
        self.chain = chain
        self.epoch = epoch
        self.durable = 0
        self.starts: list[int] = []

    @property
    def end(self) -> int:
        return self.base + len(self.data)

    def add(self, kind: int, payload: bytes = b"", **changes: Any) -> LogRecord:
        fields: dict[str, Any] = {
            "lsn": self.end, "kind": kind, "queue": 0, "base_offset": 0, "stored_at_ms": 5,
            "epoch": self.epoch, "payload": payload, "length": PREFIX_BYTES + len(payload),
            "count": 1 if kind == BATCH else 0, "flags": 0,
        }  # fmt: skip
        record = LogRecord(**{**fields, **changes})
        covered = payload[8:12] if kind == BATCH else payload
        prefix, self.chain = encode_prefix(
            record, previous_crc=self.chain, durable=self.durable, covered=covered
        )
        self.starts.append(self.end)
        self.data += prefix + payload
        return record

    def header(self, owner: str = "test") -> LogRecord:
        return self.add(SEGMENT, segment_header(owner))

    def states(self, count: int) -> None:
        for number in range(count):
            self.add(STATE, b"state %d" % number, queue=number)

    def file(self, *, free: int = 0) -> tuple[SimIO, int, int]:
        """(io, an open file with these bytes and `free` zeros behind, its size)"""
        io = SimDisk().io()
        io.make_directory("/log")
        return io, self.put(io, "/log/x", free=free), len(self.data) + free

    def put(self, io: SimIO, path: str, *, free: int = 0) -> int:
        """Write the bytes to `path`; the open file."""
        file = io.open(path, create=True)
        io.truncate(file, 0)
        io.writev(file, [bytes(self.data) + bytes(free)], 0)
        io.fdatasync(file)
        return file


assert FORMAT_VERSION == 1
