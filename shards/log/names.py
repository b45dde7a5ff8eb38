"""Names of the files of a log. Everything in them is a number that the log itself gave.

Owns the mapping between names and numbers; touches no file.

    00000000000000000000.log    a segment, named by the lsn of its first byte
    00000000000000000000.idx    the queue index of a sealed segment
    next.tmp                    the next segment, preallocated beside the loop and not yet in use
    next-at-once.tmp            the same, where the loop could not wait
    LOCK                        who holds the directory
    accepted.json               damages whose loss the operator has accepted
    set-aside/<lsn>-<epoch>-<durable>.log.pending, then .log
                                bytes that recovery took out of the log: from where, before which
                                epoch, and D as it was then
"""

from __future__ import annotations

__all__ = [
    "ACCEPTED", "DRAFT_SUFFIX", "INDEX_SUFFIX", "LOCK", "LOG_SUFFIX", "NEXT", "NEXT_AT_ONCE",
    "SET_ASIDE", "base_of", "durable_of", "epoch_of", "index_name", "log_name", "lsn_of", "path_of",
    "set_aside_name",
]  # fmt: skip

LOCK = "LOCK"
NEXT = "next.tmp"
NEXT_AT_ONCE = "next-at-once.tmp"
ACCEPTED = "accepted.json"
SET_ASIDE = "set-aside"

_DIGITS = 20
LOG_SUFFIX = ".log"
INDEX_SUFFIX = ".idx"
DRAFT_SUFFIX = ".tmp"


def path_of(directory: str, name: str) -> str:
    """`name` inside `directory`."""
    return f"{directory}/{name}"


def log_name(base: int) -> str:
    """Name of the segment whose first byte has the lsn `base`."""
    return f"{base:0{_DIGITS}d}{LOG_SUFFIX}"


def index_name(base: int) -> str:
    """Name of that segment's index."""
    return f"{base:0{_DIGITS}d}{INDEX_SUFFIX}"


def set_aside_name(lsn: int, epoch: int, durable: int) -> str:
    """Name of the file with the bytes that stood from `lsn` on, taken out before `epoch`, when
    `durable` was the largest durable lsn that the log named."""
    return f"{lsn:0{_DIGITS}d}-{epoch:010d}-{durable:0{_DIGITS}d}{LOG_SUFFIX}"


def lsn_of(path: str) -> int:
    """The position in the name of a set-aside file."""
    return int(path.rpartition("/")[2].partition("-")[0])


def epoch_of(path: str) -> int:
    """The epoch in the name of a set-aside file."""
    return int(path.rpartition("/")[2].split("-")[1])


def durable_of(path: str) -> int:
    """The durable lsn in the name of a set-aside file."""
    return int(path.rpartition("/")[2].split("-")[2].partition(".")[0])


def base_of(name: str, suffix: str = LOG_SUFFIX) -> int | None:
    """The lsn that a name with `suffix` stands for, None if it is not such a name."""
    digits = name.removesuffix(suffix)
    fits = digits != name and len(digits) == _DIGITS and digits.isascii() and digits.isdigit()
    return int(digits) if fits else None
