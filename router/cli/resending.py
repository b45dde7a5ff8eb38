"""Resending: dead letters to a broker, not faster than a rate, with progress on a terminal.

Owns the pace, and what became of each letter. Must not know how letters are found or chosen.

They are sent in small batches, a tenth of a second's worth each; every batch is acknowledged before
the next, so what was counted is stored. What goes to a topic that does not exist is left and does
not keep the others back; any other failure ends it. Whoever goes on afterwards behind the letters
of `behind` sends none of them twice.
"""

from __future__ import annotations

import time
from collections import Counter
from itertools import groupby
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from .deadletters import DeadLetter
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
        self._waiting: list[tuple[DeadLetter, Message]] = []
        self.sent: Counter[str] = Counter()
        """Messages by topic."""
        self.left: Counter[str] = Counter()
        """Letters of which the topic does not exist, by topic."""
        self.behind: dict[int, int] = {}
        """Last offset, by queue of the dead letters, up to which all is done with."""

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
                places = " ".join(f"--after {one}/{at}" for one, at in sorted(self.behind.items()))
                go_on = f", go on behind them with {places}" if places else ""
                note(f"{self.sent.total():,} were sent before this{go_on}:")

    def send(self, letter: DeadLetter, message: Message) -> None:
        """
        Raises:
            ShardMQError: the broker refused a batch, or did not answer.
        """
        self._waiting.append((letter, message))
        if len(self._waiting) >= self._pace.batch:
            self._flush()

    def _flush(self) -> None:
        batch, self._waiting = self._waiting, []
        if not batch:
            return
        time.sleep(self._pace.wait(len(batch), time.monotonic()))
        done: set[str] = set()
        try:
            # In their order, so that whatever fails has nothing behind it that was sent.
            for topic, some in groupby(batch, key=lambda one: one[1].topic):
                done.update(self._send(topic, list(some)))
        finally:
            self._go_on_behind([letter for letter, _ in batch], done)
        self._rates.progressed("resent", self.sent.total(), time.monotonic() - self._began)

    def _send(self, topic: str, some: list[tuple[DeadLetter, Message]]) -> list[str]:
        """Sends what goes to one topic; returns the places of the letters that are done with."""
        from shardmq.client.errors import SendError, TopicNotFound

        if topic not in self.left:
            try:
                self._producer.send_batch([message for _, message in some])
            except TopicNotFound:
                pass
            except SendError as error:
                faults = [isinstance(one, SendError) for one in error.outcomes]
                if False in faults:
                    self.sent[topic] += faults.count(False)
                raise
            else:
                self.sent[topic] += len(some)
                return [letter.place for letter, _ in some]
        self.left[topic] += len(some)
        return [letter.place for letter, _ in some]

    def _go_on_behind(self, letters: list[DeadLetter], done: set[str]) -> None:
        stopped: set[int] = set()
        for letter in letters:
            queue_id, offset = letter.message.queue_id or 0, letter.message.offset or 0
            if letter.place not in done:
                stopped.add(queue_id)
            if queue_id not in stopped:
                self.behind[queue_id] = offset
