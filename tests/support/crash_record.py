"""What the clients of a crash loop wrote down, as one history.

Owns the reading of the workers' files. Must not judge: `support.checkers` does.

A line that a kill cut in half is no statement and is dropped; only a file's last line can be one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .checkers import History, Place, Read, Value
from .recovery import Answer

__all__ = ["Counts", "Record"]


class Counts(NamedTuple):
    """How much happened."""

    sent: int
    acknowledged: int
    failed: int
    unknown: int
    read: int


class Record:
    """The notes of all clients of one round."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self._sent: dict[Value, int] = {}
        self._acknowledged: dict[Value, Place] = {}
        self._failed: set[Value] = set()
        self._unknown = 0
        self._readers: dict[str, list[Read]] = {}

    def add_producer(self, name: str, notes: Path, shard_of: dict[int, str]) -> None:
        """Takes in a producer's notes; `shard_of` says where each queue lives."""
        by_sequence: dict[str, Value] = {}
        for kind, *words in _lines(notes):
            if kind == "S":
                sequence, key, at_ns = words
                value = Value(name, key, int(sequence))
                by_sequence[sequence] = value
                self._sent[value] = int(at_ns)
                continue
            value = by_sequence[words[0]]
            if kind == "A":
                place = Place(int(words[1]), int(words[2]))
                self._acknowledged[value] = place
                shard = shard_of[place.queue_id]
                self.answers.append(Answer(self._sent[value], int(words[3]), shard))
            elif kind == "F":
                self._failed.add(value)
            else:
                self._unknown += 1

    def add_reader(self, notes: Path) -> None:
        """Takes in a reader's notes; each start and each hop is a reader of its own."""
        current: list[Read] = []
        for kind, *words in _lines(notes):
            if kind == "N":
                current = self._readers.setdefault(words[0], [])
            elif kind == "R":
                current.append(read_of(int(words[0]), int(words[1]), words[2]))

    def history(self, final: list[Read]) -> History:
        """All of it, with what is there at the end."""
        return History(
            sent=frozenset(self._sent),
            acknowledged=self._acknowledged,
            failed=frozenset(self._failed),
            readers=self._readers,
            final=final,
        )

    def counts(self) -> Counts:
        read = sum(map(len, self._readers.values()))
        done = len(self._acknowledged)
        return Counts(len(self._sent), done, len(self._failed), self._unknown, read)


def read_of(queue_id: int, offset: int, body: str) -> Read:
    """A message as a reader got it; a body that no worker made is a value that nobody sent."""
    producer, _, rest = body.partition(":")
    key, _, sequence = rest.partition(":")
    number = int(sequence) if sequence.isdigit() else -1
    return Read(Place(queue_id, offset), Value(producer, key, number))


def _lines(notes: Path) -> Iterable[list[str]]:
    if not notes.exists():
        return
    for line in notes.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            yield line.split()
