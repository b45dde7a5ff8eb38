"""The production clock: the one place in ShardMQ that reads the time.

Owns: the two readings behind `Now`. Must not know who asks. Everything else takes a `Clock`, so
that tests and the simulator decide how late it is.
"""

from __future__ import annotations

import time

from .ports import Now

__all__ = ["SystemClock"]


_mono, _wall = time.monotonic, time.time_ns
_tuple = tuple.__new__  # Now's own constructor would double the cost; this runs twice a turn


class SystemClock:
    """Time from the operating system."""

    __slots__ = ()

    def now(self) -> Now:
        """Both clocks, read together."""
        return _tuple(Now, (_mono() * 1e3, _wall() // 1_000_000))
