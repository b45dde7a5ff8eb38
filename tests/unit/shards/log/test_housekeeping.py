"""Everything that is not on the way of a record."""

from __future__ import annotations

from typing import Any

from shardmq.actors.kernel.ports import Now
from shardmq.shards.log.jobs import DropJob, PrepareJob, ScrubJob, SealJob, SyncJob
from shardmq.shards.log.journal import Journal
from shardmq.shards.log.record import PREFIX_BYTES
from support.disk import Call, SimDisk
from support.journals import Ledger, Model, batch_of, open_journal, options


class Case:
    """A journal whose jobs are watched, one at a time."""

    def __init__(self, **changes: Any) -> None:
        self.disk, self.model = SimDisk(), Model()
        self.io = self.disk.io()
        self.journal: Journal
        self.ledger: Ledger
        self.journal, self.ledger = open_journal(self.io, options(**changes), self.model.now())

    def fill(self, batches: int) -> None:
        for _ in range(batches):
            self.model.append(self.journal, self.ledger, 0, batch_of(b"x" * 40))
        self.journal.write()

    def job(self, step_ms: float = 30.0) -> str:
        """Run the next job and say what it was."""
        now = self.model.now(step_ms)
        self.journal.tick(now)
        job = self.journal.begin_job(now)
        if job is None:
            return ""
        job.run()
        self.journal.finish_job(job, self.model.now(0))
        return type(job).__name__

    def jobs(self, most: int = 40) -> list[str]:
        found = []
        while len(found) < most and (name := self.job()):
            found.append(name)
        return found


def test_the_next_segment_is_prepared_when_the_active_one_is_half_full() -> None:
    case = Case()
    case.jobs()
    case.fill(2)
    assert PrepareJob.__name__ not in case.jobs()
    case.fill(5)
    assert case.jobs().count(PrepareJob.__name__) == 1
    assert "/log/next.tmp" in case.disk.paths()


def test_a_sync_that_is_due_goes_first_and_housekeeping_is_not_starved() -> None:
    case = Case()
    case.jobs()
    case.fill(8)
    assert case.job() == SyncJob.__name__
    case.fill(1)
    assert case.job() == PrepareJob.__name__, "its turn, though there is something to sync"
    assert case.job() == SyncJob.__name__
    case.fill(1)
    assert case.job(1.0) == SyncJob.__name__, "nothing to do besides"


def test_a_roll_while_the_next_segment_is_being_prepared_harms_neither() -> None:
    case = Case()
    case.jobs()
    case.fill(8)
    case.job()
    now = case.model.now()
    job = case.journal.begin_job(now)
    assert isinstance(job, PrepareJob)
    case.fill(40)  # rolls, several times, before the job has begun
    job.run()
    case.fill(10)
    case.journal.finish_job(job, now)
    case.fill(40)
    case.jobs()
    assert len(case.journal.read(case.journal.spans(0, 0, 1 << 40, case.journal.durable))) == 98
    case.disk.kill()
    io = case.disk.io()
    journal, ledger = open_journal(io, options(), case.model.now())
    case.model.opened(io, journal, ledger)
    assert not [path for path in case.disk.paths() if path.endswith(".tmp")]


def test_a_full_segment_is_sealed_once_it_is_durable() -> None:
    case = Case()
    case.fill(30)
    found = case.jobs()
    assert found.index(SyncJob.__name__) < found.index(SealJob.__name__)
    sealed = [path for path in case.disk.paths() if path.endswith(".idx")]
    assert len(sealed) == case.journal.stats().segments - 1
    assert SealJob.__name__ not in case.jobs()


def test_segments_go_one_at_a_time_behind_a_whole_snapshot() -> None:
    case = Case(retention_bytes=5_000)
    dropped = 0
    for _ in range(12):
        case.fill(5)
        dropped += case.jobs().count(DropJob.__name__)
    stats = case.journal.stats()
    assert stats.segments_dropped == dropped > 2
    assert stats.bytes < 5_000 + 2 * 2_048
    earliest = case.journal.earliest(0)
    assert earliest is not None
    assert earliest > 0
    logs = [path for path in case.disk.paths() if path.endswith(".log")]
    assert len(logs) == stats.segments


def test_a_segment_that_is_held_back_stays_and_all_behind_it() -> None:
    case = Case(retention_bytes=5_000)
    case.journal.drop_guard = lambda base, end: base > 0
    for _ in range(12):
        case.fill(5)
        case.jobs()
    assert case.journal.oldest == 0
    case.journal.drop_guard = lambda base, end: True
    case.jobs()
    assert case.journal.oldest > 0


def test_age_is_told_by_stamps_of_records() -> None:
    case = Case(retention_ms=60_000)
    case.fill(30)
    case.jobs()
    assert case.journal.oldest == 0
    case.model.now(120_000)
    case.jobs()
    assert case.journal.stats().segments == 1


def test_a_tight_disk_drops_old_segments_early_and_takes_user_data_again() -> None:
    case = Case(free_bytes_min=3_000, free_bytes_retain=6_000)
    case.disk.capacity_bytes = 30_000
    for _ in range(60):
        case.fill(3)
        case.jobs()
        case.model.now(1_000)
        assert case.journal.refusal(100) is None
    assert case.journal.stats().segments_dropped > 3


def test_scrubbing_goes_round_and_round_a_piece_at_a_time_and_reports() -> None:
    case = Case(scrub_every_ms=1_000.0, scrub_bytes=1_024)
    case.fill(40)
    case.jobs()
    segments = case.journal.stats().segments - 1
    steps = [case.job(1_000) for _ in range(6 * segments)]
    assert steps.count(ScrubJob.__name__) > 3 * segments
    assert case.job(1.0) == ""
    assert case.journal.stats().damaged_records == 0
    case.disk.rot(f"/log/{0:020d}.log", 300, b"\xee")
    for _ in range(6 * segments):
        case.job(1_000)
    damaged = case.journal.stats().damaged_records
    assert damaged > 0
    for _ in range(12 * segments):
        case.job(1_000)
    assert case.journal.stats().damaged_records == damaged, "the next rounds count it no more"


def test_nothing_due_asks_for_no_turn() -> None:
    case = Case()
    case.fill(30)
    case.jobs()
    now = case.model.now()
    for _ in range(5):
        case.journal.tick(now)
        wake = case.journal.wake_at_ms
        assert wake is not None
        assert wake > now.mono_ms, "it would spin"
        now = case.model.now(wake - now.mono_ms)
        case.jobs()


def test_a_job_that_is_out_is_not_waited_for_by_spinning() -> None:
    case = Case(scrub_every_ms=10.0)
    case.fill(30)
    case.jobs()
    case.fill(1)
    now = case.model.now(500)
    case.journal.tick(now)
    job = case.journal.begin_job(now)
    assert job is not None
    later = case.model.now(200)
    case.journal.tick(later)
    wake = case.journal.wake_at_ms
    assert wake is not None
    assert wake > later.mono_ms
    job.run()
    case.journal.finish_job(job, later)


def test_on_a_disk_without_room_for_the_next_segment_it_tries_again() -> None:
    case = Case()
    case.jobs()

    def full(call: Call) -> None:
        if call.name == "fallocate":
            raise OSError(28, "No space left on device")

    case.io.before = full
    case.fill(8)
    case.jobs(6)
    assert case.journal.stats().disk_full
    case.io.before = None
    case.model.now(1_000)
    case.jobs()
    assert not case.journal.stats().disk_full
    assert isinstance(case.model.now(), Now)


def test_a_segment_with_enough_records_goes_on_while_a_full_disk_has_no_next_one() -> None:
    case = Case(segment_bytes=1 << 18, segment_records=16)
    case.jobs()

    def full(call: Call) -> None:
        if call.name == "fallocate":
            raise OSError(28, "No space left on device")

    case.io.before = full
    case.fill(40)
    case.jobs(6)
    assert case.journal.stats().segments == 1
    case.disk.kill()
    io = case.disk.io()
    io.before = full
    journal, ledger = open_journal(
        io, options(segment_bytes=1 << 18, segment_records=16), case.model.now()
    )
    assert ledger.digest() == case.ledger.digest(), "a start needs no room either"
    case.io, case.journal, case.ledger = io, journal, ledger
    io.before = None
    case.model.now(1_000)
    case.jobs()
    case.fill(1)
    assert journal.stats().segments == 2


def no_room(call: Call) -> None:
    if call.name == "fallocate":
        raise OSError(28, "No space left on device")


def nearly_full(**changes: Any) -> Case:
    """The first segment has 40 bytes left, too few for any record."""
    case = Case(**changes)
    rest_bytes = options().segment_bytes - case.journal.end
    case.journal.append_state(bytes(rest_bytes - PREFIX_BYTES - 40), case.model.now())
    case.journal.write()
    return case


def test_a_snapshot_waits_while_the_disk_has_no_next_segment() -> None:
    case = nearly_full()
    case.io.before = no_room
    for _ in range(5):
        case.journal.tick(case.model.now())
    assert case.journal.stats().segments == 1
    case.io.before = None
    case.model.now(2_000)
    case.jobs()
    assert case.journal.keep_from > 0, "it was written as soon as there was room"
    case.disk.kill()
    _, ledger = open_journal(case.disk.io(), options(), case.model.now())
    assert ledger.digest() == case.ledger.digest()


def test_a_mark_waits_likewise_and_closing_needs_none() -> None:
    case = nearly_full()
    case.io.before = no_room
    case.jobs()
    for _ in range(3):
        case.model.now(5_000)
        case.jobs()
    assert case.journal.stats().segments == 1
    wake_at_ms = case.journal.wake_at_ms
    assert wake_at_ms is not None
    assert wake_at_ms > case.model.now(0).mono_ms, "nor does it spin"
    case.journal.close(case.model.now())


def test_below_the_watermark_a_segment_takes_more_than_its_number_of_records() -> None:
    case = Case(segment_records=8, free_bytes_min=50_000)
    case.disk.capacity_bytes = case.disk.used_bytes() + 20_000
    case.model.now(10_000)
    case.journal.tick(case.model.now())
    for _ in range(12):
        case.journal.append_state(b"one", case.model.now())
    assert case.journal.stats().segments == 1
