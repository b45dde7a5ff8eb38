"""Workers as the conductor sees them: a process, its pipes, and what it has said so far.

Owns starting, starting signal, progress, result and end of one worker. Must not know what a load
does.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable

from .plan import Answer, Done, Expect, Go, Order, Plan, Progress, Ready, decode_answer, encode

__all__ = ["Progressed", "Worker", "WorkerError"]

Progressed = Callable[[str, int, float], None]
"""(worker's name, messages so far, seconds since its start)"""

_READY_SECONDS = 60.0
_SILENCE_SECONDS = 60.0
"""A worker says something four times a second while it works; one that is silent for so long
stands still (its last flush may take the producer's timeout of 30 s)."""


class WorkerError(RuntimeError):
    """A worker that ended early or stands still; what it wrote is on standard error."""


class Worker:
    """One worker process, ready once it is entered."""

    def __init__(self, name: str, plan: Plan, progressed: Progressed) -> None:
        self.name = name
        self._plan = plan
        self._progressed = progressed
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()

    def __enter__(self) -> Worker:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "shardmq.router.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        threading.Thread(target=self._read, name=self.name, daemon=True).start()
        try:
            self._tell(self._plan)
            if not isinstance(self._next(_READY_SECONDS), Ready):
                raise WorkerError(f"the worker {self.name} did not get ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def go(self) -> None:
        """Starts the measured part."""
        self._tell(Go())

    def expect(self, count: int) -> None:
        """Tells a consumer that there are `count` messages in all."""
        self._tell(Expect(count=count))

    def result(self) -> Done:
        """Waits for the end; progress goes to the callback meanwhile.

        Raises:
            WorkerError: it ended without a result, or is silent.
        """
        while True:
            answer = self._next(_SILENCE_SECONDS)
            if isinstance(answer, Done):
                return answer
            if isinstance(answer, Progress):
                self._progressed(self.name, answer.count, answer.seconds)

    def _tell(self, order: Order) -> None:
        pipe = self._process.stdin
        assert pipe is not None, "it was made with a pipe"
        try:
            pipe.write(encode(order))
            pipe.flush()
        except BrokenPipeError:
            raise WorkerError(f"the worker {self.name} is gone") from None

    def _next(self, seconds: float) -> Answer:
        try:
            answer = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise WorkerError(f"the worker {self.name} is silent for {seconds:g} s") from None
        if answer is None:
            raise WorkerError(f"the worker {self.name} ended early; see its output above")
        return answer

    def _read(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None, "it was made with a pipe"
        try:
            for line in pipe:
                self._answers.put(decode_answer(line))
        except ValueError:
            pass  # the conductor closed the pipe while we read: it wants no more
        self._answers.put(None)
