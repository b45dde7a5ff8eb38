"""What processes cost: CPU seconds and peak resident memory, by name.

Owns the sampling of one process tree. Must not know what the processes do.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from itertools import pairwise

import msgspec
import psutil

__all__ = ["ProcessFigures", "Watch", "role_of"]

_INTERVAL_SECONDS = 0.25


class ProcessFigures(msgspec.Struct, kw_only=True):
    """One process during a run."""

    name: str
    pid: int
    cpu_seconds: float = 0.0
    rss_peak_bytes: int = 0


def role_of(command_line: Iterable[str]) -> str:
    """What a process of ours is called, read from its command line.

    `python -P -m shardmq.shards.process shard-0` is `shard-0`; without a name it is the module.
    """
    words = list(command_line)
    for index, (word, following) in enumerate(pairwise(words)):
        if word == "-m" and following.startswith("shardmq."):
            name = words[index + 2 : index + 3]
            return name[0] if name else following.removeprefix("shardmq.")
    return words[0] if words else "?"


class Watch:
    """Samples the descendants of a process that exist when it starts, until it is left."""

    def __init__(self, pid: int, *, besides: Iterable[int] = ()) -> None:
        self._root = psutil.Process(pid)
        self._besides = frozenset(besides)
        self._figures: dict[int, ProcessFigures] = {}
        self._started: dict[int, float] = {}
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        for process in self._processes():
            try:
                figures = ProcessFigures(name=role_of(process.cmdline()), pid=process.pid)
                self._started[process.pid] = _cpu_seconds(process)
            except psutil.Error:
                continue  # it ended while we looked
            self._figures[process.pid] = figures
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._left.set()
        self._thread.join()
        self._sample()

    def figures(self) -> list[ProcessFigures]:
        """A row for each process, in the order of their start."""
        return list(self._figures.values())

    def _run(self) -> None:
        while not self._left.wait(_INTERVAL_SECONDS):
            self._sample()

    def _processes(self) -> list[psutil.Process]:
        children = self._root.children(recursive=True)
        return [one for one in children if one.pid not in self._besides]

    def _sample(self) -> None:
        for process in self._processes():
            figures = self._figures.get(process.pid)
            if figures is None:
                continue
            try:
                figures.rss_peak_bytes = max(figures.rss_peak_bytes, process.memory_info().rss)
                spent = _cpu_seconds(process) - self._started[process.pid]
            except psutil.Error:
                continue  # it ended while we looked; its last sample stands
            figures.cpu_seconds = round(spent, 3)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
