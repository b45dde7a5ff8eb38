"""The same crashes on real files: kills, cut and rotten files, limits that the kernel enforces.

Owns what only the real LogIO can show. The many states are tried on the simulated disk.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shardmq.actors.kernel.ports import Refusal
from shardmq.shards.log.errors import DirectoryInUse, FatalLogError
from shardmq.shards.log.realio import RealLogIO
from support.disk import Call, Killed, disk_error
from support.faulty import FaultyIO
from support.journals import Model, batch_of, open_journal, options, run_jobs

WORKER = """
import sys
from shardmq.shards.log.realio import RealLogIO
from support.journals import Model, open_journal, options
settings = options(sys.argv[1], segment_bytes=1 << 16, segment_records=4096)
model, io = Model(), RealLogIO()
journal, ledger = open_journal(io, settings, model.now())
for turn in range(1_000_000):
    model.turn(journal, ledger, turn)
    print(journal.durable, flush=True)
"""


def test_a_kill_at_every_call_on_real_files(tmp_path: Path) -> None:
    number = kills = 0
    while True:
        number += 1
        settings = options(str(tmp_path / str(number)), retention_bytes=6000)
        io, model = FaultyIO(), Model()
        left = number

        def before(call: Call) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed(call.name)

        io.before = before
        try:
            model.work(io, settings, 14)
        except Killed:
            kills += 1
        io.die()
        again = RealLogIO()
        journal, ledger = open_journal(again, settings, model.now())
        model.opened(again, journal, ledger)
        journal.close(model.now())
        shutil.rmtree(settings.directory)
        if left > 0:
            break
    assert kills == number - 1 > 50


def test_a_killed_process_leaves_all_that_it_called_durable(tmp_path: Path) -> None:
    directory = str(tmp_path / "log")
    tests = str(Path(__file__).parents[1])
    for _ in range(3):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, directory],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": tests},
        )
        assert worker.stdout is not None
        durable = [int(worker.stdout.readline()) for _ in range(40)]
        with pytest.raises(DirectoryInUse, match=f"pid {worker.pid} on "):
            open_journal(RealLogIO(), options(directory))
        worker.send_signal(signal.SIGKILL)
        durable += map(int, worker.stdout.read().split()[:-1])
        worker.stdout.close()
        worker.wait()
        journal, _ = open_journal(RealLogIO(), options(directory))
        assert journal.report.end >= max(durable)
        assert not journal.report.lost
        journal.close(Model().now())


def test_cut_and_rotten_files_recover_as_on_the_simulated_disk(tmp_path: Path) -> None:
    settings = options(str(tmp_path / "log"), segment_bytes=8192)
    io, model = RealLogIO(), Model()
    model.work(io, settings, 8, close=True)
    log = tmp_path / "log" / f"{0:020d}.log"
    whole = log.read_bytes()
    used = len(whole.rstrip(b"\0"))
    for at in range(80, used, 13):
        log.write_bytes(whole[:at])
        journal, ledger = open_journal(io, settings, model.now())
        assert not journal.report.lost
        known = model.copy()
        known.durable, known.epoch = 0, -1
        known.opened(io, journal, ledger)
        journal.close(model.now())
        log.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        journal, _ = open_journal(io, settings, model.now())
        assert journal.report.lost or journal.report.set_aside
        journal.close(model.now())


@contextmanager
def _files_end_at(size: int) -> Iterator[None]:
    """The kernel refuses to let any file grow beyond `size` (EFBIG, as good as a full disk)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_without_room_refuses_before_it_fails_and_resumes(tmp_path: Path) -> None:
    settings = options(str(tmp_path / "log"), segment_bytes=4096, reserve_bytes=1024)
    io, model = RealLogIO(), Model()
    journal, ledger = open_journal(io, settings, model.now())
    model.opened(io, journal, ledger)
    accepted = 0
    with _files_end_at(4000):
        while journal.refusal(300) is None:
            model.append(journal, ledger, 0, batch_of(b"x" * 150))
            journal.write()
            run_jobs(journal, model.now())
            accepted += 1
            assert accepted < 100
        assert journal.refusal(300) is Refusal.DISK_FULL
        model.records.append(journal.append_state(b"ack", model.now()))
        run_jobs(journal, model.now())
        assert journal.durable == journal.end, "acks go on"
        assert journal.read(journal.spans(0, 0, 1 << 20, journal.durable)), "reads go on"
        assert not [name for name in os.listdir(settings.directory) if name.endswith(".tmp")]
    model.now(2_000)
    run_jobs(journal, model.now())
    assert journal.refusal(300) is None
    model.durable = journal.durable
    journal.close(model.now())
    journal, ledger = open_journal(io, settings, model.now())
    model.opened(io, journal, ledger)
    journal.close(model.now())


def test_a_failed_sync_of_a_real_file_ends_the_journal(tmp_path: Path) -> None:
    settings = options(str(tmp_path / "log"))
    io, model = FaultyIO(), Model()
    journal, ledger = open_journal(io, settings, model.now())
    model.opened(io, journal, ledger)
    model.append(journal, ledger, 0, batch_of(b"x"))
    journal.write()

    def before(call: Call) -> None:
        if call.name == "fdatasync":
            raise disk_error(errno.EIO, call.path)

    io.before = before
    with pytest.raises(FatalLogError):
        run_jobs(journal, model.now())
    assert journal.durable == model.durable
    io.before = None
    io.die()
    again = RealLogIO()
    journal, ledger = open_journal(again, settings, model.now())
    model.opened(again, journal, ledger)
    journal.close(model.now())
