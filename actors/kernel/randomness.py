"""The production source of chance: ids that cannot be guessed, and jitter.

Owns: the call to the operating system. Must not know what the numbers become.
"""

from __future__ import annotations

import os

__all__ = ["SystemRandomness"]


class SystemRandomness:
    """Random numbers from the operating system."""

    __slots__ = ()

    def u64(self) -> int:
        """64 random bits."""
        return int.from_bytes(os.urandom(8), "little")

    def uniform(self, low: float, high: float) -> float:
        """A number from `low` to `high`, `high` itself excluded."""
        return low + (high - low) * ((self.u64() >> 11) * 2.0**-53)
