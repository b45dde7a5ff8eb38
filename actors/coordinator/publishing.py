"""Publishing: every shard is told each topic as it is now, until it has said that it knows.

Owns what each shard still has to be told, and the DEFINE that is out. Knows no rules and no
requests; the catalogue is only asked for the present state of a topic.

A change is named by its *mark*, the journal's end behind its record. Marks grow, and who waits for
a change waits until no shard that is there still has something with that mark or a lower one before
it. One DEFINE at a time is out to a shard; what changes meanwhile waits for the next one, which
takes all of it. So a burst of changes costs a few messages, and each shard meets each topic in the
order of its versions.

A shard whose link came up knows nothing for certain: it is told the ids of all topics first (what
is not among them is gone), then every topic, in pieces. Until that is done it holds up everybody
who waits. A shard that is not there holds up nobody, nor does one that refuses (a full disk): the
change is durable here and will reach it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

from ..kernel.ports import Letter, Now
from ..protocol.codec import encode_header
from ..protocol.codes import Code
from ..protocol.frames import Route, pack_envelope, pack_request
from ..protocol.limits import KIB
from ..protocol.messages import Define, TopicRoute
from ..protocol.verbs import Verb
from .catalogue import Catalogue
from .topics import route_bytes, route_of

__all__ = ["DEFINE_BYTES_MAX", "RETRY_MS", "Publishing"]

DEFINE_BYTES_MAX = 256 * KIB
"""A shard takes such a piece in some milliseconds (a single larger topic goes alone)."""
RETRY_MS = 2_000.0
"""A DEFINE that is not answered for so long, or was refused, is sent again."""
FULL_SERIES_MARK = 0
"""Lower than every mark, so that an unfinished series holds up all who wait."""
_EXISTENCE = 0
"""Stands among topic ids, which start at 1, for "which topics exist"."""


class _Shard:
    """What one shard still has to be told."""

    __slots__ = (
        "changed",
        "deleted",
        "is_complete",
        "is_new",
        "link",
        "out",
        "out_id",
        "refuses",
        "retry_at_ms",
        "up",
    )

    def __init__(self, link: str) -> None:
        self.link = link
        self.up = False
        self.forget()

    def forget(self) -> None:
        """Nothing is on the way and nothing is known of it."""
        self.is_new = True
        """It has to be told which topics exist."""
        self.is_complete = False
        """It was told all that there was when its link came up."""
        self.refuses = False
        self.changed: dict[int, int] = {}
        """Topic id -> lowest mark that it was not told."""
        self.deleted: dict[int, int] = {}
        self.out: dict[int, int] | None = None
        """What the DEFINE that is out covers."""
        self.out_id = 0
        self.retry_at_ms = 0.0

    def lowest_mark(self) -> int | None:
        if self.is_new:
            return FULL_SERIES_MARK
        out = self.out or {}
        marks = chain(self.changed.values(), self.deleted.values(), out.values())
        return min(marks, default=None)


class Publishing:
    """Tells `shards` shards, over the links `shard-0` and so on."""

    def __init__(
        self,
        shards: int,
        catalogue: Catalogue,
        *,
        epoch: int,
        live_ids: Callable[[], list[int] | None],
        is_durable: Callable[[int], bool],
    ) -> None:
        """
        Args:
            epoch: the coordinator's, for envelopes.
            live_ids: ids of all topics that may exist: a deletion that is not durable has not
                happened yet. None if that cannot be told, and nothing may be dropped.
            is_durable: whether the present state of a topic may leave the process.
        """
        self._catalogue = catalogue
        self._envelope_epoch = epoch
        self._live_ids = live_ids
        self._is_durable = is_durable
        self._by_link = {f"shard-{shard}": _Shard(f"shard-{shard}") for shard in range(shards)}
        self._request_id = 0

    @property
    def wake_at_ms(self) -> float | None:
        """When the next DEFINE has to be sent again."""
        waiting = [
            shard.retry_at_ms
            for shard in self._by_link.values()
            if shard.up and (shard.out is not None or shard.refuses)
        ]
        return min(waiting, default=None)

    @property
    def shards_up(self) -> int:
        return sum(shard.up for shard in self._by_link.values())

    def lowest_mark(self) -> int | None:
        """The lowest mark that a shard which is there was not told; None if all know all."""
        marks = [
            mark
            for shard in self._by_link.values()
            if shard.up and not shard.refuses and (mark := shard.lowest_mark()) is not None
        ]
        return min(marks, default=None)

    def is_complete(self, link: str) -> bool:
        """Whether a shard has heard the full series since its link came up."""
        return self._by_link[link].is_complete

    def has_sent(self, link: str) -> bool:
        """Whether a shard knows every topic, or reads of it before whatever is sent now."""
        shard = self._by_link[link]
        return not shard.is_new and not shard.changed

    def changed(self, topic_id: int, mark: int) -> None:
        """The change of a topic that has `mark` is durable: tell it."""
        is_deleted = self._catalogue.get(topic_id) is None
        for shard in self._by_link.values():
            if not shard.up:
                continue
            if is_deleted:
                shard.deleted.setdefault(topic_id, shard.changed.pop(topic_id, mark))
            else:
                shard.changed.setdefault(topic_id, mark)

    def link_changed(self, link: str, up: bool) -> None:
        """A shard came or went."""
        shard = self._by_link[link]
        shard.forget()
        shard.up = up
        if up:
            ids = sorted(topic.topic_id for topic in self._catalogue.all())
            shard.changed = dict.fromkeys(ids, FULL_SERIES_MARK)

    def replied(self, link: str, route: Route, now: Now) -> None:
        """A shard answered a DEFINE."""
        shard = self._by_link.get(link)
        if shard is None or shard.out is None or route.request_id != shard.out_id:
            return  # an answer to one that was sent again meanwhile
        if route.tail == Code.OK:
            shard.out = None
            if not shard.is_complete:
                shard.is_complete = shard.lowest_mark() != FULL_SERIES_MARK
        else:
            self._take_back(shard)
            shard.refuses = True
            shard.retry_at_ms = now.mono_ms + RETRY_MS

    def letters(self, now: Now) -> list[Letter]:
        """Every DEFINE that can be sent now."""
        sent: list[Letter] = []
        for shard in self._by_link.values():
            if not shard.up:
                continue
            if shard.out is not None and now.mono_ms >= shard.retry_at_ms:
                self._take_back(shard)
            if shard.out is None and (not shard.refuses or now.mono_ms >= shard.retry_at_ms):
                shard.refuses = False
                define = self._next_define(shard)
                if define is not None:
                    sent.append(self._letter(shard, define, now))
        return sent

    def _next_define(self, shard: _Shard) -> Define | None:
        """Takes the next piece off the shard's list; None if there is nothing to tell."""
        if shard.is_new or shard.deleted:
            shard.out = shard.deleted
            if shard.is_new:
                shard.out[_EXISTENCE] = FULL_SERIES_MARK
            shard.is_new = False
            shard.deleted = {}
            topic_id_max = self._catalogue.next_topic_id - 1
            return Define(live_topic_ids=self._live_ids(), topic_id_max=topic_id_max)
        taken: dict[int, int] = {}
        topics: list[TopicRoute] = []
        room = DEFINE_BYTES_MAX
        for topic_id, mark in shard.changed.items():
            topic = self._catalogue.get(topic_id)
            if topic is None or not self._is_durable(topic_id):
                continue  # a later change of it is under way and brings it here again
            size = route_bytes(topic)
            if topics and size > room:
                break
            room -= size
            taken[topic_id] = mark
            topics.append(route_of(topic))
        if not topics:
            return None
        for topic_id in taken:
            del shard.changed[topic_id]
        shard.out = taken
        return Define(topics=topics)

    def _letter(self, shard: _Shard, define: Define, now: Now) -> Letter:
        self._request_id += 1
        shard.out_id = self._request_id
        shard.retry_at_ms = now.mono_ms + RETRY_MS
        header = encode_header(define)
        route = pack_request(Verb.DEFINE, self._request_id, int(RETRY_MS))
        envelope = pack_envelope(self._envelope_epoch, 0, len(header))
        return shard.link, b"", [envelope, route, header]

    def _take_back(self, shard: _Shard) -> None:
        """What the DEFINE that is out covered is to be told again."""
        assert shard.out is not None, "there is something to take back"
        out, shard.out = shard.out, None
        shard.is_new = out.pop(_EXISTENCE, None) is not None
        for topic_id, mark in out.items():
            table = shard.changed if self._catalogue.get(topic_id) else shard.deleted
            table[topic_id] = min(mark, table.get(topic_id, mark))
