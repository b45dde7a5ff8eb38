"""Scanning a stretch of log: what is sound, and how the rest is described."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.checksum import crc32c
from shardmq.shards.log import scan as scan_module
from shardmq.shards.log.record import BATCH, MARK, SNAPSHOT, STATE
from shardmq.shards.log.scan import Found, Scan, read_around_errors, scan
from support.journals import batch_of
from support.logbytes import LogBytes


def _scan(log: LogBytes, *, free: int = 0, sealed: bool = False, header_bytes: int = 0) -> Scan:
    io, file, size = log.file(free=free)
    return scan(io, file, log.base, size, sealed=sealed, header_bytes=header_bytes)


def _small() -> LogBytes:
    log = LogBytes(1_000)
    log.header()
    log.add(BATCH, batch_of(b"one", b"two"), queue=4, base_offset=10, count=2)
    log.add(STATE, b"granted")
    log.add(BATCH, batch_of(b"three"), queue=5)
    log.add(MARK)
    return log


def test_sound_records_are_counted_and_their_facts_kept() -> None:
    log = LogBytes(1_000, epoch=4)
    log.header()
    log.durable = 1_000
    log.add(SNAPSHOT, b"\x94\xa0\0\0\x80", base_offset=1_074, flags=1)
    log.add(MARK, stored_at_ms=99)
    found = _scan(log)
    assert (found.records, found.end, found.durable, found.epoch) == (3, log.end, 1_000, 4)
    assert (found.first_chain, found.first_stored_ms, found.stored_at_ms) == (0, 5, 99)
    assert found.chain == log.chain
    assert found.last_start == log.starts[-1]
    assert found.header == b"\x92\x01\xa4test"
    ((series, number, last, lsn, length),) = found.slices
    assert (series, number, last, lsn, length) == (1_074, 0, True, log.starts[1], 69)
    assert found.damages == []


def test_zeros_behind_the_end_are_free_space_and_in_a_sealed_segment_missing_records() -> None:
    log = _small()
    (free,) = _scan(log, free=500).damages
    assert (free.start, free.end, free.found) == (log.end, log.end + 500, Found.ZEROS)
    (missing,) = _scan(log, free=500, sealed=True).damages
    assert missing.found is Found.MISSING


@pytest.mark.parametrize("chunk_bytes", [64, 100, 256, 1 << 20])
def test_a_record_longer_than_a_chunk_is_read_whole(
    chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_module, "CHUNK_BYTES", chunk_bytes)
    log = _small()
    log.add(BATCH, batch_of(b"x" * 3_000))
    log.states(3)
    found = _scan(log, free=100)
    assert found.end == log.end
    assert found.records == 9


def test_a_damaged_body_is_named_and_what_follows_is_sound() -> None:
    log = _small()
    log.data[log.starts[1] - 1_000 + 64 + 70] ^= 1
    found = _scan(log)
    (body,) = found.damages
    assert (body.start, body.end, body.found) == (log.starts[1], log.starts[2], Found.BODY)
    assert (body.queue, body.base_offset, body.messages, body.stateless) == (4, 10, 2, True)
    assert found.end == log.end


@pytest.mark.parametrize(
    ("record", "stateless"), [(0, True), (1, True), (2, False), (3, True), (4, True)]
)
def test_a_damaged_prefix_is_noise_and_its_shape_tells_what_it_was_not(
    record: int, stateless: bool
) -> None:
    log = _small()
    log.states(1)
    log.data[log.starts[record] - 1_000 + 20] ^= 1
    header_bytes = log.starts[1] - log.starts[0]
    (noise,) = _scan(log, header_bytes=header_bytes).damages
    assert (noise.start, noise.end) == (log.starts[record], log.starts[record + 1])
    assert (noise.found, noise.stateless, noise.queue) == (Found.NOISE, stateless, -1)


def test_a_hole_of_zeros_before_sound_records_is_told_from_noise() -> None:
    log = _small()
    first, stop = log.starts[2] - 1_000, log.starts[3] - 1_000
    log.data[first:stop] = bytes(stop - first)
    (hole,) = _scan(log).damages
    assert (hole.start, hole.end, hole.found) == (log.starts[2], log.starts[3], Found.ZEROS)


def test_records_of_a_lower_epoch_are_stale() -> None:
    log = _small()
    log.epoch = 2
    log.states(1)
    log.epoch = 1
    log.states(1)
    log.epoch = 2
    log.states(1)
    (stale,) = _scan(log).damages
    assert (stale.start, stale.end, stale.found) == (log.starts[6], log.starts[7], Found.STALE)


def test_a_broken_chain_between_sound_records_names_both() -> None:
    log = _small()
    log.chain ^= 1
    log.states(2)
    found = _scan(log)
    (broken,) = found.damages
    assert (broken.start, broken.end) == (log.starts[5], log.starts[5])
    assert (broken.before, broken.found) == (log.starts[4], Found.STALE)
    assert found.end == log.end


def test_a_record_copied_to_another_place_is_noise() -> None:
    log = _small()
    size = log.starts[2] - log.starts[1]
    copy = log.data[log.starts[1] - 1_000 : log.starts[2] - 1_000]
    log.data += copy
    (noise,) = _scan(log).damages
    assert (noise.start, noise.end, noise.found) == (log.end - size, log.end, Found.NOISE)


def test_another_version_is_noticed() -> None:
    log = _small()
    at = log.starts[4] - 1_000
    log.data[at + 56] = 9
    prefix = bytes(log.data[at : at + 64])
    log.data[at + 8 : at + 12] = crc32c(prefix[:8] + prefix[12:]).to_bytes(4, "little")
    assert _scan(log).version == 9


def test_a_scrub_goes_on_where_the_step_before_stopped() -> None:
    log = _small()
    log.states(50)
    io, file, size = log.file()
    at, steps, records = log.base, 0, 0
    while at < log.end:
        found = scan(io, file, log.base, size, sealed=True, header_bytes=0, start=at,
                     budget_bytes=700)  # fmt: skip
        assert at < found.stopped_at <= at + 1_500
        assert found.damages == []
        at, steps, records = found.stopped_at, steps + 1, records + found.records
    assert records == 55
    assert steps >= 4


def test_sectors_that_cannot_be_read_are_noise() -> None:
    log = _small()
    log.states(20)
    io, file, size = log.file()
    io.disk.unreadable.add(("/log/x", 1))
    data = read_around_errors(io, file, size, 0)
    assert data[:512] == log.data[:512]
    assert data[512:1024] == b"\xff" * 512
    assert data[1024:] == log.data[1024:]
    found = scan(io, file, log.base, size, sealed=True, header_bytes=0)
    assert found.end == log.end
    assert found.damages
