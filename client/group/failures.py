"""FailureLog: says in the log which messages listeners failed on, and never floods it.

Must not know what becomes of the messages. Called without the connection's lock, so that a handler
of the log may use the client; where threads share it, its own guard is held for counting only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from shardmq.actors.kernel.ports import Now

from .outcomes import Failure

__all__ = ["FailureLog"]

LINES_MAX = 10
"""In one window; the rest is counted."""
WINDOW_MS = 1_000.0
_log = logging.getLogger("shardmq.client")


class FailureLog:
    """Of one consumer.

    Args:
        guard: a lock, where several threads fail.
    """

    def __init__(self, guard: AbstractContextManager[Any] | None = None) -> None:
        self._guard = nullcontext() if guard is None else guard
        self._until_ms = 0.0
        self._lines = 0
        self._silent = 0
        """Failures that were only counted."""

    def told(self, failures: Iterable[Failure], now: Now) -> None:
        """Listeners raised what they did not mean; `Retry` and `Discard` are not told."""
        for failure in failures:
            if failure.is_fault:
                is_told, silent = self._count(now)
                _say(silent)
                if is_told:
                    message = failure.message
                    _log.warning(
                        "a listener failed on a message of topic %r, queue %d, offset %d,"
                        " attempt %d: %s",
                        message.topic, message.queue_id, message.offset, message.attempt,
                        failure.cause,
                    )  # fmt: skip

    def close(self) -> None:
        """Says what was only counted."""
        with self._guard:
            silent, self._silent = self._silent, 0
        _say(silent)

    def _count(self, now: Now) -> tuple[bool, int]:
        """Whether one more line may be written, and how many were not before it."""
        silent = 0
        with self._guard:
            if now.mono_ms >= self._until_ms:
                self._until_ms = now.mono_ms + WINDOW_MS
                self._lines = 0
                silent, self._silent = self._silent, 0
            self._lines += 1
            is_told = self._lines <= LINES_MAX
            self._silent += not is_told
        return is_told, silent


def _say(silent: int) -> None:
    if silent:
        _log.warning("listeners failed on %d more messages", silent)
