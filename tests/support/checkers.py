"""Checkers: what a history of sends and reads must satisfy, whatever was killed meanwhile.

Owns the record of what clients saw, and one function for each promise. Pure: the crash loop and the
tests that doctor histories hand them in. The rules are those of `jepsen.tests.kafka`: an operation
is acknowledged, failed (certainly without effect) or unknown, and only the last may go either way.

    nothing lost       what was acknowledged is in the final read, where the receipt said
    nothing invented   what was read was sent, and had not failed
    nothing twice      one message lies at one place
    nothing reordered  one producer's messages with one key lie in the order of their sends
    nothing skipped    a reader gets each queue's offsets one after the other
    nothing vanished   what any reader or receipt named is there in the final read, unchanged
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["CHECKS", "History", "Place", "Read", "Value", "Violation", "check"]


class Value(NamedTuple):
    """A message as its body names it."""

    producer: str
    """One life of one producer: a restarted one has another name."""
    key: str
    sequence: int
    """Counts all messages of the producer."""


class Place(NamedTuple):
    """Where a message lies."""

    queue_id: int
    offset: int


class Read(NamedTuple):
    """A message as a reader got it."""

    place: Place
    value: Value


class History(NamedTuple):
    """What all clients saw."""

    sent: frozenset[Value]
    """Every message that was handed to a producer, whatever became of it."""
    acknowledged: Mapping[Value, Place]
    failed: frozenset[Value]
    """Refused with the promise that it is not stored."""
    readers: Mapping[str, Sequence[Read]]
    """Each reader's reads in their order. A reader that seeks is a new reader."""
    final: Sequence[Read]
    """Everything there is at the end, queue by queue."""


class Violation(NamedTuple):
    """A promise that was broken."""

    promise: str
    text: str


def check(history: History) -> list[Violation]:
    """Every violation in a history."""
    return [Violation(promise, text) for promise, rule in CHECKS.items() for text in rule(history)]


def _lost(history: History) -> Iterable[str]:
    final = {read.place: read.value for read in history.final}
    for value, place in history.acknowledged.items():
        if final.get(place) != value:
            yield f"{_name(value)} was acknowledged at {_at(place)}, there is {final.get(place)}"


def _invented(history: History) -> Iterable[str]:
    for read in _all_reads(history):
        if read.value not in history.sent:
            yield f"{_name(read.value)} at {_at(read.place)} was never sent"
        elif read.value in history.failed:
            yield f"{_name(read.value)} at {_at(read.place)} had failed for certain"


def _twice(history: History) -> Iterable[str]:
    places: dict[Value, Place] = {}
    for read in history.final:
        first = places.setdefault(read.value, read.place)
        if first != read.place:
            yield f"{_name(read.value)} lies at {_at(first)} and at {_at(read.place)}"


def _reordered(history: History) -> Iterable[str]:
    last: dict[tuple[str, str], Read] = {}
    for read in sorted(history.final):
        line = (read.value.producer, read.value.key)
        before = last.get(line)
        if before is not None and before.place.queue_id != read.place.queue_id:
            yield f"{_name(read.value)} lies in another queue than {_name(before.value)}"
        elif before is not None and before.value.sequence > read.value.sequence:
            yield f"{_name(read.value)} at {_at(read.place)} lies behind {_name(before.value)}"
        last[line] = read


def _skipped(history: History) -> Iterable[str]:
    for reader, reads in [*history.readers.items(), ("final", history.final)]:
        next_offset: dict[int, int] = {}
        for read in reads:
            queue_id, offset = read.place
            wanted = next_offset.get(queue_id, offset)
            if offset != wanted:
                yield f"reader {reader} got {_at(read.place)} instead of offset {wanted}"
            next_offset[queue_id] = offset + 1


def _vanished(history: History) -> Iterable[str]:
    """A place has one value for ever. What was seen of it first is kept to compare with."""
    final = {read.place: read.value for read in history.final}
    for reader, reads in history.readers.items():
        for read in reads:
            now = final.get(read.place)
            if now is None:
                yield f"reader {reader} saw {_name(read.value)} at {_at(read.place)}; it is gone"
            elif now != read.value:
                was = f"reader {reader} saw {_name(read.value)} at {_at(read.place)}"
                yield f"{was}; now it is {_name(now)}"


CHECKS: dict[str, Callable[[History], Iterable[str]]] = {
    "nothing lost": _lost,
    "nothing invented": _invented,
    "nothing twice": _twice,
    "nothing reordered": _reordered,
    "nothing skipped": _skipped,
    "nothing vanished": _vanished,
}


def _all_reads(history: History) -> Iterable[Read]:
    for reads in history.readers.values():
        yield from reads
    yield from history.final


def _name(value: Value) -> str:
    return f"{value.producer}:{value.key}:{value.sequence}"


def _at(place: Place) -> str:
    return f"queue {place.queue_id} offset {place.offset}"
