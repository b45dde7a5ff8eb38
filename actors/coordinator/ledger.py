"""The ledger: decisions go into the coordinator's journal, unless that takes none just now.

Owns the refusal of a full or damaged disk as an answer. Knows no decision.
"""

from __future__ import annotations

from ..kernel.ports import Journal, Now, Refusal
from ..protocol.codes import Code
from .records import StateRecord, encode_state, holder_of
from .topics import Refused

__all__ = ["REFUSAL_RETRY_MS", "Ledger"]

REFUSAL_RETRY_MS = 1_000
_REFUSAL_CODES = {
    Refusal.BUSY: Code.BUSY,
    Refusal.DISK_FULL: Code.DISK_FULL,
    Refusal.READ_ONLY: Code.READ_ONLY,
}


class Ledger:
    """Appends to one journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @property
    def end(self) -> int:
        """Lsn behind the last decision."""
        return self._journal.end

    @property
    def durable(self) -> int:
        """Decisions below this lsn may leave the process."""
        return self._journal.durable

    @property
    def epoch(self) -> int:
        return self._journal.epoch

    @property
    def is_damaged(self) -> bool:
        """Something may be missing from the state that does exist."""
        return self._journal.refusal(0) is Refusal.READ_ONLY

    def append(self, record: StateRecord, now: Now) -> int:
        """Appends and applies a decision; returns its mark, the journal's end behind it.

        Raises:
            Refused: the journal takes nothing just now; nothing was changed.
        """
        payload = encode_state(record)
        refusal = self._journal.refusal(len(payload))
        if refusal is not None:
            code = _REFUSAL_CODES[refusal]
            raise Refused(code, refusal.value, retry_after_ms=REFUSAL_RETRY_MS)
        self._journal.append_state(payload, now, queue=holder_of(record))
        return self._journal.end
