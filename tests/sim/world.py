"""Virtual time: one heap of events, one seeded source of chance, a wall clock that may step.

Owns the order in which things happen and the trace of what happened. Must not know brokers, disks
or messages. Whoever wants something to happen puts an action into the heap; ties are broken by the
order of asking, so that a seed names exactly one history.

The trace is a running checksum over everything noted (two runs of a seed must agree on it) and its
tail, which is printed when a seed fails.
"""

from __future__ import annotations

import heapq
import random
import zlib
from collections import deque
from collections.abc import Callable
from itertools import count

from shardmq.actors.kernel.ports import Now

WALL_START_MS = 1_700_000_000_000
TAIL_LINES = 400


class Appointment:
    """An action in the heap; cancelling it is free."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class World:
    """Everything that happens is an event here; nothing else decides what comes next."""

    def __init__(self, seed: int, echo: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.mono_ms = 1_000.0
        self.wall_step_ms = 0
        self.events = 0
        self.fingerprint = 0
        self.tail: deque[tuple[float, str, str, object]] = deque(maxlen=TAIL_LINES)
        self._echo = echo
        self._heap: list[tuple[float, int, Appointment]] = []
        self._order = count()

    def now(self) -> Now:
        wall_ms = WALL_START_MS + int(self.mono_ms) + self.wall_step_ms
        return Now(self.mono_ms, wall_ms)

    def after(self, delay_ms: float, action: Callable[[], None]) -> Appointment:
        """Runs `action` in `delay_ms` of virtual time."""
        return self.at(self.mono_ms + max(0.0, delay_ms), action)

    def at(self, mono_ms: float, action: Callable[[], None]) -> Appointment:
        appointment = Appointment(action)
        due_ms = max(mono_ms, self.mono_ms)
        heapq.heappush(self._heap, (due_ms, next(self._order), appointment))
        return appointment

    def run_until(self, mono_ms: float) -> None:
        """Performs all events up to `mono_ms`, in order."""
        self.run_while(lambda: True, mono_ms - self.mono_ms)

    def run_while(self, condition: Callable[[], bool], limit_ms: float) -> bool:
        """Performs events while `condition` holds, for at most `limit_ms`; True if it ended."""
        end = self.mono_ms + limit_ms
        heap = self._heap
        while condition():
            if not heap or heap[0][0] > end:
                self.mono_ms = end
                return False
            self.mono_ms, _, appointment = heapq.heappop(heap)
            action = appointment.action
            if action is not None:
                self.events += 1
                action()
        return True

    # --- what happened -----------------------------------------------------------------------

    def note(self, who: str, what: str, detail: object = "") -> None:
        """One line of the trace. `detail` is formatted only if somebody reads it, so it must not
        change afterwards; `who` and `what` and the time go into the fingerprint."""
        mark = f"{self.mono_ms:.6f}{who}{what}".encode()
        self.fingerprint = zlib.crc32(mark, self.fingerprint)
        line = (self.mono_ms, who, what, detail)
        self.tail.append(line)
        if self._echo is not None:
            self._echo(shown(line))

    def stamp(self, frames: list[bytes]) -> None:
        """Takes the bytes of a message into the fingerprint."""
        fingerprint = self.fingerprint
        for frame in frames:
            fingerprint = zlib.crc32(frame, fingerprint)
        self.fingerprint = fingerprint


def shown(line: tuple[float, str, str, object]) -> str:
    """A line of the trace for people."""
    mono_ms, who, what, detail = line
    text = detail() if callable(detail) else detail
    return f"{mono_ms:12.3f}  {who:<14} {what:<14} {text}"


class SimClock:
    """The Clock port over a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> Now:
        return self._world.now()


class SimRandomness:
    """The Randomness port over a world's chance."""

    def __init__(self, world: World) -> None:
        self._chance = world.chance

    def u64(self) -> int:
        return self._chance.getrandbits(64)

    def uniform(self, low: float, high: float) -> float:
        return self._chance.uniform(low, high)
