"""A child process: from a fresh interpreter to a running shell, and to an exit code.

Owns: signals, the interpreter's settings, the way a failure is told. Must not know which actor
runs; `spawn.py` is the parent's half. The module of an actor's process is no more than

    if __name__ == "__main__":
        run_actor(ShardConfig, build)       # build(config, name) -> Shell

The parent writes one JSON object to stdin (`ChildStart`). The child dies with the thread that
spawned it (PR_SET_PDEATHSIG), so no shard ever outlives its broker and keeps a directory locked.

    signal    SIGTERM  orderly stop          SIGINT  ignored: Ctrl-C reaches the parent, who decides
              SIGUSR1  stacks of all threads to stderr
    exit      0   stopped in order
              70  a bug: the log has the traceback
              74  the disk failed: what it holds is read again by the next start
              78  this configuration or this data cannot be served: a restart would not help
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from enum import IntEnum
from types import FrameType
from typing import NoReturn, TypeVar

import msgspec

from . import logs
from .memory import keep_freed_memory
from .shell import Shell

__all__ = ["ChildStart", "ExitCode", "StartRefused", "run_actor"]

C = TypeVar("C")

SWITCH_INTERVAL_S = 0.0002
"""At the default of 5 ms the disk thread waits that long for a loop that is busy."""
GC_THRESHOLDS = (10_000, 20, 100)
"""Requests free their objects by reference count; looking for cycles at each 700 is waste."""
REASON_CHARS_MAX = 2_000
"""Fits into a pipe's buffer, so that telling why never blocks."""
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

log = logging.getLogger("shardmq.process")


class ExitCode(IntEnum):
    """What an exit says; the numbers are those of sysexits.h."""

    OK = 0
    BUG = 70
    DISK = 74
    REFUSED = 78


class StartRefused(Exception):
    """This configuration or this data cannot be served; the text says what to do. A restart would
    meet the same, so the supervisor gives up and shows the text."""


class ChildStart(msgspec.Struct, kw_only=True):
    """What a parent writes to its child's stdin."""

    name: str
    parent_pid: int
    report_fd: int
    """Where a failing child writes its reason."""
    log_level: logs.LogLevel = "info"
    log_form: logs.LogForm = "auto"
    config: msgspec.Raw
    """The actor's own, decoded by `run_actor`."""


def run_actor(config_type: type[C], build: Callable[[C, str], Shell]) -> NoReturn:
    """Runs the actor that `build(config, name)` makes, then exits with an `ExitCode`.

    `build` may raise StartRefused, and OSError if the disk fails; all else is a bug.
    """
    start = msgspec.json.decode(sys.stdin.buffer.read(), type=ChildStart)
    _die_with(start.parent_pid, start.name)
    logs.set_up(start.name, level=start.log_level, form=start.log_form)
    try:
        config = msgspec.json.decode(start.config, type=config_type)
        _run(lambda: build(config, start.name))
    except Exception as error:
        sys.exit(_told(error, start.report_fd))
    sys.exit(ExitCode.OK)


def _run(build: Callable[[], Shell]) -> None:
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _exit_while_starting)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(*GC_THRESHOLDS)
    keep_freed_memory()
    shell = build()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        shell.request_stop()

    signal.signal(signal.SIGTERM, stop)
    # What was loaded stays; the collector need not walk over it for ever.
    gc.collect()
    gc.freeze()
    shell.run()


def _exit_while_starting(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Nothing was accepted yet, so there is nothing to drain."""
    sys.exit(ExitCode.OK)


def _die_with(parent_pid: int, name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        sys.exit(ExitCode.OK)  # it died before we asked
    libc.prctl(_PR_SET_NAME, f"mq:{name}".encode()[:15], 0, 0, 0)  # what `top` and `ps -c` show


def _told(error: Exception, report_fd: int) -> ExitCode:
    """Logs `error` and tells the parent; returns the exit code."""
    if isinstance(error, StartRefused):
        code, reason = ExitCode.REFUSED, str(error)
        log.error("start refused", extra=logs.fields(reason=reason))
    else:
        code = ExitCode.DISK if isinstance(error, OSError) else ExitCode.BUG
        reason = f"{type(error).__name__}: {error}"
        log.critical("the process ends on an error", exc_info=error)
    told = json.dumps({"reason": reason[:REASON_CHARS_MAX]})
    os.write(report_fd, told.encode())
    return code
