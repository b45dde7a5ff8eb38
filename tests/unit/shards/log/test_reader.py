"""Reading records back."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from shardmq.actors.kernel.ports import Span
from shardmq.shards.log import reader
from shardmq.shards.log.reader import iterate, read_checked, read_record, read_spans
from shardmq.shards.log.record import BATCH, STATE, LogRecord
from shardmq.shards.log.segment import SegmentFiles
from support.disk import SimDisk, SimIO
from support.journals import batch_of, options
from support.logbytes import LogBytes


class Case(NamedTuple):
    io: SimIO
    files: SegmentFiles
    spans: list[Span]
    records: list[bytes]


def _two_segments() -> Case:
    io = SimDisk().io()
    io.make_directory("/log")
    files = SegmentFiles(io, options())
    spans, records, base, chain = [], [], 0, 0
    for _ in range(2):
        files.roll(base, 0, 0)
        log = LogBytes(base, chain=chain)
        log.header()
        for number in range(6):
            one = log.add(BATCH, batch_of(b"x" * (number + 1)), base_offset=number)
            if number % 3 == 2:
                log.add(STATE, b"between")
            start = one.lsn - base
            spans.append(Span(number, one.lsn, one.length, 1, 5))
            records.append(bytes(log.data[start : start + one.length]))
        io.writev(files.file(base), [bytes(log.data)], 0)
        files.active.end = base = log.end
        chain = log.chain
    return Case(io, files, spans, records)


def test_spans_close_together_are_one_read_and_segments_are_not_mixed() -> None:
    case = _two_segments()
    case.io.recording = True
    records, damaged = read_spans(case.io, case.files, case.spans)
    assert records == case.records
    assert damaged == []
    assert [call.name for call in case.io.calls] == ["pread", "pread"]


def test_spans_far_apart_are_read_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "JOIN_GAP_BYTES", 10)
    case = _two_segments()
    case.io.recording = True
    assert read_spans(case.io, case.files, case.spans[:6])[0] == case.records[:6]
    assert len(case.io.calls) == 2
    monkeypatch.setattr(reader, "JOIN_BYTES_MAX", 10)
    case.io.calls.clear()
    assert read_spans(case.io, case.files, case.spans[:6])[0] == case.records[:6]
    assert len(case.io.calls) == 6


def test_reading_stops_at_the_first_damaged_record() -> None:
    case = _two_segments()
    for at in (8, 30, 63, 70, 130):
        broken = _two_segments()
        span = broken.spans[2]
        broken.io.disk.rot(broken.files.path(0), span.lsn + at, b"\xee")
        records, damaged = read_spans(broken.io, broken.files, broken.spans)
        assert records == case.records[:2]
        assert damaged == [span]


def test_a_span_that_is_not_that_of_the_record_is_damaged() -> None:
    case = _two_segments()
    for wrong in (case.spans[0]._replace(base_offset=7), case.spans[0]._replace(length=90)):
        assert read_spans(case.io, case.files, [wrong]) == ([], [wrong])


def test_a_stretch_is_iterated_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogBytes(70)
    log.states(5)
    log.add(BATCH, batch_of(b"x" * 700))
    log.states(5)
    io, file, _ = log.file()
    for chunk_bytes in (64, 90, 1 << 20):
        monkeypatch.setattr(reader, "CHUNK_BYTES", chunk_bytes)
        found: list[LogRecord] = list(iterate(io, file, 70, log.starts[1], log.end))
        assert [one.lsn for one in found] == log.starts[1:]
        assert found[0].payload == b"state 1"
    record = read_record(io, file, 70, log.starts[5], found[4].length)
    assert record == found[4]


def test_a_file_that_ends_too_early_is_an_error_not_the_end() -> None:
    log = LogBytes()
    log.states(3)
    io, file, size = log.file()
    with pytest.raises(OSError, match="a scan found it sound"):
        list(iterate(io, file, 0, 0, size + 64))


def test_a_record_is_read_by_its_position_alone_and_checked() -> None:
    io = SimDisk().io()
    io.make_directory("/log")
    files = SegmentFiles(io, options())
    files.roll(0, 1 << 20, 0)
    log = LogBytes(0)
    log.header()
    short, long = log.add(STATE, b"short"), log.add(STATE, b"x" * 100_000)
    last = log.add(BATCH, batch_of(b"body"), base_offset=4)
    io.writev(files.file(0), [bytes(log.data)], 0)
    for one in (short, long, last):
        found = read_checked(io, files, one.lsn)
        assert found is not None
        assert (found.kind, found.payload, found.base_offset) == (
            one.kind, one.payload, one.base_offset,
        )  # fmt: skip
        assert (found.lsn, found.length, found.count) == (one.lsn, one.length, one.count)
    assert read_checked(io, files, short.lsn + 1) is None
    for one in (long, last):
        io.writev(files.file(0), [b"?"], one.lsn + one.length - 1)
        assert read_checked(io, files, one.lsn) is None
