"""Work: what one worker does at a time, a run of messages for one listener. Pure.

A worker goes through `messages` by its iterator and writes down what failed; it takes no lock for
that. The rest of a run can be taken from it at any time (`rest`): draining the iterator is one step
for the interpreter, so each message is either the worker's or in the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple

from ..received import ReceivedMessage
from .outcomes import Failure, failure_of, steered

__all__ = ["Listener", "Work", "run"]


class Listener(NamedTuple):
    """What a user wants to be called with."""

    call: Callable[..., Any]
    batch: int = 0
    """It is given lists of at most so many messages; 0: single messages."""


class Work:
    """A run of messages."""

    __slots__ = (
        "batch", "end", "failures", "first", "given_up", "iterator", "lane", "listener",
        "message_since_ms", "messages", "rows", "started_ms", "stops_at_failure",
    )  # fmt: skip

    def __init__(
        self,
        listener: Listener,
        messages: list[ReceivedMessage],
        first: int,
        end: int,
        batch: Any,
        started_ms: float,
    ) -> None:
        self.listener = listener
        self.messages = messages
        self.iterator: Any = iter(messages)
        self.first = first
        """First offset that is done with this run."""
        self.end = end
        """Offset behind the last."""
        self.batch = batch
        """Where the messages came from, if one batch, ..."""
        self.lane: Any = None
        """... or in which order they have to be done, ..."""
        self.rows: Any = None
        """... and then where each of them came from; of a list, its segments."""
        self.failures: list[Failure] = []
        self.started_ms = started_ms
        self.message_since_ms = started_ms
        """When the message came that the worker is at, infinite when it is through; the former is
        kept only where messages time out."""
        self.stops_at_failure = False
        self.given_up = False
        """Somebody else has settled it: what the worker says of it is old news."""

    @property
    def taken(self) -> int:
        """Messages that the worker has begun."""
        return len(self.messages) - int(self.iterator.__length_hint__())

    def rest(self) -> list[ReceivedMessage]:
        """Takes away what the worker has not begun."""
        rest: list[ReceivedMessage] = list(self.iterator)
        if rest:
            del self.messages[len(self.messages) - len(rest) :]
        return rest


def run(work: Work, clock_ms: Callable[[], float] | None = None) -> None:
    """Calls the listener with each message, or with all of them.

    Args:
        clock_ms: given where messages time out.
    """
    if work.listener.batch:
        _run_batch(work)
    else:
        _run_each(work, clock_ms)
    work.message_since_ms = inf


def _run_each(work: Work, clock_ms: Callable[[], float] | None) -> None:
    call, iterator, failures = work.listener.call, work.iterator, work.failures
    message: Any = None
    while True:
        try:
            for message in iterator:
                if clock_ms is not None:
                    work.message_since_ms = clock_ms()
                outcome = call(message)
                if outcome is not None:
                    failure = steered(message, outcome)
                    if failure is not None:
                        failures.append(failure)
                        if work.stops_at_failure:
                            return
            return
        except BaseException as error:  # whatever a listener does ends its message, not the worker
            failure = failure_of(message, error)
            if failure is not None:
                failures.append(failure)
                if work.stops_at_failure:
                    return


def _run_batch(work: Work) -> None:
    messages = list(work.iterator)
    try:
        outcome = work.listener.call(messages)
        found = [steered(message, outcome) for message in messages] if outcome is not None else []
    except BaseException as error:  # as above
        found = [failure_of(message, error) for message in messages]
    work.failures += [failure for failure in found if failure is not None]
