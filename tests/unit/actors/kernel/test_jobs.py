"""The disk thread runs one job at a time and gives it back with what it raised."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from shardmq.actors.kernel.jobs import JobThread


class Call:
    """A job that calls a function."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function

    def run(self) -> None:
        self._function()


@pytest.fixture
def woken() -> threading.Event:
    return threading.Event()


@pytest.fixture
def jobs(woken: threading.Event) -> Iterator[JobThread]:
    thread = JobThread(woken.set)
    thread.start()
    yield thread
    thread.stop()


def test_a_job_runs_beside_the_caller_and_wakes_it(jobs: JobThread, woken: threading.Event) -> None:
    gate, where = threading.Event(), []

    def work() -> None:
        assert gate.wait(10)
        where.append(threading.current_thread().name)

    job = Call(work)
    assert jobs.finished() is None
    jobs.submit(job)
    assert jobs.busy
    assert jobs.finished() is None, "it waits at the gate"
    gate.set()
    assert woken.wait(10)
    assert jobs.finished() is job
    assert not jobs.busy
    assert where == ["shardmq-disk"]


def test_what_a_job_raises_is_raised_where_it_is_taken_back(jobs: JobThread) -> None:
    def fail() -> None:
        raise OSError(5, "Input/output error")

    jobs.submit(Call(fail))
    with pytest.raises(OSError, match="Input/output error"):
        jobs.wait()
    assert not jobs.busy


def test_only_one_job_is_out(jobs: JobThread) -> None:
    gate = threading.Event()
    jobs.submit(Call(lambda: gate.wait(10)))
    with pytest.raises(AssertionError):
        jobs.submit(Call(lambda: None))
    gate.set()
    assert jobs.wait() is not None
    assert jobs.wait() is None, "nothing is out any more"


def test_stop_ends_the_thread_behind_what_was_submitted(woken: threading.Event) -> None:
    done: list[int] = []
    jobs = JobThread(woken.set)
    jobs.start()
    jobs.submit(Call(lambda: done.append(1)))
    jobs.stop()
    assert done == [1]


def test_stop_before_start_does_nothing(woken: threading.Event) -> None:
    JobThread(woken.set).stop()
    assert not woken.is_set()
