"""The reading side of a journal."""

from __future__ import annotations

import pytest

from shardmq.shards.log.batches import Batches
from shardmq.shards.log.errors import DamagedRecord
from shardmq.shards.log.indexfile import IndexFile
from shardmq.shards.log.queueindex import QueueIndex
from shardmq.shards.log.record import BATCH
from shardmq.shards.log.segment import SegmentFiles
from support.disk import SimDisk, SimIO
from support.journals import batch_of, options
from support.logbytes import LogBytes

EVERYTHING = 1 << 40


def _no_file(base: int) -> IndexFile:
    raise AssertionError(f"{base} is in memory")


def _batches() -> tuple[SimIO, Batches]:
    io = SimDisk().io()
    io.make_directory("/log")
    files, index, log = SegmentFiles(io, options()), QueueIndex(_no_file, 1), LogBytes()
    files.roll(0, 0, 0)
    index.open_segment(0)
    for number in range(4):
        one = log.add(BATCH, batch_of(b"%d" % number), queue=3, base_offset=number)
        index.add(3, number, one.lsn, one.length, 1, 100 * number)
    io.writev(files.file(0), [bytes(log.data)], 0)
    return io, Batches(io, files, index)


def test_what_is_found_can_be_read() -> None:
    _, batches = _batches()
    spans = batches.spans(3, 1, EVERYTHING, EVERYTHING)
    assert [one[-1:] for one in batches.read(spans)] == [b"1", b"2", b"3"]
    assert batches.offset_at_time(3, 150, EVERYTHING) == 2
    assert (batches.earliest(3), batches.earliest(4), batches.oldest) == (0, None, 0)


def test_a_damaged_batch_is_named_and_remembered() -> None:
    io, batches = _batches()
    spans = batches.spans(3, 0, EVERYTHING, EVERYTHING)
    io.disk.rot(f"/log/{0:020d}.log", spans[2].lsn + 100, b"\xee")
    with pytest.raises(DamagedRecord, match="queue 3: the batch at offset 2"):
        batches.read(spans)
    assert batches.damaged_reads == {spans[2].lsn}
    assert len(batches.read(spans[:2])) == 2


def test_any_record_is_found_by_its_position_and_a_damaged_one_is_remembered() -> None:
    io, batches = _batches()
    spans = batches.spans(3, 0, EVERYTHING, EVERYTHING)
    found = batches.record(spans[1].lsn)
    assert found is not None
    assert (found.queue, found.base_offset, found.payload[-1:]) == (3, 1, b"1")
    io.disk.rot(f"/log/{0:020d}.log", spans[1].lsn + 100, b"\xee")
    assert batches.record(spans[1].lsn) is None
    assert batches.damaged_reads == {spans[1].lsn}
