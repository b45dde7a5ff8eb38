"""Recovery: from whatever a crash left to a log that can be appended to.

Owns the order of the steps. What is damaged is found by `logscan`, what it means by `decide`.

 1. Lock the directory; remove drafts.
 2. Scan; refuse another format or another owner's log.
 3. Read-only? Then nothing is written at all, and the log ends at D: what lies above waits.
 4. Set aside what stands behind the end; remove later segments, newest first; cut; allocate anew.
 5. Write again what is kept above D. It may be in the page cache only, marked clean after a sync
    that failed in the process before us: reading it back proves nothing, and a sync would skip it.
 6. Restore the newest whole snapshot, replay the records above it, build the index.
 7. The journal then appends the floors and a mark with the new epoch, and syncs, before anything
    is visible (`Journal.open`).

Every step can be cut short and done again: nothing is removed before its copy is durable, and
nothing counts before step 7.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from shardmq.actors.kernel.ports import Projection

from . import names, setaside
from .errors import LogError, OtherFormat, OtherOwner
from .io import LogIO, is_disk_full
from .lock import take_lock
from .logscan import LogScan, scan_log
from .options import JournalOptions
from .record import FORMAT_VERSION, PREFIX, PREFIX_BYTES
from .replay import Replay
from .report import RecoveryReport, SetAside, lost_stretch
from .scan import CHUNK_BYTES, read_around_errors
from .segment import Segment, SegmentFiles
from .tables import SegmentTables

__all__ = ["Recovered", "recover", "segment_header"]

_header_of = msgspec.msgpack.Decoder(tuple[int, str]).decode


def segment_header(owner: str) -> bytes:
    """Payload of the record that opens each segment."""
    return msgspec.msgpack.encode((FORMAT_VERSION, owner))


class Recovered:
    """A log ready to be gone on with."""

    def __init__(
        self, lock: int, found: LogScan, files: SegmentFiles, tables: SegmentTables, replay: Replay
    ) -> None:
        self.lock = lock
        self.found = found
        self.files = files
        self.tables = tables
        self.floors = replay.floors
        """Queue: least next offset, to be appended as FLOOR records."""
        self.end = found.end
        self.chain = 0
        self.stored_at_ms = 0
        self.segment_records = 0
        self.epoch = found.epoch + 1
        self.pending: list[SetAside] = []
        self.report: RecoveryReport


def recover(io: LogIO, options: JournalOptions, projections: Sequence[Projection]) -> Recovered:
    """Steps 1 to 6.

    Raises:
        DirectoryInUse, OtherFormat, OtherOwner: as they say; nothing was changed.
        OSError: the disk failed.
    """
    directory = options.directory
    io.make_directory(directory)
    lock = take_lock(io, directory)
    files = SegmentFiles(io, options)
    try:
        return _recover(io, options, projections, lock, files)
    except BaseException:
        files.close()
        io.close(lock)
        raise


def _recover(
    io: LogIO, options: JournalOptions, projections: Sequence[Projection], lock: int,
    files: SegmentFiles,
) -> Recovered:  # fmt: skip
    directory = options.directory
    header_bytes = PREFIX_BYTES + len(segment_header(options.owner))
    found = scan_log(
        io, directory, header_bytes, setaside.accepted(io, directory),
        durable=setaside.durable_before(io, directory),
    )  # fmt: skip
    _check_origin(io, options, found)
    if found.read_only:
        found.end = min(found.end, found.durable)
    else:
        if found.set_aside is not None:
            setaside.set_aside(io, directory, found, found.epoch + 1)
        _cut(io, options, found)
        _remove_leftovers(io, directory, found.bases)
        _write_again(io, directory, found)
    _list_segments(io, options, found, files)
    tables = SegmentTables(io, options, files)
    replay = Replay(io, files, tables.index, projections)
    tables.open_older(found)
    replay.run(found)
    tables.adopt_sealed(found)
    recovered = Recovered(lock, found, files, tables, replay)
    _describe(recovered, io, options, replay)
    return recovered


def _check_origin(io: LogIO, options: JournalOptions, found: LogScan) -> None:
    for one in found.scans:
        path = names.path_of(options.directory, names.log_name(one.base))
        if one.version is not None:
            raise OtherFormat(path, one.version, FORMAT_VERSION)
        if one.header is None:
            continue
        if not one.header:
            raise LogError(f"{path} does not begin with the record of a segment")
        version, owner = _header_of(one.header)
        if version != FORMAT_VERSION:
            raise OtherFormat(path, version, FORMAT_VERSION)
        if owner != options.owner:
            raise OtherOwner(path, owner, options.owner)


def _remove_leftovers(io: LogIO, directory: str, bases: list[int]) -> None:
    """Drafts, and indexes of segments that are not sealed or not there."""
    sealed = {names.index_name(base) for base in bases[:-1]}
    removed = [
        name
        for name in io.listdir(directory)
        if name.endswith(names.DRAFT_SUFFIX)
        or (names.base_of(name, names.INDEX_SUFFIX) is not None and name not in sealed)
    ]
    for name in removed:
        io.unlink(names.path_of(directory, name))
    if removed:
        io.fsync_dir(directory)


def _cut(io: LogIO, options: JournalOptions, found: LogScan) -> None:
    """Make the log end at `found.end`, with free space behind."""
    directory = options.directory
    if not found.bases:
        return
    later = [base for base in found.bases[1:] if base >= found.end and found.set_aside is not None]
    for base in reversed(later):
        io.unlink(names.path_of(directory, names.log_name(base)))
        io.fsync_dir(directory)  # newest first, or a hole would be left in the log
        found.bases.remove(base)
    found.scans = [one for one in found.scans if one.base in found.bases]
    base = found.bases[-1]
    file = io.open(names.path_of(directory, names.log_name(base)), write=True)
    try:
        size = io.size(file)
        if found.set_aside is not None:
            io.truncate(file, found.end - base)
            size = found.end - base
        if size < options.segment_bytes:
            _allocate(io, file, options.segment_bytes)
        if found.set_aside is not None:
            io.fdatasync(file)
    finally:
        io.close(file)


def _allocate(io: LogIO, file: int, size: int) -> None:
    """Room behind the end. A full disk is no error here: the segment is then as long as it is."""
    try:
        io.fallocate(file, size)
    except OSError as error:
        if not is_disk_full(error):
            raise


def _write_again(io: LogIO, directory: str, found: LogScan) -> None:
    for one in found.scans:
        start, stop = max(found.durable, one.base), min(one.limit, found.end)
        if start >= stop:
            continue
        file = io.open(names.path_of(directory, names.log_name(one.base)), write=True)
        try:
            for at in range(start, stop, CHUNK_BYTES):
                data = io.pread(file, min(CHUNK_BYTES, stop - at), at - one.base)
                io.writev(file, [data], at - one.base)
            io.fdatasync(file)
        finally:
            io.close(file)


def _list_segments(io: LogIO, options: JournalOptions, found: LogScan, files: SegmentFiles) -> None:
    scanned = {one.base: one for one in found.scans}
    bases = [base for base in found.bases if base <= found.end]
    for index, base in enumerate(bases):
        end = bases[index + 1] if index + 1 < len(bases) else found.end
        segment = Segment(base, end, 0)
        files.segments.append(segment)
        one = scanned.get(base)
        if one is not None:
            segment.first_stored_ms, segment.records = one.first_stored_ms, one.records
            chain = one.first_chain
        else:
            data = read_around_errors(io, files.file(base), PREFIX_BYTES, 0)
            first = PREFIX.unpack(data) if len(data) == PREFIX_BYTES else None
            segment.first_stored_ms = 0 if first is None else first[9]
            chain = None if first is None else first[3]
        if index:
            files.segments[index - 1].last_crc = chain or 0
    if bases:
        files.active_bytes = io.size(files.file(bases[-1]))


def _describe(recovered: Recovered, io: LogIO, options: JournalOptions, replay: Replay) -> None:
    found = recovered.found
    if found.scans:
        last = found.scans[-1]
        recovered.chain = replay.chain()
        recovered.stored_at_ms = max(one.stored_at_ms for one in found.scans)
        recovered.segment_records = last.records
    if not found.read_only:
        recovered.pending = setaside.pending(io, options.directory)
    for one in recovered.pending:
        recovered.epoch = max(recovered.epoch, names.epoch_of(one.path))
        for queue, floor in one.floors.items():
            recovered.floors[queue] = max(floor, recovered.floors.get(queue, 0))
    notes = list(replay.notes)
    if recovered.tables.rebuilt:
        notes.append(f"index built again for {recovered.tables.rebuilt} segments")
    recovered.report = RecoveryReport(
        epoch=recovered.epoch,
        end=found.end,
        durable=found.durable,
        replay_from=found.replay_from,
        segments=len(found.bases),
        segments_scanned=len(found.scans),
        records_scanned=sum(one.records for one in found.scans),
        read_only=found.read_only,
        lost=[lost_stretch(*finding) for finding in found.findings] + recovered.tables.lost,
        set_aside=recovered.pending,
        notes=notes,
    )
