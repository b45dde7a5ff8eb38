"""The coordinator's core: decides on topics and groups, and answers once that is certain.

Owns the order of events around a decision. What is decided is up to `decisions.py`, the talk with
the shards to `publishing.py`, the state lies in `catalogue.py`; all about consumer groups is behind
`consumers.py`. Never sees a message.

    request ─► decision appended and applied ─► durable ─► DEFINE to the shards ─► answer

A request is decided against the state as it is, durable or not; but nothing decided leaves the
process before it is durable. So every answer, a refusal too, takes the journal's end at that moment
as its mark and waits until all below is durable (at once, mostly). The answer to a change waits,
too, until every shard that is there knows it: whoever has the answer can produce without meeting a
shard that knows nothing of the topic. With a shard down the others are enough; it is told when it
is back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..kernel.ports import Journal, Letter, Now
from ..protocol.codes import Code
from ..protocol.frames import FrameError, Route, unpack_route
from ..protocol.replies import error_reply, ok_reply
from ..protocol.verbs import Verb
from .catalogue import Catalogue
from .consumers import Consumers
from .decisions import Answer, Decisions, Policy
from .groups import Groups
from .ledger import Ledger
from .parking import MAILBOX, Asker
from .publishing import Publishing
from .release_clock import ReleaseClock
from .topics import Refused

__all__ = ["MAILBOX", "WAITING_MAX", "Coordinator"]

WAITING_MAX = 10_000
"""Answers that wait for the disk or for shards, then BUSY."""
BUSY_RETRY_MS = 200


class _Waiting(NamedTuple):
    """A request that is decided and may not be answered yet."""

    mark: int
    peer: bytes
    envelope: bytes
    asked: Route
    reply: list[bytes]

    def letter(self) -> Letter:
        return MAILBOX, self.peer, [self.envelope, *self.reply]


class Coordinator:
    """The core. Its links are `shard-0` and so on."""

    def __init__(
        self, journal: Journal, catalogue: Catalogue, groups: Groups, policy: Policy
    ) -> None:
        """`catalogue` and `groups` are projections of `journal`, recovered."""
        self._journal = journal
        self._catalogue = catalogue
        ledger = Ledger(journal)
        self._decisions = Decisions(
            ledger, catalogue, policy, has_group=lambda name: groups.named(name) is not None
        )
        self._publishing = Publishing(
            policy.shards,
            catalogue,
            epoch=journal.epoch,
            live_ids=self._decisions.live_ids,
            is_durable=self._decisions.is_durable,
        )
        self._consumers = Consumers(
            ledger, catalogue, groups, self._decisions, self._publishing, shards=policy.shards
        )
        self._release_clock = ReleaseClock(
            policy.shards, epoch=journal.epoch, is_told=self._publishing.is_complete
        )
        self._for_disk: deque[_Waiting] = deque()
        self._for_shards: deque[_Waiting] = deque()
        self._stopping = False
        self._requests = self._refused = self._malformed = 0

    # --- the core's port ---------------------------------------------------------------------

    @property
    def wake_at_ms(self) -> float | None:
        moments = (
            self._publishing.wake_at_ms,
            self._consumers.wake_at_ms,
            self._release_clock.wake_at_ms,
        )
        return min((one for one in moments if one is not None), default=None)

    def handle(self, letters: Sequence[Letter], now: Now) -> list[Letter]:
        """Requests come to the mailbox, answers of shards over the links."""
        out: list[Letter] = []
        for letter in letters:
            if letter[0] == MAILBOX:
                self._request(letter, now, out)
            else:
                self._shard_answered(letter, now)
        return out + self._released(now)

    def link_changed(self, link: str, up: bool, now: Now) -> list[Letter]:
        """A shard that came is told everything; one that went holds up nobody."""
        self._publishing.link_changed(link, up)
        self._consumers.link_changed(link, up, now)
        self._release_clock.link_changed(link, up, now)
        return self._released(now)

    def durable_advanced(self, now: Now) -> list[Letter]:
        return self._released(now)

    def stop(self, now: Now) -> list[Letter]:
        """Answers all who wait: whether it was done they learn by asking again."""
        self._stopping = True
        waiting = [*self._for_disk, *self._for_shards]
        self._for_disk.clear()
        self._for_shards.clear()
        text = "the coordinator stops"
        refused = [
            (MAILBOX, one.peer, [one.envelope, *error_reply(one.asked, Code.SHUTTING_DOWN, text)])
            for one in waiting
        ]
        return refused + self._consumers.stop(text, now)

    def drained(self) -> bool:
        return not self._for_disk and not self._for_shards

    def stats(self) -> dict[str, Any]:
        """Counters since the start, and what is there now."""
        return {
            "topics": len(self._catalogue),
            "queues": sum(len(topic.places) for topic in self._catalogue.all()),
            "shards_up": self._publishing.shards_up,
            "requests": self._requests,
            "refused": self._refused,
            "malformed_requests": self._malformed,
            "waiting_for_disk": len(self._for_disk),
            "waiting_for_shards": len(self._for_shards),
            "epoch": self._journal.epoch,
            "journal_end": self._journal.end,
            "journal_durable": self._journal.durable,
            **self._consumers.stats(),
            **self._release_clock.stats(),
        }

    def ensure_system_topic(self, name: str, now: Now) -> list[Letter]:
        """Creates a topic of the system (`%...`), one queue on each shard, if it is missing.

        Raises:
            Refused: the journal takes no record just now.
        """
        self._decisions.ensure_system_topic(name, now)
        return self._released(now)

    # --- requests ----------------------------------------------------------------------------

    def _request(self, letter: Letter, now: Now, out: list[Letter]) -> None:
        _, peer, frames = letter
        try:
            asked = unpack_route(frames[1])
        except (FrameError, IndexError):
            self._malformed += 1
            return
        self._requests += 1
        reply = self._not_taken(asked)
        if reply is not None:
            # It rests on nothing that has to be durable, and it must not fill what is full.
            self._refused += 1
            out.append((MAILBOX, peer, [frames[0], *reply]))
            return
        waits_for_shards = False
        header = frames[2] if len(frames) > 2 else b""
        try:
            answer = self._decide(Asker(peer, frames[0], asked), header, now)
            if answer is None:
                return
            waits_for_shards = answer.waits_for_shards
            reply = ok_reply(asked, answer.header)
        except Refused as refused:
            self._refused += 1
            wait_ms = refused.retry_after_ms
            reply = error_reply(asked, refused.code, str(refused), retry_after_ms=wait_ms)
        waiting = _Waiting(self._journal.end, peer, frames[0], asked, reply)
        (self._for_shards if waits_for_shards else self._for_disk).append(waiting)

    def _decide(self, asker: Asker, header: bytes, now: Now) -> Answer | None:
        if self._consumers.has(asker.route.verb):
            return self._consumers.decide(asker, header, now)
        return self._decisions.decide(asker.route, header, now)

    def _not_taken(self, asked: Route) -> list[bytes] | None:
        """The answer to a request that is not even looked at."""
        if self._stopping:
            return error_reply(asked, Code.SHUTTING_DOWN, "the coordinator stops")
        if len(self._for_disk) + len(self._for_shards) >= WAITING_MAX:
            text = f"{WAITING_MAX} answers wait for the disk or for shards"
            return error_reply(asked, Code.BUSY, text, retry_after_ms=BUSY_RETRY_MS)
        return None

    def _shard_answered(self, letter: Letter, now: Now) -> None:
        link, _, frames = letter
        try:
            route = unpack_route(frames[1])
        except (FrameError, IndexError):
            self._malformed += 1
            return
        header = frames[2] if len(frames) > 2 else b""
        if route.verb == Verb.GRANT:
            self._consumers.replied(link, route, header, now)
        elif route.verb == Verb.RELEASE:
            self._release_clock.replied(link, route, header, now)
        else:
            self._publishing.replied(link, route, now)

    def _released(self, now: Now) -> list[Letter]:
        """Whatever may leave now: what shards are told, and answers."""
        durable = self._journal.durable
        for topic_id, mark in self._decisions.settled(durable):
            self._publishing.changed(topic_id, mark)
            self._consumers.topic_changed(topic_id, now)
        out = self._publishing.letters(now)
        out += self._consumers.turn(now)
        out += self._release_clock.letters(now)
        while self._for_disk and self._for_disk[0].mark <= durable:
            out.append(self._for_disk.popleft().letter())
        if self._for_shards and self._for_shards[0].mark <= durable:
            untold = self._publishing.lowest_mark()
            while self._for_shards:
                mark = self._for_shards[0].mark
                if mark > durable or (untold is not None and untold <= mark):
                    break
                out.append(self._for_shards.popleft().letter())
        return out
