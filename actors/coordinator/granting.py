"""Granting: every shard is told who reads which of its queues, until it has said that it knows.

Owns what each shard still has to be told of grants, and the GRANTs that are out. Knows neither
members nor rules: it is given grants and says what became of them.

    decided ─► durable ─► GRANT to the shard ─► OK: confirmed
                                             ─► FENCED: the shard knows a later generation
                                             ─► anything else, or silence: again after RETRY_MS

A grant leaves only when it is durable here, and when the shard has been told of every topic: it
must know the queue. One GRANT at a time is out to a shard for one cursor id, so that it meets the
generations of a queue in their order; many cursor ids are told side by side.

A shard whose link came up knows nothing for certain. It is told the ids of all groups first (what
is not among them is gone), then every grant in force.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..kernel.ports import Letter, Now
from ..protocol.codec import HeaderError, decode_header, encode_header
from ..protocol.codes import Code
from ..protocol.frames import Route, pack_envelope, pack_request
from ..protocol.group_messages import Grant, GrantQueue, GrantReply, GrantResult
from ..protocol.verbs import Verb

__all__ = ["GRANT_QUEUES_MAX", "OUT_MAX", "RETRY_MS", "Granting", "Outcome", "Pending"]

GRANT_QUEUES_MAX = 512
"""Queues in one GRANT: some 100 KB, and a turn of the shard that nobody notices."""
OUT_MAX = 32
"""GRANTs that are out to one shard."""
RETRY_MS = 500.0
"""After so long without an answer, or after a refusal, a GRANT is sent again."""
PROBE_MS = 10_000.0
"""A probe that is not answered for so long is forgotten."""


class Pending(NamedTuple):
    """A grant that a shard is to be told."""

    shard: int
    cursor_id: int
    group: str
    grant: GrantQueue


class Outcome(NamedTuple):
    """What a shard said to a grant."""

    shard: int
    cursor_id: int
    asked: GrantQueue
    result: GrantResult
    probe: int = 0
    """Which probe it answers; 0: it is a grant."""


class _Out(NamedTuple):
    cursor_id: int
    """0: which groups exist."""
    queues: dict[int, GrantQueue]
    retry_at_ms: float
    is_probe: bool = False


class _Shard:
    """What one shard still has to be told."""

    __slots__ = (
        "is_new",
        "later",
        "later_at_ms",
        "link",
        "names",
        "number",
        "out",
        "todo",
        "up",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.link = f"shard-{number}"
        self.up = False
        self.forget()

    def forget(self) -> None:
        """Nothing is on the way and nothing is known of it."""
        self.is_new = True
        """It has to be told which groups exist."""
        self.todo: dict[int, dict[int, GrantQueue]] = {}
        """Cursor id -> queue -> grant."""
        self.names: dict[int, str] = {}
        self.later: dict[tuple[int, int], GrantQueue] = {}
        """(cursor id, queue) -> grant that was refused, for the next round."""
        self.later_at_ms = 0.0
        self.out: dict[int, _Out] = {}

    def add(self, cursor_id: int, group: str, grant: GrantQueue) -> None:
        queues = self.todo.setdefault(cursor_id, {})
        known = queues.get(grant.queue)
        if known is None or known.generation <= grant.generation:
            queues[grant.queue] = grant
        self.names[cursor_id] = group
        self.later.pop((cursor_id, grant.queue), None)  # an earlier one is not told after it

    def put_off(self, cursor_id: int, grant: GrantQueue) -> None:
        if grant.queue not in self.todo.get(cursor_id, ()):
            self.later[cursor_id, grant.queue] = grant

    def take_back(self, out: _Out) -> None:
        """What a GRANT covered is to be told again."""
        if not out.cursor_id:
            self.is_new = True
        for grant in out.queues.values():
            self.add(out.cursor_id, self.names.get(out.cursor_id, ""), grant)


class Granting:
    """Tells `shards` shards, over the links `shard-0` and so on."""

    def __init__(
        self,
        shards: int,
        *,
        epoch: int,
        live_ids: Callable[[], tuple[list[int], int] | None],
        is_told: Callable[[str], bool],
    ) -> None:
        """
        Args:
            epoch: the coordinator's, for envelopes.
            live_ids: ids of all groups that may exist, and the highest one ever given. None if that
                cannot be told, and nothing may be dropped.
            is_told: whether the shard of a link knows every topic.
        """
        self._envelope_epoch = epoch
        self._live_ids = live_ids
        self._is_told = is_told
        every = [_Shard(number) for number in range(shards)]
        self._by_link = {shard.link: shard for shard in every}
        self._undurable: deque[tuple[int, Pending]] = deque()
        self._request_id = 0
        self.sent = self.resent = 0
        """Counters since the start."""

    @property
    def pending(self) -> int:
        """Grants that shards which are there have not confirmed."""
        told = 0
        for shard in self._by_link.values():
            told += sum(map(len, shard.todo.values())) + len(shard.later)
            told += sum(len(out.queues) for out in shard.out.values())
        return told + len(self._undurable)

    @property
    def wake_at_ms(self) -> float | None:
        """When something is sent again, if nothing else happens."""
        moments = []
        for shard in self._by_link.values():
            moments += [out.retry_at_ms for out in shard.out.values()]
            if shard.later:
                moments.append(shard.later_at_ms)
        return min(moments, default=None)

    def is_up(self, shard: int) -> bool:
        """Whether the shard's link is up."""
        return self._by_link[f"shard-{shard}"].up

    def decided(self, pending: Pending, mark: int) -> None:
        """A grant was appended; its record ends at `mark`."""
        self._undurable.append((mark, pending))

    def forget(self, cursor_ids: Iterable[int]) -> None:
        """Cursors are gone: a shard that was told of them later would make them anew."""
        gone = set(cursor_ids)
        kept = [one for one in self._undurable if one[1].cursor_id not in gone]
        self._undurable = deque(kept)
        for shard in self._by_link.values():
            shard.later = {key: one for key, one in shard.later.items() if key[0] not in gone}
            for cursor_id in gone:
                shard.todo.pop(cursor_id, None)
                shard.names.pop(cursor_id, None)
            for out in shard.out.values():
                if out.cursor_id in gone:
                    out.queues.clear()

    def groups_changed(self) -> None:
        """A group that was deleted is durably gone: cursors of it can go."""
        for shard in self._by_link.values():
            shard.is_new = True

    def link_changed(self, link: str, up: bool, in_force: Iterable[Pending]) -> None:
        """A shard came or went. `in_force`: the grants on its queues; those that are not durable
        yet follow when they are."""
        shard = self._by_link[link]
        shard.forget()
        shard.up = up
        if up:
            undurable = {(one.cursor_id, one.grant.queue) for _, one in self._undurable}
            for one in in_force:
                if (one.cursor_id, one.grant.queue) not in undurable:
                    shard.add(one.cursor_id, one.group, one.grant)

    def replied(self, link: str, route: Route, header: bytes, now: Now) -> list[Outcome]:
        """A shard answered a GRANT."""
        shard = self._by_link[link]
        out = shard.out.pop(route.request_id, None)
        if out is None:
            return []  # an answer to one that was sent again meanwhile
        results = _results(route, header)
        if out.is_probe:
            return _probed(shard.number, route, out, results or [])
        if results is None:
            if not out.cursor_id:
                # Not at once again: a shard that refuses the list would be asked without end.
                shard.out[route.request_id] = out._replace(retry_at_ms=now.mono_ms + RETRY_MS)
                return []
            self._put_off(shard, out.cursor_id, out.queues.values(), now)
            return []
        outcomes = []
        for result in results:
            grant = out.queues.pop(result.queue, None)
            if grant is None:
                continue
            if result.code in (Code.OK, Code.FENCED):
                outcomes.append(Outcome(shard.number, out.cursor_id, grant, result))
            else:
                self._put_off(shard, out.cursor_id, [grant], now)
        self._put_off(shard, out.cursor_id, out.queues.values(), now)
        return outcomes

    def put_off(self, outcome: Outcome, now: Now) -> None:
        """Nothing could be done about an outcome: the shard is asked again later."""
        shard = self._by_link[f"shard-{outcome.shard}"]
        self._put_off(shard, outcome.cursor_id, [outcome.asked], now)

    def probe(
        self, shard: int, cursor_id: int, queues: dict[int, GrantQueue], now: Now
    ) -> tuple[int, Letter]:
        """A GRANT that changes nothing: the shard says where cursors would be. It is sent once."""
        grant = Grant(group_id=cursor_id, queues=list(queues.values()), dry_run=True)
        out = _Out(cursor_id, queues, now.mono_ms + PROBE_MS, is_probe=True)
        letter = self._letter(self._by_link[f"shard-{shard}"], out, grant)
        return self._request_id, letter

    def letters(self, durable: int, now: Now) -> list[Letter]:
        """Every GRANT that can be sent now."""
        while self._undurable and self._undurable[0][0] <= durable:
            _, one = self._undurable.popleft()
            shard = self._by_link[f"shard-{one.shard}"]
            if shard.up:
                shard.add(one.cursor_id, one.group, one.grant)
        sent: list[Letter] = []
        for shard in self._by_link.values():
            if shard.up:
                self._again(shard, now)
                if (shard.is_new or shard.todo) and self._is_told(shard.link):
                    sent += self._next_letters(shard, now)
        return sent

    # --- one shard -----------------------------------------------------------------------------

    def _again(self, shard: _Shard, now: Now) -> None:
        """What was not answered, or refused, is due again."""
        late = [one for one, out in shard.out.items() if out.retry_at_ms <= now.mono_ms]
        for request_id in late:
            out = shard.out.pop(request_id)
            if not out.is_probe:
                shard.take_back(out)
                self.resent += 1
        if shard.later and shard.later_at_ms <= now.mono_ms:
            later, shard.later = shard.later, {}
            for (cursor_id, _), grant in later.items():
                shard.add(cursor_id, shard.names.get(cursor_id, ""), grant)

    def _put_off(
        self, shard: _Shard, cursor_id: int, grants: Iterable[GrantQueue], now: Now
    ) -> None:
        if not shard.later:
            shard.later_at_ms = now.mono_ms + RETRY_MS
        for grant in grants:
            shard.put_off(cursor_id, grant)

    def _next_letters(self, shard: _Shard, now: Now) -> list[Letter]:
        sent = []
        if shard.is_new and not any(not out.cursor_id for out in shard.out.values()):
            shard.is_new = False
            live = self._live_ids()
            if live is not None:
                ids, id_max = live
                grant = Grant(live_group_ids=ids, group_id_max=id_max)
                sent.append(self._letter(shard, _Out(0, {}, now.mono_ms + RETRY_MS), grant))
        busy = {out.cursor_id for out in shard.out.values() if not out.is_probe}
        if 0 in busy:
            return sent  # which groups exist comes before anything about one of them
        for cursor_id in [one for one in shard.todo if one not in busy]:
            if len(shard.out) >= OUT_MAX:
                break
            queues = shard.todo.pop(cursor_id)
            group = shard.names[cursor_id]
            piece = dict(list(queues.items())[:GRANT_QUEUES_MAX])
            if len(piece) < len(queues):
                rest = {queue: one for queue, one in queues.items() if queue not in piece}
                shard.todo[cursor_id] = rest
            grant = Grant(group_id=cursor_id, group=group, queues=list(piece.values()))
            out = _Out(cursor_id, piece, now.mono_ms + RETRY_MS)
            sent.append(self._letter(shard, out, grant))
        return sent

    def _letter(self, shard: _Shard, out: _Out, grant: Grant) -> Letter:
        self._request_id += 1
        self.sent += 1
        shard.out[self._request_id] = out
        header = encode_header(grant)
        route = pack_request(Verb.GRANT, self._request_id, int(RETRY_MS))
        envelope = pack_envelope(self._envelope_epoch, 0, len(header))
        return shard.link, b"", [envelope, route, header]


def _results(route: Route, header: bytes) -> list[GrantResult] | None:
    if route.tail != Code.OK:
        return None
    try:
        return decode_header(header, GrantReply, route.flags).queues
    except HeaderError:
        return None


def _probed(shard: int, route: Route, out: _Out, results: list[GrantResult]) -> list[Outcome]:
    """What became of each queue of a probe, the ones that the shard did not speak of, too."""
    by_queue = {result.queue: result for result in results}
    code = Code.UNAVAILABLE if route.tail == Code.OK else route.tail
    return [
        Outcome(
            shard,
            out.cursor_id,
            grant,
            by_queue.get(queue) or GrantResult(queue=queue, code=code),
            route.request_id,
        )
        for queue, grant in out.queues.items()
    ]
