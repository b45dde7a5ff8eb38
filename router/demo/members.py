"""The members of the demonstration's group, as their parent sees them: started, read, one killed.

Owns their processes. Must not know what the flights mean.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from types import TracebackType

from .member import Told, frames_of

__all__ = ["MemberError", "Members"]

_READY_SECONDS = 30.0
_END_SECONDS = 10.0


class MemberError(RuntimeError):
    """A member ended before its time, or does not start; standard error has its reason."""


class Members:
    """A context in which `count` members consume."""

    def __init__(self, url: str, count: int) -> None:
        self._told: queue.SimpleQueue[tuple[int, Told | None]] = queue.SimpleQueue()
        self._queues: list[frozenset[int]] = [frozenset()] * count
        self._processes: list[subprocess.Popen[bytes]] = []
        self._readers: list[threading.Thread] = []
        self._url = url
        self._count = count
        self.killed: int | None = None
        self.killed_ns = 0

    def __enter__(self) -> Members:
        try:
            for index in range(self._count):
                self._start(index)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _start(self, index: int) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "shardmq.router.demo.member", self._url, f"member-{index}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._processes.append(process)
        reader = threading.Thread(target=self._read, args=(index, process), daemon=True)
        self._readers.append(reader)
        reader.start()

    def _read(self, index: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None, "it was made with a pipe"
        for told in frames_of(process.stdout):
            self._told.put((index, told))
        self._told.put((index, None))

    @property
    def queue_ids(self) -> frozenset[int]:
        """The queues that living members hold."""
        return frozenset().union(
            *(held for index, held in enumerate(self._queues) if index != self.killed)
        )

    def share(self, queues: int) -> None:
        """Waits until they share `queues` queues among them, each with one at least.

        Raises:
            MemberError: they do not get there.
        """
        until_s = time.monotonic() + _READY_SECONDS
        while len(self.queue_ids) < queues or not all(self._queues):
            if time.monotonic() > until_s:
                raise MemberError("the members of the group do not get their queues")
            self.next(1.0)

    def next(self, wait_seconds: float) -> tuple[int, Told] | None:
        """What a member told, with its index; None if none did within `wait_seconds`.

        Raises:
            MemberError: one ended that nobody killed.
        """
        try:
            index, told = self._told.get(timeout=wait_seconds)
        except queue.Empty:
            return None
        if told is None:
            if index != self.killed:
                raise MemberError(f"member {index} ended; its reason is above")
            return None
        self._queues[index] = frozenset(told.queue_ids)
        return index, told

    def kill(self, index: int) -> None:
        """Ends a member with SIGKILL; what it told before can still be read."""
        assert self.killed is None, "one is enough"
        self.killed = index
        self._processes[index].kill()
        self.killed_ns = time.monotonic_ns()

    def _end(self) -> None:
        for process in self._processes:
            assert process.stdin is not None, "it was made with a pipe"
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for reader in self._readers:
            reader.join()
        for process in self._processes:
            assert process.stdout is not None, "it was made with a pipe"
            process.stdout.close()
