"""What recovery does about a damage: a decision table.

Owns the table. Knows nothing of files; `recovery` asks it and acts.

D is the largest durable lsn that any sound record names: everything below D had been synced.

* At or above D a damage is the end of what a crash left: nothing there was promised to be durable,
  a disk may keep later pages and lose earlier ones, so the log ends at the first damage, even if
  sound records follow. Their bytes are set aside, not thrown away, because they may have been
  acknowledged in the moment between a sync and the first record that names it.
* Below D a damage is rot: what was durable is gone, or wrong. The stretch is left out and reported
  and the rest is served. But a lost state record (a grant, an ack, an outcome) would change
  decisions, so if one may have been lost since the last whole snapshot, the log opens read-only
  until the operator has looked.

Five facts make a case; a test shows that every combination of them meets exactly one row.
"""

from __future__ import annotations

from enum import Enum
from itertools import product
from typing import NamedTuple

from .scan import Found

__all__ = ["CASES", "TABLE", "Action", "Case", "Row", "decide"]


class Action(Enum):
    """What becomes of a damaged stretch."""

    END = "the log ends here, nothing is missing"
    SET_ASIDE = "the log ends here, what follows is set aside: it may have been acknowledged"
    QUARANTINE = "this stretch is left out, all else is served"
    READ_ONLY = "this stretch is left out, and the log is read-only until the operator decides"


class Case(NamedTuple):
    """The facts about one damage."""

    below_durable: bool
    found: Found
    follows: bool
    """Sound records stand behind it."""
    state_possible: bool
    """It may have been a state record behind the start of the last whole snapshot."""
    accepted: bool
    """The operator has accepted the loss of this very stretch."""


class Row(NamedTuple):
    """One row: None matches anything, a set matches its members."""

    label: str
    below_durable: bool
    found: frozenset[Found] | None
    follows: bool | None
    state_possible: bool | None
    accepted: bool | None
    action: Action

    def matches(self, case: Case) -> bool:
        return (
            self.below_durable == case.below_durable
            and (self.found is None or case.found in self.found)
            and self.follows in (None, case.follows)
            and self.state_possible in (None, case.state_possible)
            and self.accepted in (None, case.accepted)
        )


_ZEROS = frozenset({Found.ZEROS})
_MISSING = frozenset({Found.MISSING})
_TORN = frozenset({Found.NOISE, Found.BODY})
_STALE = frozenset({Found.STALE})

TABLE = (
    #   label                    below D  found     follows state  accepted  action
    Row("clean end",             False,   _ZEROS,   False,  None,  None,     Action.END),
    Row("hole in the tail",      False,   _ZEROS,   True,   None,  None,     Action.SET_ASIDE),
    Row("tail lost at a roll",   False,   _MISSING, None,   None,  None,     Action.SET_ASIDE),
    Row("torn tail",             False,   _TORN,    None,   None,  None,     Action.SET_ASIDE),
    Row("stale tail",            False,   _STALE,   None,   None,  None,     Action.SET_ASIDE),
    Row("rot in data",           True,    None,     None,   False, None,     Action.QUARANTINE),
    Row("rot, maybe in state",   True,    None,     None,   True,  False,    Action.READ_ONLY),
    Row("rot that was accepted", True,    None,     None,   True,  True,     Action.QUARANTINE),
)  # fmt: skip

CASES = tuple(
    Case(*facts)
    for facts in product((False, True), Found, (False, True), (False, True), (False, True))
)


def decide(case: Case) -> Row:
    """The row of `case`."""
    rows = [row for row in TABLE if row.matches(case)]
    assert len(rows) == 1, f"{case} meets {[row.label for row in rows]}"
    return rows[0]
