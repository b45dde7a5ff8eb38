"""Spawning: a child process from the parent's side.

Owns: the start of a fresh interpreter, its end and what it said last. Must not know when to start
or restart one: `supervisor.py` decides. `process.py` is the child's half.

A fresh interpreter (`python -m`), never fork: a ZeroMQ context does not survive one, and locks held
by the embedding program's threads would be copied. Nor multiprocessing: it imports the user's
__main__ again and keeps a tracker process. The child gets its own session, so that a Ctrl-C in the
terminal reaches only the parent; its stderr is ours; stdout goes there too, as standard output
belongs to the user's commands.

A child dies with the *thread* that spawned it: spawn from one that lives as long as the broker.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from .logs import LogForm, LogLevel
from .process import REASON_CHARS_MAX, ChildStart

__all__ = ["Child", "ChildSpec", "Exit"]


@dataclass(frozen=True)
class ChildSpec:
    """One process of a broker."""

    name: str
    module: str
    """Run as `python -m module`; calls `run_actor`."""
    mailbox: str
    """ipc address that the actor binds; the supervisor PINGs it."""
    config: Any
    """A msgspec struct, or plain values: what `run_actor` decodes."""
    stage: int = 0
    """Stages stop from the highest to the lowest, each after the one before is gone."""
    pass_fds: tuple[int, ...] = ()
    """Descriptors that the child inherits under the same numbers."""


class Exit(NamedTuple):
    """How a process ended."""

    code: int
    """The exit code; minus the signal's number if a signal ended it."""
    reason: str
    """For people: what the child said, else what its code means."""


class Child:
    """One running process."""

    def __init__(
        self,
        spec: ChildSpec,
        *,
        log_level: LogLevel = "info",
        log_form: LogForm = "auto",
        parent_pid: int | None = None,
    ) -> None:
        """Starts it.

        Args:
            parent_pid: whom the child takes for its parent; this process.

        Raises:
            OSError: the system has no room for another process, or there is no interpreter.
        """
        self.spec = spec
        self._report_fd, report_write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        start = ChildStart(
            name=spec.name,
            parent_pid=os.getpid() if parent_pid is None else parent_pid,
            report_fd=report_write_fd,
            log_level=log_level,
            log_form=log_form,
            config=msgspec.Raw(msgspec.json.encode(spec.config)),
        )
        try:
            self._process = subprocess.Popen(
                # -P: a file of the user's directory must not stand in for a module of Python.
                [sys.executable, "-P", "-m", spec.module, spec.name],
                stdin=subprocess.PIPE,
                stdout=2,
                pass_fds=(*spec.pass_fds, report_write_fd),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._report_fd)
            raise
        finally:
            os.close(report_write_fd)
        self.pid = self._process.pid
        self.pidfd = os.pidfd_open(self.pid)
        """Readable once the process has ended."""
        self._exit: Exit | None = None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead already; its exit tells
            self._process.stdin.write(msgspec.json.encode(start))
            self._process.stdin.flush()
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def terminate(self) -> None:
        """Asks for an orderly stop."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once, also if it is stopped or hangs."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has ended: what the signal was for
            signal.pidfd_send_signal(self.pidfd, number)

    def exit(self) -> Exit | None:
        """How it ended, None while it runs. Only then its lock on a directory is free."""
        code = self._process.poll()
        if code is not None and self._exit is None:
            self._exit = self._told(code)
        return self._exit

    def wait(self) -> Exit:
        """Sleeps until it has ended."""
        self._process.wait()
        ended = self.exit()
        assert ended is not None
        return ended

    def _told(self, code: int) -> Exit:
        said = b""
        with suppress(BlockingIOError):  # it said nothing, and a grandchild holds the pipe
            said = os.read(self._report_fd, 8 * REASON_CHARS_MAX)
        if said:
            return Exit(code, str(json.loads(said)["reason"]))
        if code < 0:
            return Exit(code, f"killed by {_signal_name(-code)}")
        return Exit(code, "stopped in order" if code == 0 else f"exit code {code}, see its log")

    def close(self) -> None:
        """Releases the descriptors of a process that has ended."""
        os.close(self.pidfd)
        os.close(self._report_fd)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
