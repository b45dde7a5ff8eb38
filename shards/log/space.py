"""Whether there is room for user data.

Owns the reasons to refuse before anything is accepted. Knows numbers only.

A full disk must be met before a promise is made, never by a write. Two watermarks: free space below
`free_bytes_min`, or no next segment to be had while the active one is used up to its reserve. State
records (acks, grants, outcomes, deletions) go on through both, because they are what makes room;
they live on what the watermark and the reserve keep free. Data that lets older data go (what was
scheduled holds the log back until it is copied) goes on, too, but only through the upper half of
the first. Everything resumes by itself.
"""

from __future__ import annotations

from .options import JournalOptions

__all__ = ["Space"]


class Space:
    """Free room, as of the last look."""

    def __init__(self, options: JournalOptions) -> None:
        self._options = options
        self.free_bytes = 0
        self.next_refused = False
        """The disk had no room for the next segment when it was last asked."""

    def looked(self, free_bytes: int) -> None:
        """A fresh reading of the disk's free space."""
        self.free_bytes = free_bytes

    @property
    def full(self) -> bool:
        """User data is refused, whatever its size."""
        return self.free_bytes < self._options.free_bytes_min

    @property
    def full_to_finish(self) -> bool:
        """So is data that lets older data go."""
        return self.free_bytes < self._options.free_bytes_min // 2

    @property
    def tight(self) -> bool:
        """Old segments should go early."""
        return self.free_bytes < self._options.free_bytes_retain

    def fits(self, used_bytes: int, allocated_bytes: int, payload_bytes: int) -> bool:
        """True if the active segment takes `payload_bytes` without touching its reserve."""
        return used_bytes + payload_bytes <= allocated_bytes - self._options.reserve_bytes
