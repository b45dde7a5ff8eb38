"""Resending: messages to a broker, not faster than a rate, with progress on a terminal.

Owns the pace. Must not know where the messages come from.

Messages are sent in small batches, a tenth of a second's worth each; every batch is acknowledged
before the next, so what was counted is stored.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from .output import note
from .progress import Rates

if TYPE_CHECKING:
    from shardmq.client import Message

__all__ = ["Pace", "Resending"]

_BATCHES_A_SECOND = 10


class Pace:
    """When the next batch may leave."""

    def __init__(self, per_second: int, now: float) -> None:
        """`now` and all times are monotonic seconds."""
        self.batch = max(1, per_second // _BATCHES_A_SECOND)
        self._per_second = per_second
        self._next = now

    def wait(self, count: int, now: float) -> float:
        """Seconds to wait before `count` more leave. A pause is not made up for."""
        wait = max(0.0, self._next - now)
        self._next = now + wait + count / self._per_second
        return wait


class Resending:
    """A context that sends; when it is left in order, all is stored."""

    def __init__(self, url: str, per_second: int, progress: TextIO) -> None:
        from shardmq.client import Producer

        self._producer = Producer(url)
        self._began = time.monotonic()
        self._pace = Pace(per_second, self._began)
        self._rates = Rates(progress)
        self._waiting: list[Message] = []
        self.sent = 0

    def __enter__(self) -> Resending:
        self._rates.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._flush()
        except BaseException as failed:
            error = failed
            raise
        finally:
            self._rates.__exit__(kind, error, traceback)
            self._producer.close()
            if error is not None and self.sent:
                note(f"{self.sent:,} were sent before this:")

    def send(self, message: Message) -> None:
        """
        Raises:
            ShardMQError: the broker refused a batch, or did not answer.
        """
        self._waiting.append(message)
        if len(self._waiting) >= self._pace.batch:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        time.sleep(self._pace.wait(len(self._waiting), time.monotonic()))
        self._producer.send_batch(self._waiting)
        self.sent += len(self._waiting)
        self._waiting = []
        self._rates.progressed("resent", self.sent, time.monotonic() - self._began)
