"""Kills and failing calls: the process dies at, or is refused, the n-th call on the disk.

Owns what the page cache survives: kill -9, I/O errors, a full disk. The same on the simulated disk
and, where it can be had there, on the real one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from shardmq.actors.kernel.ports import Refusal
from shardmq.shards.log.errors import FatalLogError
from shardmq.shards.log.io import LogIO
from shardmq.shards.log.options import JournalOptions
from support.disk import Call, Killed, SimDisk, disk_error
from support.journals import Model, batch_of, open_journal, options, run_jobs

QUIET = ("pread", "listdir")
"""Calls that change nothing: dying at one of them is dying at the next other one."""


class _At:
    """Raises at the n-th call that changes something."""

    def __init__(self, number: int, error: Callable[[Call], BaseException], name: str = "") -> None:
        self.left = number
        self.error = error
        self.name = name
        self.hit = False

    def __call__(self, call: Call) -> None:
        if call.name in QUIET or (self.name and call.name != self.name):
            return
        self.left -= 1
        if self.left == 0:
            self.hit = True
            raise self.error(call)


def _killed(call: Call) -> BaseException:
    return Killed(call.name)


def _io_error(call: Call) -> BaseException:
    return disk_error(errno.EIO, call.path)


def _no_room(call: Call) -> BaseException:
    return disk_error(errno.ENOSPC, call.path)


def _recovers(io: LogIO, settings: JournalOptions, model: Model) -> None:
    journal, ledger = open_journal(io, settings, model.now())
    model.opened(io, journal, ledger)
    journal.close(model.now())


def test_a_kill_at_every_call_loses_nothing_that_was_written() -> None:
    settings = options(retention_bytes=6000)
    number, written = 0, 0
    while True:
        number += 1
        disk, model, at = SimDisk(), Model(), _At(number, _killed)
        io = disk.io()
        io.before = at
        try:
            model.work(io, settings, 24)
        except Killed:
            written += 1
        if not at.hit:
            break
        disk.kill()
        for again in range(1, 40, 3):  # and once more, at every third call of the recovery
            io, twice = disk.power_cut().io(), _At(again, _killed)
            io.before = twice
            try:
                _recovers(io, settings, model.copy())
            except Killed:
                io.disk.kill()
                _recovers(io.disk.io(), settings, model.copy())
            if not twice.hit:
                break
        else:
            pytest.fail("the recovery does not end")
    assert written == number - 1 > 80


@pytest.mark.parametrize("name", ["fdatasync", "fsync_dir", "writev", "rename"])
def test_after_an_io_error_nothing_counts_and_the_process_ends(name: str) -> None:
    number = 0
    while True:
        number += 1
        disk, model, at = SimDisk(), Model(), _At(number, _io_error, name)
        io = disk.io()
        io.before = at
        try:
            model.work(io, options(), 20)
        except FatalLogError as error:
            io.before = None
            _after_fatal(disk, model, error)
        if not at.hit:
            break
    assert number > 3


def _after_fatal(disk: SimDisk, model: Model, error: FatalLogError) -> None:
    assert error.errno == errno.EIO
    lost = disk.power_cut(keep=[])  # a failed sync may have dropped the pages, marked clean
    for after in (disk.power_cut(), lost):
        _recovers(after.io(), options(), model.copy())


def test_a_sector_that_cannot_be_read_is_damage_not_the_end() -> None:
    disk, model = SimDisk(), Model()
    model.work(disk.io(), options(segment_bytes=8192), 12, close=True)
    disk.kill()
    disk.unreadable.add((f"/log/{0:020d}.log", 2))
    journal, _ = open_journal(disk.io(), options(segment_bytes=8192))
    assert journal.report.lost
    assert journal.end >= model.durable - 64


@pytest.mark.parametrize("name", ["fallocate", "open"])
def test_a_refused_next_segment_is_no_error(name: str) -> None:
    """The disk is full each time a segment is prepared beside the loop; then it is not."""
    disk, model = SimDisk(), Model()
    io = disk.io()
    settings = options(segment_bytes=4096)
    journal, ledger = open_journal(io, settings, model.now())
    model.opened(io, journal, ledger)
    refused = 0

    def full(call: Call) -> None:
        if call.name == name and call.path.endswith(".tmp"):
            raise _no_room(call)

    io.before = full
    for turn in range(60):
        refusal = journal.refusal(600)
        if refusal is Refusal.DISK_FULL:
            refused += 1
            io.before = None if refused > 3 else io.before
            model.now(1_000)
        else:
            assert refusal is None
            model.turn(journal, ledger, turn)
        journal.tick(model.now())
        run_jobs(journal, model.now(), most=1)
        model.durable = journal.durable
    assert refused > 3
    assert len(journal.spans(0, 0, 1 << 30, journal.durable)) > 20, "it went on by itself"
    disk.kill()
    _recovers(disk.io(), settings, model)


def test_a_disk_that_fills_up_refuses_before_it_fails_and_resumes() -> None:
    capacity = 20_000
    settings = options(segment_bytes=4096, reserve_bytes=1024, free_bytes_min=5_000)
    disk, model = SimDisk(capacity), Model()
    io = disk.io()
    journal, ledger = open_journal(io, settings, model.now())
    model.opened(io, journal, ledger)
    refused = False
    for serial in range(200):
        model.serial += 1
        if journal.refusal(300) is None:
            model.append(journal, ledger, serial % 3, batch_of(b"x" * 100, sequence=serial))
        else:
            refused = True
            model.records.append(journal.append_state(b"ack", model.now(0)))  # acks go on
        journal.write()
        journal.tick(model.now(100))
        run_jobs(journal, model.now())
        model.durable = journal.durable
        if serial == 120:
            assert refused
            disk.capacity_bytes = None  # somebody made room
            journal.tick(model.now(2_000))
            run_jobs(journal, model.now())  # one that asks for the next segment again
            assert journal.refusal(300) is None
    disk.kill()
    _recovers(disk.io(), settings, model)
