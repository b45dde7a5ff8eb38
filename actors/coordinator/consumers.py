"""Consumers: the coordinator's part in consumer groups, as one thing.

Owns which parts that is made of and the order of a turn. `coordinator.py` hands it requests about
groups and what shards answer to GRANT, and sends what it gives back.

    group_verbs ─► membership, rebalancing ─► division, assignment
              │                     └───────► grants ─► granting ─► shards
              └──► resetting ─────────────────────────────┘
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ..kernel.ports import Letter, Now
from ..protocol.frames import Route
from .catalogue import Catalogue
from .decisions import Answer, Decisions
from .granting import Granting
from .group_verbs import GroupVerbs
from .groups import Groups
from .ledger import Ledger
from .membership import Membership
from .parking import Asker
from .plans import Plans
from .publishing import Publishing
from .rebalancing import Rebalancing
from .resetting import Resetting

__all__ = ["Consumers"]


class Consumers:
    """Consumer groups in one coordinator."""

    def __init__(
        self,
        ledger: Ledger,
        catalogue: Catalogue,
        groups: Groups,
        decisions: Decisions,
        publishing: Publishing,
        *,
        shards: int,
    ) -> None:
        self._ledger = ledger
        self._groups = groups
        self._plans = Plans(catalogue)
        self._membership = Membership()
        self._granting = Granting(
            shards, epoch=ledger.epoch, live_ids=self._live_ids, is_told=publishing.has_sent
        )
        self._rebalancing = Rebalancing(
            ledger, groups, self._plans, self._membership, self._granting
        )
        self._resetting = Resetting(ledger, self._plans, self._rebalancing, self._granting)
        self._verbs = GroupVerbs(
            ledger,
            catalogue,
            decisions,
            groups,
            self._plans,
            self._membership,
            self._rebalancing,
            self._resetting,
            group_gone=self._group_gone,
        )
        self._leaving: deque[tuple[int, list[int]]] = deque()
        """(mark, ids) of what was deleted and is not durably gone."""
        self._is_started = False

    @property
    def wake_at_ms(self) -> float | None:
        moments = (
            self._rebalancing.wake_at_ms,
            self._granting.wake_at_ms,
            self._resetting.wake_at_ms,
        )
        return min((one for one in moments if one is not None), default=None)

    def has(self, verb: int) -> bool:
        """Whether requests of the verb are answered here."""
        return self._verbs.has(verb)

    def decide(self, asker: Asker, header: bytes, now: Now) -> Answer | None:
        """The answer to a request; None if it comes out of a later turn.

        Raises:
            Refused: see `GroupVerbs.decide`.
        """
        self._start(now)
        return self._verbs.decide(asker, header, now)

    def replied(self, link: str, route: Route, header: bytes, now: Now) -> None:
        """A shard answered a GRANT."""
        for outcome in self._granting.replied(link, route, header, now):
            self._resetting.outcome(outcome)
            if not outcome.probe:
                self._rebalancing.outcome(outcome, now)

    def link_changed(self, link: str, up: bool, now: Now) -> None:
        """A shard came or went."""
        self._start(now)
        shard = int(link.removeprefix("shard-"))
        self._granting.link_changed(link, up, self._rebalancing.in_force(shard) if up else ())
        # A link that came up again may have been down unseen: what was asked is lost.
        self._resetting.shard_down(shard)

    def topic_changed(self, topic_id: int, now: Now) -> None:
        """A topic is new, has changed or is gone; durably."""
        self._start(now)
        self._rebalancing.topic_changed(topic_id, now)

    def turn(self, now: Now) -> list[Letter]:
        """What time, members and shards have made necessary."""
        self._start(now)
        durable = self._ledger.durable
        while self._leaving and self._leaving[0][0] <= durable:
            self._leaving.popleft()
            self._granting.groups_changed()
        out = self._rebalancing.turn(now)
        out += self._granting.letters(durable, now)
        return out + self._resetting.turn(now)

    def stop(self, text: str, now: Now) -> list[Letter]:
        """Answers all who wait here."""
        return self._rebalancing.stop(text, now) + self._resetting.stop(text)

    def stats(self) -> dict[str, Any]:
        """Counters since the start, and what is there now."""
        members = self._membership
        return {
            "groups": len(self._groups),
            "members": len(members),
            "members_joined": members.joined,
            "members_left": members.left,
            "members_expired": members.expired,
            "events_parked": self._rebalancing.parked,
            "resets_waiting": len(self._resetting),
            "rebalances": self._rebalancing.rebalances,
            "releases_forced": self._rebalancing.forced,
            "grants_pending": self._granting.pending,
            "grants_sent": self._granting.sent,
            "grants_resent": self._granting.resent,
        }

    def _start(self, now: Now) -> None:
        """The first thing that happens starts the leases of those who held queues before."""
        if not self._is_started:
            self._is_started = True
            self._rebalancing.start(now)

    def _group_gone(self, ids: list[int], mark: int) -> None:
        self._leaving.append((mark, ids))

    def _live_ids(self) -> tuple[list[int], int] | None:
        if self._ledger.is_damaged:
            return None
        ids = {*self._groups.ids(), *(one for _, gone in self._leaving for one in gone)}
        return sorted(ids), self._groups.next_id - 1
