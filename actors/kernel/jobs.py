"""Jobs: the one thread beside the loop, for disk work that may block.

Owns: the thread and the hand-over in both directions. Must not know what a job does, nor the
journal.

A sync takes 0.1 to 100 ms; the loop goes on meanwhile, so that one sync covers all that arrives
during the one before (group commit). At most one job is out: the journal's own rule, asserted here.
A job that raises ends the process: after a failed sync nobody knows what the disk holds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from .ports import Job

__all__ = ["JobThread"]


class JobThread:
    """Runs one job at a time; calls `wake` (from its thread) when one has ended."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._todo: SimpleQueue[Job | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[Job, BaseException | None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="shardmq-disk", daemon=True)
        self.busy = False
        """A job is out: submitted, and not yet taken back by `finished`."""

    def start(self) -> None:
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Hands `job` to the thread."""
        assert not self.busy, "the journal gives out one job at a time"
        self.busy = True
        self._todo.put(job)

    def finished(self) -> Job | None:
        """Takes back the job that has ended, None if none has. Raises what the job raised."""
        if not self.busy or self._done.empty():
            return None
        return self._taken_back()

    def wait(self) -> Job | None:
        """As `finished`, but sleeps until the job that is out, if any, has ended."""
        return self._taken_back() if self.busy else None

    def _taken_back(self) -> Job:
        job, error = self._done.get()
        self.busy = False
        if error is not None:
            raise error
        return job

    def stop(self) -> None:
        """Ends the thread behind what was submitted."""
        self._todo.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while (job := self._todo.get()) is not None:
            error: BaseException | None = None
            try:
                job.run()
            except BaseException as raised:
                error = raised
            self._done.put((job, error))
            self._wake()
