"""Damage: every byte cut off, every bit flipped, sectors gone astray.

Owns rot. What power cuts leave is in test_power_cut.py. The log here is small, so that all of it
can be tried; the rules are those of storage.md, rule 3.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from shardmq.shards.log.errors import DamagedRecord, LogError, OtherFormat, OtherOwner
from shardmq.shards.log.journal import Journal
from shardmq.shards.log.record import BATCH, STATE, LogRecord
from shardmq.shards.log.setaside import accept
from support.crashes import DEPTH, CrashStates
from support.disk import SimDisk, SimIO
from support.journals import (
    DIRECTORY,
    Ledger,
    Model,
    batch_of,
    open_journal,
    options,
    records_of,
    run_jobs,
)

SEGMENT_0 = f"{DIRECTORY}/{0:020d}.log"


def _small_log(*, synced: bool) -> tuple[SimDisk, Model]:
    """About 16 records in one segment, with a whole snapshot among them."""
    settings = options(segment_bytes=8192)
    disk, model = SimDisk(), Model()
    io = disk.io()
    journal, ledger = open_journal(io, settings, model.now())
    model.opened(io, journal, ledger)
    for turn in range(6):
        model.turn(journal, ledger, turn)
    if synced:
        journal.close(model.now())
        model.durable = journal.durable
    disk.kill()
    return disk, model


def test_truncation_at_every_byte_of_an_unsynced_tail_loses_only_that_tail() -> None:
    settings = options(segment_bytes=32768)
    disk, model = SimDisk(), Model()
    io = disk.io()
    journal, ledger = open_journal(io, settings, model.now())
    model.opened(io, journal, ledger)
    for turn in range(12):
        model.turn(journal, ledger, turn)
    run_jobs(journal, model.now())
    model.durable = journal.durable
    while journal.end - journal.durable < 8192:
        model.append(journal, ledger, model.serial % 3, batch_of(b"tail" * 100))
        model.serial += 1
    journal.write()
    first, end = journal.durable, journal.end
    crash = CrashStates(settings)
    (tail,) = [serial for serial, size in disk.write_sizes().items() if size >= 8192]
    for at in range(0, end - first + 1, 1 if DEPTH > 1 else 3):
        crash.recover(disk.power_cut(cut={tail: at}), model.copy(), 0)
    for at in range(first, end, 8):
        shorter = disk.power_cut()
        shorter.cut_file(SEGMENT_0, at)
        crash.recover(shorter, model.copy(), 0)
    assert crash.tally.states > 3_000
    assert crash.tally.set_aside > 1_000


def test_a_log_cut_at_any_byte_recovers_to_a_prefix() -> None:
    disk, model = _small_log(synced=True)
    end = len(disk.read(SEGMENT_0).rstrip(b"\0"))
    crash = CrashStates(options(segment_bytes=8192))
    for at in range(end):
        shorter, known = disk.clone(), model.copy()
        shorter.cut_file(SEGMENT_0, at)
        known.durable = 0  # what was cut off is gone with the record that said so
        known.epoch = -1
        crash.recover(shorter, known, 0)
    assert crash.tally.states == end


class _Flip:
    """One bit of one file flipped, and what became of the log."""

    def __init__(self, disk: SimDisk, path: str, bit: int) -> None:
        self.disk = disk.clone()
        self.at = bit // 8
        byte = self.disk.read(path)[self.at] ^ (1 << bit % 8)
        self.disk.rot(path, self.at, bytes([byte]))

    def open(self, segment_bytes: int) -> tuple[SimIO, Journal, Ledger]:
        io = self.disk.io()
        journal, ledger = open_journal(io, options(segment_bytes=segment_bytes))
        return io, journal, ledger


def test_every_flipped_bit_of_a_log_is_found_and_costs_one_record_at_most() -> None:
    disk, model = _small_log(synced=True)
    whole = records_of(*_opened(disk))[:-1]  # without the mark of that look
    bodies = {one.lsn: one for one in model.records if one.kind == BATCH}
    tally = Counter[str]()
    for bit in range(whole[-1].end * 8):
        flip = _Flip(disk, SEGMENT_0, bit)
        hit = next(one for one in whole if one.lsn <= flip.at < one.end)
        try:
            _, journal, ledger = flip.open(8192)
        except (OtherFormat, OtherOwner):
            tally["refused"] += 1
            continue
        if hit is whole[-1]:  # the mark that named D is gone, so it lies above D now
            assert journal.report.set_aside
            continue
        (lost,) = journal.report.lost
        assert (lost.start, lost.end) == (hit.lsn, hit.end)
        tally["read-only" if journal.read_only else "quarantined"] += 1
        served, damaged = _read_all(journal, bodies)
        assert all((one.lsn, one.queue) == (hit.lsn, hit.queue) for one in damaged)
        if not journal.read_only:
            assert served == bodies.keys() - {hit.lsn}
            for record in bodies.values():
                assert ledger.next_offset(record.queue) >= record.base_offset + record.count
    assert tally["read-only"] > 500
    assert tally["quarantined"] > 5_000
    assert not tally["refused"], "a flipped bit is damage, not another format"


def _read_all(
    journal: Journal, bodies: dict[int, LogRecord]
) -> tuple[set[int], list[DamagedRecord]]:
    """(lsns of all batches that are served, each compared with what was appended; the others)"""
    served, damaged = set(), []
    for queue in range(3):
        for span in journal.spans(queue, 0, 1 << 30, journal.end):
            try:
                (data,) = journal.read([span])
            except DamagedRecord as error:
                damaged.append(error)
                continue
            assert data[64:] == bodies[span.lsn].payload, "a corrupt body was served"
            served.add(span.lsn)
    return served, damaged


def _opened(disk: SimDisk) -> tuple[SimIO, Journal]:
    copy = disk.clone()
    io = copy.io()
    journal, _ = open_journal(io, options(segment_bytes=8192))
    return io, journal


def test_every_flipped_bit_of_an_index_file_changes_nothing() -> None:
    disk, model = SimDisk(), Model()
    model.work(disk.io(), options(), 16, close=True)
    path = next(one for one in disk.paths() if one.endswith(".idx"))
    disk.kill()
    for bit in range(0, len(disk.read(path)) * 8, 1 if DEPTH > 1 else 3):
        flip = _Flip(disk, path, bit)
        io, journal, ledger = flip.open(2048)
        model.copy().opened(io, journal, ledger)
        assert not journal.report.lost


def test_an_accepted_damage_opens_writable_and_lays_floors() -> None:
    disk, _ = _small_log(synced=True)
    state = next(one for one in reversed(records_of(*_opened(disk))) if one.kind == STATE)
    disk.rot(SEGMENT_0, state.lsn + 20, b"\xff")
    io = disk.io()
    journal, ledger = open_journal(io, options(segment_bytes=8192))
    assert journal.read_only
    (lost,) = journal.report.lost
    before = {queue: ledger.next_offset(queue) for queue in range(3)}
    journal.close(Model().now())
    accept(io, DIRECTORY, [(lost.start, lost.end)])
    journal, ledger = open_journal(io, options(segment_bytes=8192))
    assert not journal.read_only
    assert journal.report.lost[0].label == "rot that was accepted"
    for queue in range(3):
        assert ledger.next_offset(queue) >= before[queue]
    model = Model()
    for _ in range(20):
        journal.tick(model.now())
        run_jobs(journal, model.now())
    journal.close(model.now())
    first = {queue: ledger.next_offset(queue) for queue in range(3)}
    journal, ledger = open_journal(io, options(segment_bytes=8192))
    (lost,) = journal.report.lost
    assert lost.label == "rot in data", "a whole snapshot lies behind the damage now"
    assert first == {queue: ledger.next_offset(queue) for queue in range(3)}


@pytest.mark.parametrize("seed", range(40 * DEPTH))
def test_sectors_gone_astray_are_never_served(seed: int) -> None:
    """Zeroed, doubled, swapped, stale and noisy sectors: what is read is what was appended."""
    chance = random.Random(seed)
    disk, model = SimDisk(), Model()
    model.work(disk.io(), options(segment_bytes=4096), 20, close=True)
    bodies = {one.lsn: one for one in model.records if one.kind == BATCH}
    for _ in range(10):
        copy = disk.clone()
        path = chance.choice([one for one in copy.paths() if one.endswith(".log")])
        data = copy.read(path)
        sectors = len(data) // 512
        for _ in range(chance.randint(1, 2)):
            at, other = chance.randrange(sectors) * 512, chance.randrange(sectors) * 512
            noise = chance.randbytes(512)
            what = chance.choice([bytes(512), data[other : other + 512], noise, data[:512]])
            copy.rot(path, at, what)
        try:
            journal, _ = open_journal(copy.io(), options(segment_bytes=4096))
        except LogError:
            continue  # the first sector of a segment was that of another one
        _read_all(journal, bodies)
