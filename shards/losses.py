"""Losses: entries of the schedule whose message can never be copied, ended loudly.

Owns the record and the figure. Knows no reason but the one that it is told.

They are ended, or they would be tried for ever, and hold the log back for as long.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from shardmq.actors.kernel.logs import fields
from shardmq.actors.kernel.ports import Now, QueueLog

from .near import NearEntry
from .state.records import EntriesEnded, encode_state

__all__ = ["Failed", "Losses"]

_log = logging.getLogger("shardmq.shard")


class Failed(NamedTuple):
    """An entry that cannot be copied, now or ever."""

    entry: NearEntry
    reason: str


class Losses:
    """See the module."""

    def __init__(self, journal: QueueLog) -> None:
        self._journal = journal
        self.count = 0

    def end(self, failed: list[Failed], now: Now) -> None:
        """End those of `failed` that have not ended meanwhile."""
        by_record: dict[tuple[int, str], list[NearEntry]] = {}
        for entry, reason in failed:
            if entry.period.is_live(entry.at):
                by_record.setdefault((entry.period.queue, reason), []).append(entry)
        for (queue, reason), found in by_record.items():
            names = [one.period.name(one.at) for one in found]
            self._journal.append_state(encode_state(EntriesEnded(names, reason)), now, queue=queue)
            self.count += len(found)
            _log.error(
                "scheduled messages are lost",
                extra=fields(queue=queue, messages=len(found), reason=reason),
            )
