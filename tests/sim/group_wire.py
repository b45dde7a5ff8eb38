"""Group wire: reads what the coordinator and the shards say to each other and to members, as it
passes their mailboxes, and holds it against the rules of grants.

Owns those rules. Must not know how either side keeps its state: it sees letters only, so it holds
for any implementation of them.

    fencing     a shard accepts no generation after it has acknowledged a higher one
    vain        a shard refuses a generation only when it was told of a higher one
    reused      a generation of a queue has one holder, and generations never fall (what was sent
                before may be sent again: a shard refuses it)
    unproved    a member is shown a queue only when the shard has acknowledged the grant; grants of
                an earlier run of the coordinator may be shown for want of an answer
    robbed      a queue is granted to another only when its holder gave it back (or had one lease to
                do so), left, was silent for its lease, or lost its connection for longer than the
                grace; or with a reset, which ends what its holder was at. It was heard when its
                request came, however late that is answered
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_REPLY, unpack_route
from shardmq.actors.protocol.messages import Fetch
from shardmq.actors.protocol.verbs import Verb, row_of
from shardmq.actors.protocol.work_messages import EVERYBODY, Settle

from .cluster import Cluster, CoordinatorActor
from .cursor_wire import CursorWire
from .group_history import GroupHistory
from .host import Host
from .lives import SLACK_MS, Life, Sign
from .world import World

SHARD_VERBS = frozenset(map(int, (Verb.GRANT, Verb.FETCH, Verb.ACK, Verb.NACK, Verb.SETTLE)))
COORDINATOR_VERBS = frozenset(
    {
        int(Verb.GROUP_JOIN),
        int(Verb.EVENTS),
        int(Verb.GROUP_LEAVE),
        int(Verb.GROUP_RESET),
        int(Verb.GRANT),
        int(Verb.SESSIONS_GONE),
    }
)
Place = tuple[int, int]
"""(group id, queue number)."""


class Granted(NamedTuple):
    """The newest grant of a place that the coordinator sent."""

    generation: int
    member: str
    at_ms: float


class GroupWire:
    """The rules of grants, over one run."""

    def __init__(
        self,
        world: World,
        cluster: Cluster,
        violate: Callable[[str, str], None],
        groups: GroupHistory | None = None,
    ) -> None:
        self.world = world
        self.cluster = cluster
        self.cursors = CursorWire(groups or GroupHistory(), violate)
        self.grants = self.moves = self.fenced = 0
        self._violate = violate
        self._asked: dict[tuple[str, bytes, int], Any] = {}
        """(host, envelope, request id) -> header of a request that is not answered yet."""
        self._granted: dict[Place, Granted] = {}
        self._holders: dict[tuple[int, int, int], str] = {}
        self._told: dict[Place, int] = {}
        """The highest generation that ever reached the shard."""
        self._in_force: dict[Place, int] = {}
        """The highest generation that the shard has acknowledged."""
        self._seen_ms: dict[tuple[int, int, int], float] = {}
        """(group id, queue, generation) -> when its member was last shown it, not as revoked. Until
        then nobody reads by it."""
        self._journaled: set[tuple[int, int, int]] = set()
        """(group id, queue, generation) that the coordinator found in its journal at its start."""
        self._lives: dict[tuple[int, str], Life] = {}
        self._joins: dict[tuple[bytes, int], Sign] = {}
        """(envelope, request id) -> when a GROUP_JOIN came that is not answered yet."""
        self._signs = 0
        for host in (*cluster.of_kind("shard"), *cluster.of_kind("coordinator")):
            host.on_letters.append(self._came)
            host.on_effects.append(self._left)
            host.on_ended.append(self._ended)
        for host in cluster.of_kind("coordinator"):
            host.on_started.append(self._coordinator_started)

    def _coordinator_started(self, host: Host) -> None:
        """Everybody counts as alive for one lease."""
        assert isinstance(host.actor, CoordinatorActor)
        self._journaled = {
            (cursor_id, row.queue, row.generation)
            for state in host.actor.groups.all()
            for cursor_id, rows in state.grants.items()
            for row in rows.values()
        }
        for life in self._lives.values():
            life.begins_anew(self._sign(b""))
        self._joins.clear()
        self.cursors.coordinator_started(host.actor.groups, host.actor.catalogue)

    def _ended(self, host: Host, why: str) -> None:
        for key in [one for one in self._asked if one[0] == host.name]:
            del self._asked[key]

    # --- letters -----------------------------------------------------------------------------

    def _came(self, host: Host, letters: list[Any]) -> None:
        is_shard = host.name.startswith("shard")
        wanted = SHARD_VERBS if is_shard else COORDINATOR_VERBS
        for link, _, frames in letters:
            route = unpack_route(frames[1])
            if route.verb not in wanted or route.flags & FLAG_REPLY or link != "mailbox":
                continue
            row = row_of(route.verb)
            assert row is not None
            header = decode_header(frames[2], row.request)
            if is_shard:
                self._shard_was_asked(header)
            else:
                self._coordinator_was_asked(header, frames[0], route.request_id)
            self._asked[host.name, frames[0], route.request_id] = header

    def _left(self, host: Host, effects: list[Any]) -> None:
        is_shard = host.name.startswith("shard")
        wanted = SHARD_VERBS if is_shard else COORDINATOR_VERBS
        for link, _, frames in effects:
            route = unpack_route(frames[1])
            if route.verb not in wanted:
                continue
            row = row_of(route.verb)
            assert row is not None
            if not route.flags & FLAG_REPLY:
                if route.verb == Verb.GRANT:
                    self._grant_leaves(decode_header(frames[2], g.Grant), link)
                continue
            asked = self._asked.pop((host.name, frames[0], route.request_id), None)
            if asked is None:
                continue
            reply = decode_header(frames[2], row.reply) if route.tail == Code.OK else None
            if is_shard:
                self._shard_answers(host, asked, reply)
            else:
                self._coordinator_answers(asked, reply, frames[0], route.request_id, route.tail)

    # --- the shard ---------------------------------------------------------------------------

    def _shard_was_asked(self, header: Any) -> None:
        self.cursors.shard_asked(header)
        if isinstance(header, g.Grant) and not header.dry_run:
            for one in header.queues:
                place = header.group_id, one.queue
                self._told[place] = max(one.generation, self._told.get(place, 0))

    def _shard_answers(self, host: Host, asked: Any, reply: Any) -> None:
        if reply is None:
            return
        self.cursors.shard_answers(asked, reply, self.world.mono_ms)
        if isinstance(asked, g.Grant):
            if not asked.dry_run:
                sent = {one.queue: one.generation for one in asked.queues}
                for one in reply.queues:
                    if one.code == Code.OK:
                        place = asked.group_id, one.queue
                        known = self._in_force.get(place, 0)
                        self._in_force[place] = max(sent[one.queue], known)
        elif isinstance(asked, Settle):
            for item, result in zip(asked.items, reply.results, strict=True):
                is_late = result.code == Code.RECEIPT_EXPIRED
                code = Code.OK if is_late else result.code
                self._used(host, asked, (asked.group_id, item.queue), item.generation, code)
        elif not isinstance(asked, Fetch) or asked.group_id:
            used = {one.queue: one.generation for one in asked.queues}
            for one in reply.queues:
                self._used(host, asked, (asked.group_id, one.queue), used[one.queue], one.code)

    def _used(self, host: Host, asked: Any, place: Place, generation: int, code: int) -> None:
        what = f"{type(asked).__name__} of group {place[0]} queue {place[1]}"
        if code == Code.OK:
            known = self._in_force.get(place, 0)
            if generation != known:
                text = f"{host.name} accepted {what} with generation {generation}"
                self._violate("fencing", f"{text}, {known} is in force")
        self.fenced += code == Code.FENCED
        is_old = (*place, generation) in self._journaled
        if code == Code.FENCED and self._told.get(place, 0) <= generation and not is_old:
            text = f"{host.name} fenced {what} with generation {generation}"
            self._violate("vain", f"{text}, it was told of {self._told.get(place, 0)}")

    # --- the coordinator ---------------------------------------------------------------------

    def _sign(self, envelope: bytes) -> Sign:
        self._signs += 1
        return Sign(self._signs, self.world.mono_ms, envelope[:16])

    def _coordinator_was_asked(self, header: Any, envelope: bytes, request_id: int) -> None:
        now_ms = self.world.mono_ms
        self.cursors.coordinator_asked(header)
        if isinstance(header, g.GroupJoin):
            self._joins[envelope, request_id] = self._sign(envelope)
        elif isinstance(header, g.Events):
            life = self._lives.get((header.group_id, header.member))
            if life is not None:
                life.heard(self._sign(envelope), (envelope, request_id))
                life.released |= {(one.queue, one.generation) for one in header.released}
        elif isinstance(header, g.GroupLeave):
            life = self._lives.get((header.group_id, header.member))
            if life is not None:
                life.free_ms = now_ms
        elif isinstance(header, g.SessionsGone):
            gone = {bytes.fromhex(one)[:16] for one in header.sessions}
            signs = [sign for life in self._lives.values() for sign in life.signs()]
            for sign in (*signs, *self._joins.values()):
                if sign.session in gone and sign.gone_ms is None:
                    sign.gone_ms = now_ms

    def _coordinator_answers(
        self, asked: Any, reply: Any, envelope: bytes, request_id: int, code: int
    ) -> None:
        now_ms = self.world.mono_ms
        if isinstance(asked, g.GroupJoin):
            sign = self._joins.pop((envelope, request_id), None)
            if sign is not None and reply is not None:
                life = self._lives.setdefault((reply.group_id, asked.member), Life())
                if not life.has_given_up(sign, request_id):
                    life.heard(sign)
                life.lease_ms = float(reply.lease_ms)
        elif isinstance(asked, g.Events):
            life = self._lives.get((asked.group_id, asked.member), Life())
            life.answered((envelope, request_id), overtaken=code == Code.BUSY)
            if code == Code.UNKNOWN_MEMBER:
                life.free_ms = now_ms
            for one in reply.queues if reply is not None else ():
                self._shown(asked, one)

    def _shown(self, asked: g.Events, one: g.AssignedQueue) -> None:
        place = asked.group_id, one.queue
        holder = self._holders.get((*place, one.generation))
        if not one.revoked:
            self._seen_ms[*place, one.generation] = self.world.mono_ms
        text = f"{asked.member} was shown queue {one.queue} with generation {one.generation}"
        is_old = (*place, one.generation) in self._journaled
        is_its = holder in (asked.member, EVERYBODY) or (is_old and holder is None)
        if not is_its:
            self._violate("reused", f"{text}, which is {holder}'s")
        if self._in_force.get(place, 0) < one.generation and not is_old:
            in_force = self._in_force.get(place, 0)
            self._violate("unproved", f"{text}, its shard has acknowledged {in_force}")

    def _grant_leaves(self, header: g.Grant, link: str) -> None:
        if header.dry_run:
            return
        now_ms = self.world.mono_ms
        self.cursors.grant_leaves(header, self.cluster.catalogue, now_ms)
        for one in header.queues:
            self.grants += 1
            place = header.group_id, one.queue
            known = self._granted.get(place)
            text = f"group {place[0]} queue {one.queue} generation {one.generation} to {link}"
            is_again = (*place, one.generation) in self._holders
            holder = self._holders.setdefault((*place, one.generation), one.member)
            if holder != one.member:
                self._violate("reused", f"{text} for {one.member!r}, it was {holder!r}'s")
            if known is not None and one.generation < known.generation and not is_again:
                self._violate("reused", f"{text}, {known.generation} was sent before")
            if known is not None and one.generation > known.generation:
                self.moves += known.member != one.member
                self._justify(known, one, place, text)
            if known is None or one.generation > known.generation:
                self._granted[place] = Granted(one.generation, one.member, now_ms)

    def _justify(self, known: Granted, one: g.GrantQueue, place: Place, text: str) -> None:
        life = self._lives.get((place[0], known.member))
        seen_ms = self._seen_ms.get((*place, known.generation))
        if life is None or known.member == one.member or seen_ms is None or one.reset:
            return  # a reset ends whatever its holder was at, so anybody may have it
        now_ms = self.world.mono_ms
        if now_ms - seen_ms >= life.lease_ms - SLACK_MS:
            return  # it had a whole lease to give back what was revoked
        is_free = (one.queue, known.generation) in life.released or life.free_ms >= known.at_ms
        if not is_free and not life.is_over(now_ms):
            silent = f"was heard {now_ms - life.last.at_ms:.0f} ms ago of {life.lease_ms:.0f}"
            parked = ", its EVENTS is parked" if life.parked else ""
            self._violate("robbed", f"{text} for {one.member!r}: {known.member!r} {silent}{parked}")
