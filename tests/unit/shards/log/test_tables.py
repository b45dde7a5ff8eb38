"""The index of all segments: derived data, deletable at any time."""

from __future__ import annotations

from shardmq.shards.log.indexfile import encode_index
from shardmq.shards.log.tables import rows_of_log
from support.disk import SimDisk
from support.journals import DIRECTORY, Model, open_journal, options

EVERYTHING = 1 << 40


def _worked() -> tuple[SimDisk, Model]:
    disk, model = SimDisk(), Model()
    model.work(disk.io(), options(), 50, close=True)
    disk.kill()
    return disk, model


def _indexes(disk: SimDisk) -> list[str]:
    return [path for path in disk.paths() if path.endswith(".idx")]


def test_rebuilt_equals_incremental_byte_for_byte() -> None:
    disk, model = _worked()
    paths = _indexes(disk)
    assert len(paths) > 3
    before = {path: disk.read(path) for path in paths}
    io = disk.io()
    for path in paths:
        io.unlink(path)
    journal, ledger = open_journal(io, options())
    model.opened(io, journal, ledger)
    assert "index built again" in journal.report.lines()[0]
    for _ in range(3 * len(paths)):
        job = journal.begin_job(model.now())
        if job is not None:
            job.run()
            journal.finish_job(job, model.now())
    assert before == {path: disk.read(path) for path in _indexes(disk)}


def test_an_index_lost_while_running_is_built_again_when_it_is_asked() -> None:
    disk, model = _worked()
    io = disk.io()
    journal, _ = open_journal(io, options(indexes_cached=1))
    for path in _indexes(disk):
        io.unlink(path)
    model.check_reads(journal)


def test_an_index_that_rots_while_running_is_built_again() -> None:
    disk, model = _worked()
    journal, _ = open_journal(disk.io(), options())
    for path in _indexes(disk):
        disk.rot(path, len(disk.read(path)) - 20, b"\xee\xee")
    model.check_reads(journal)


def test_rows_of_a_log_name_damaged_bodies_and_report_what_is_lost() -> None:
    disk, _ = _worked()
    first, second = sorted(path for path in disk.paths() if path.endswith(".log"))[:2]
    end = int(second[5:25])
    io = disk.io()
    file = io.open(first)
    whole, lost = rows_of_log(io, file, 0, end)
    assert lost == []
    lsn = whole[0][1]
    disk.rot(first, lsn + 128, b"\xee")
    rows, (body,) = rows_of_log(io, file, 0, end)
    assert rows == whole
    assert (body.start, body.queue, body.base_offset) == (lsn, 0, 0)
    disk.rot(first, lsn + 20, b"\xee")
    rows, (noise,) = rows_of_log(io, file, 0, end)
    assert list(rows[0]) == list(whole[0][4:])
    assert noise.queue == -1


def test_an_index_file_is_preferred_because_it_still_names_what_rotted() -> None:
    disk, _ = _worked()
    first = min(path for path in disk.paths() if path.endswith(".log"))
    io = disk.io()
    journal, _ = open_journal(io, options())
    (span, *_) = journal.spans(0, 0, EVERYTHING, EVERYTHING)
    journal.close(Model().now())
    disk.rot(first, span.lsn + 20, b"\xee")
    journal, _ = open_journal(io, options())
    assert journal.spans(0, 0, EVERYTHING, EVERYTHING)[0] == span
    assert len(encode_index(0, 1, 0, {})) == 64
    assert journal.directory == DIRECTORY
