"""Reading a stretch of log from its bytes alone: what is sound, what is damaged, and how.

Owns the scan and its findings. Decides nothing: what a finding means is told by `decide`, because
it depends on the durable lsn, which is known only when everything has been scanned.

A scan goes from record to record. Where a record does not fit, it looks for the next place at
which one does: bytes that start with the magic, name their own position as lsn, and carry the
right checksums. What lies between is a `Damage`, with what is known about it:

    ZEROS     only zeros, up to the end or to the next sound record
    MISSING   nothing, or only zeros, where the next segment proves that records were
    NOISE     bytes that are no record
    BODY      a batch that fails its crc behind a sound prefix: queue and offsets are known
    STALE     sound records that do not follow each other: one of them is from another time

Reads are in chunks of a few MiB, and the loop over sound records makes no object per record: this
is the part of a restart that is proportional to the log.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import NamedTuple

from shardmq.actors.protocol.batch import BATCH_MAGIC
from shardmq.actors.protocol.checksum import crc32c, extend
from shardmq.actors.protocol.limits import BATCH_BYTES_MAX

from .io import LogIO
from .record import (
    BATCH,
    BATCH_HEADER_BYTES,
    FORMAT_VERSION,
    KIND_NAMES,
    LAST_SLICE,
    MAGIC,
    MARK,
    PREFIX,
    PREFIX_BYTES,
    SEGMENT,
    SNAPSHOT,
    Prefix,
    batch_is_sound,
    prefix_is_sound,
    record_at,
)  # fmt: skip

__all__ = ["Damage", "Found", "Scan", "Slice", "read_around_errors", "scan"]

CHUNK_BYTES = 4 << 20
_SECTOR_BYTES = 512
_NO_EPOCH = -1
_ZEROS = bytes(CHUNK_BYTES // 16)
_U32 = struct.Struct("<I")


class Found(Enum):
    """What stands where a record should be (the module's docstring explains each)."""

    ZEROS = "zeros"
    MISSING = "missing"
    NOISE = "noise"
    BODY = "body"
    STALE = "stale"


class Damage(NamedTuple):
    """One stretch [start, end) of lsns in which no sound record lies."""

    start: int
    end: int
    found: Found
    stateless: bool
    """Certainly not a state record: its shape proves that it was a batch, a mark, a header."""
    queue: int = -1
    base_offset: int = -1
    messages: int = 0
    stored_at_ms: int = 0
    before: int = -1
    """STALE: start of the record in front, which is the wrong one if it is below durable."""


class Slice(NamedTuple):
    """Where a snapshot slice lies."""

    series: int
    number: int
    last: bool
    lsn: int
    length: int


class Scan:
    """What one segment (or set-aside file) holds. Positions are lsns."""

    __slots__ = (
        "base", "chain", "damages", "durable", "end", "epoch", "first_chain", "first_stored_ms",
        "header", "last_start", "limit", "records", "slices", "stopped_at", "stored_at_ms",
        "version",
    )  # fmt: skip

    def __init__(self, base: int, limit: int) -> None:
        self.base = base
        self.limit = limit
        self.end = base
        """Behind the last sound record."""
        self.records = 0
        self.durable = 0
        """Largest durable lsn that a sound record names."""
        self.epoch = _NO_EPOCH
        self.stopped_at = base
        """Behind all that was looked at: `limit`, or where a scrub step ended."""
        self.stored_at_ms = 0
        self.first_stored_ms = 0
        self.first_chain: int | None = None
        """`previous crc` of the record at `base`; None if that one is damaged."""
        self.chain: int | None = None
        """Crc of the last sound prefix, for the next to name; None if that is not known."""
        self.header: bytes | None = None
        """Payload of the SEGMENT record at `base`, empty if another record stands there; None if
        nothing sound does."""
        self.version: int | None = None
        """Another format version, met in a record that is sound otherwise."""
        self.damages: list[Damage] = []
        self.slices: list[Slice] = []
        self.last_start = -1
        """Start of the sound record in front of where the scan is; -1 if none is there."""


def scan(
    io: LogIO, file: int, base: int, size: int, *, sealed: bool, header_bytes: int,
    start: int | None = None, budget_bytes: int | None = None,
) -> Scan:  # fmt: skip
    """Scan `size` bytes of `file`, whose first one has the lsn `base`.

    `sealed` says that records filled all of `size` once (a later segment follows), so that zeros
    at the end are missing records and not free space. `header_bytes` is the length of the record
    that opens each segment. A scrub goes from the record at `start` and stops after about
    `budget_bytes`, at `Scan.stopped_at`.
    """
    scanner = _Scanner(io, file, Scan(base, base + size), sealed, header_bytes)
    return scanner.run(base if start is None else start, budget_bytes)


def read_around_errors(io: LogIO, file: int, size: int, offset: int) -> bytes:
    """As pread, with sectors that the disk cannot read given as noise (never as zeros, which
    would look like free space)."""
    try:
        return io.pread(file, size, offset)
    except OSError:
        pieces, at = [], offset
        while at < offset + size:
            wanted = min(_SECTOR_BYTES - at % _SECTOR_BYTES, offset + size - at)
            try:
                pieces.append(io.pread(file, wanted, at))
            except OSError:
                pieces.append(b"\xff" * wanted)
            at += wanted
        return b"".join(pieces)


class _Scanner:
    """One scan under way. Positions are lsns, as everywhere."""

    def __init__(self, io: LogIO, file: int, scan: Scan, sealed: bool, header_bytes: int) -> None:
        self.io = io
        self.file = file
        self.scan = scan
        self.sealed = sealed
        self.header_bytes = header_bytes
        self.stop = scan.limit
        """No chunk is begun from here on."""
        self.chunk_bytes = CHUNK_BYTES

    def run(self, start: int, budget_bytes: int | None) -> Scan:
        at, limit = start, self.scan.limit
        if budget_bytes is not None:
            self.stop, self.chunk_bytes = start + budget_bytes, min(CHUNK_BYTES, budget_bytes)
        while (at := self._follow(at)) < min(limit, self.stop):
            prefix = self._sound_prefix(at)
            at = self._pass_over(at) if prefix is None else self._pass_record(at, prefix)
        self.scan.stopped_at = at
        return self.scan

    def _read(self, lsn: int, size: int) -> bytes:
        size = min(size, self.scan.limit - lsn)
        return read_around_errors(self.io, self.file, size, lsn - self.scan.base)

    def _follow(self, at: int) -> int:
        """Go through sound records from `at` on, to where the first one that is not would start."""
        result, limit = self.scan, self.scan.limit
        unpack, least = PREFIX.unpack_from, PREFIX_BYTES + BATCH_HEADER_BYTES
        chain, epoch, top, records = result.chain, result.epoch, result.durable, 0
        chunk = self.chunk_bytes
        wanted, missing, last_start = chunk, 0, self.scan.last_start
        while at < min(limit, self.stop):
            data = self._read(at, wanted)
            have, pos, missing = len(data), 0, PREFIX_BYTES
            while pos + PREFIX_BYTES <= have:
                (magic, length, crc, previous, lsn, durable, _, own_epoch, base_offset, stored,
                 version, kind, flags, count) = unpack(data, pos)  # fmt: skip
                body, end = pos + PREFIX_BYTES, pos + length
                if (
                    magic != MAGIC or lsn != at + pos or durable > lsn or own_epoch < epoch
                    or (previous != chain and chain is not None) or version != FORMAT_VERSION
                    or length < PREFIX_BYTES or lsn + length > limit or kind not in KIND_NAMES
                ):  # fmt: skip
                    missing = 0
                    break
                if end > have:
                    missing = length
                    break
                if kind == BATCH:
                    # As batch_is_sound: a call less for each record of a million.
                    covered = data[body + 8 : body + 12]
                    summed = extend(crc32c(data[body : body + 8]), data[body + 12 : end])
                    if length < least or summed.to_bytes(4, "little") != covered:
                        missing = 0
                        break
                else:
                    covered = data[body:end]
                if crc32c(data[pos : pos + 8] + data[pos + 12 : body] + covered) != crc:
                    missing = 0
                    break
                if kind == SNAPSHOT:
                    last = flags & LAST_SLICE != 0
                    result.slices.append(Slice(base_offset, count, last, lsn, length))
                if lsn == result.base:
                    result.first_chain, result.first_stored_ms = previous, stored
                    result.header = data[body:end] if kind == SEGMENT else b""
                chain, epoch, last_start, pos = crc, own_epoch, lsn, end
                top = durable if durable > top else top
                result.stored_at_ms = stored
                records += 1
            at += pos
            if not missing or (pos == 0 and missing <= wanted):
                break  # it does not fit, or the file ends within it
            wanted = max(missing, chunk) if pos == 0 else chunk
        result.chain, result.epoch, result.durable = chain, epoch, top
        result.records += records
        result.end, self.scan.last_start = (at, last_start) if records else (result.end, -1)
        return at

    def _sound_prefix(self, at: int) -> Prefix | None:
        """The prefix of a record at `at` whose own crc fits, whatever its body, or neighbours."""
        head = self._read(at, PREFIX_BYTES + BATCH_HEADER_BYTES)
        prefix = record_at(head, 0, at)
        if prefix is None or at + prefix.length > self.scan.limit:
            return None
        data = head if prefix.kind == BATCH else self._read(at, prefix.length)
        if len(data) < PREFIX_BYTES or not prefix_is_sound(data, 0, prefix):
            return None
        if prefix.version != FORMAT_VERSION:
            self.scan.version = prefix.version
        return prefix

    def _pass_record(self, at: int, prefix: Prefix) -> int:
        """Behind a record with a sound prefix that did not fit: its body, or its neighbours."""
        result = self.scan
        end = at + prefix.length
        result.durable = max(result.durable, prefix.durable)
        record = self._read(at, prefix.length)
        whole = len(record) == prefix.length
        if prefix.kind == BATCH and not (
            whole and batch_is_sound(record, PREFIX_BYTES, len(record))
        ):
            self._damage(at, end, Found.BODY, prefix)
            result.chain, result.epoch = prefix.crc, max(result.epoch, prefix.epoch)
            return end
        if prefix.epoch < result.epoch or prefix.version != FORMAT_VERSION:
            self._damage(at, end, Found.STALE, prefix)
            return end
        if result.chain is None:
            # No neighbour contradicts it, yet it did not fit: the disk reads now this, now that.
            self._damage(at, end, Found.NOISE, prefix)
            return end
        # The chain is broken between two sound records. Which one is wrong depends on D, so the
        # finding is empty and names both: `before` in front of it, this one behind.
        before = self.scan.last_start if self.scan.last_start >= 0 else at
        self._damage(at, at, Found.STALE, prefix, before)
        return at

    def _damage(self, start: int, end: int, found: Found, prefix: Prefix, before: int = -1) -> None:
        batch = prefix.kind == BATCH
        self.scan.damages.append(
            Damage(
                start, end, found, batch or prefix.kind == MARK,
                prefix.queue if batch else -1, prefix.base_offset if batch else -1,
                prefix.messages if batch else 0, prefix.stored_at_ms, before,
            )
        )  # fmt: skip
        self.scan.chain = None

    def _pass_over(self, at: int) -> int:
        """Behind bytes that are no record: to the next sound prefix, or to the end."""
        result = self.scan
        data_at = self._first_data(at)
        found = self._next_record(max(data_at, at + 1)) if data_at < result.limit else result.limit
        if data_at < found:
            kind = Found.NOISE
        elif found < result.limit:
            kind = Found.ZEROS
        elif self.sealed:
            kind = Found.MISSING
        else:
            kind = Found.ZEROS  # free space: the end of the log, if it is at or above durable
        result.damages.append(Damage(at, found, kind, self._is_stateless(at, found)))
        result.chain = None
        return found

    def _first_data(self, at: int) -> int:
        """The first byte from `at` on that is not zero; `limit` if there is none."""
        base, limit = self.scan.base, self.scan.limit
        while at < limit:
            at = base + self.io.next_data(self.file, at - base)
            data = self._read(at, len(_ZEROS)) if at < limit else b""
            rest = b"" if data == _ZEROS else data.lstrip(b"\0")
            if rest or not data:
                return min(at + len(data) - len(rest), limit) if rest else limit
            at += len(data)
        return limit

    def _next_record(self, at: int) -> int:
        """The next sound prefix from `at` on; `limit` if there is none."""
        limit = self.scan.limit
        while at < limit:
            data = self._read(at, CHUNK_BYTES)
            pos = data.find(MAGIC)
            while pos >= 0:
                if self._sound_prefix(at + pos) is not None:
                    return at + pos
                pos = data.find(MAGIC, pos + 1)
            if len(data) <= PREFIX_BYTES:
                break
            # Three bytes again, for a magic that lies across the border; free space is skipped.
            at = max(at + len(data) - 3, self._first_data(at + len(data)) - 3)
        return limit

    def _is_stateless(self, start: int, end: int) -> bool:
        """True if what filled [start, end) was no state record, as far as its shape proves it: a
        mark (nothing else is that short), the header of a segment, or a batch that is whole."""
        length = end - start
        if length == PREFIX_BYTES or (start == self.scan.base and length == self.header_bytes):
            return True
        if length < PREFIX_BYTES + BATCH_HEADER_BYTES or length > BATCH_BYTES_MAX + PREFIX_BYTES:
            return False
        data = self._read(start, length)
        whole = data[PREFIX_BYTES : PREFIX_BYTES + 8] == BATCH_MAGIC + _U32.pack(
            length - PREFIX_BYTES
        )
        return whole and len(data) == length and batch_is_sound(data, PREFIX_BYTES, length)
