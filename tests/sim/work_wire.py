"""Work wire: reads along what shards are asked of work queues, and writes it down.

Owns that reading. Must not judge: `work_checkers.py` does, over the history.

A SETTLE counts as said when the shard takes it in, since then it is decided; its answer waits for
the disk. A request that came twice is answered in the order of coming; one that is refused is
refused at once, so a refusal belongs to the last that came. A RECEIVE that came twice may be
answered once or twice, always alike.
"""

from __future__ import annotations

from typing import Any

from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_REPLY, unpack_route
from shardmq.actors.protocol.retries import dlq_topic
from shardmq.actors.protocol.verbs import Verb, row_of
from shardmq.actors.protocol.work_messages import Receive, ReceiveReply, Settle, SettleReply

from .cluster import Cluster, ShardActor
from .host import POWER_CUT, Host
from .work_history import Answer, Ended, Handed, Said, WorkHistory
from .world import World

VERBS = frozenset({int(Verb.RECEIVE), int(Verb.SETTLE)})
SESSION_BYTES = 16
CLEAN_ENDS = frozenset({POWER_CUT, "killed", "killed in a job", "stopped in order"})
"""Between two turns."""
Key = tuple[str, bytes, int]


class WorkWire:
    """Keeps the work history of one run."""

    def __init__(self, world: World, cluster: Cluster, work: WorkHistory) -> None:
        self.world = world
        self.work = work
        self._receives: dict[Key, tuple[Receive, float, int]] = {}
        self._settles: dict[Key, list[list[Said]]] = {}
        for host in cluster.of_kind("shard"):
            host.on_letters.append(self._came)
            host.on_effects.append(self._left)
            host.on_ended.append(self._ended)

    def _ended(self, host: Host, why: str) -> None:
        self._receives = {k: v for k, v in self._receives.items() if k[0] != host.name}
        self._settles = {k: v for k, v in self._settles.items() if k[0] != host.name}
        self.work.events.append(Ended(host.name, why == POWER_CUT, why not in CLEAN_ENDS))

    def _came(self, host: Host, letters: list[Any]) -> None:
        now = self.world.now()
        for link, _, frames in letters:
            route = unpack_route(frames[1])
            if route.verb not in VERBS or route.flags & FLAG_REPLY or link != "mailbox":
                continue
            row = row_of(route.verb)
            assert row is not None
            header: Any = decode_header(frames[2], row.request)
            key = host.name, bytes(frames[0][:SESSION_BYTES]), route.request_id
            if isinstance(header, Settle):
                said = [
                    Said(host.name, header.group_id, item, now.mono_ms, now.wall_ms)
                    for item in header.items
                ]
                self._settles.setdefault(key, []).append(said)
                self.work.events += said
            else:
                self._receives[key] = header, now.mono_ms, len(self.work.events)

    def _left(self, host: Host, effects: list[Any]) -> None:
        for _, _, frames in effects:
            route = unpack_route(frames[1])
            if route.verb not in VERBS or not route.flags & FLAG_REPLY:
                continue
            key = host.name, bytes(frames[0][:SESSION_BYTES]), route.request_id
            if route.verb == Verb.SETTLE:
                waiting = self._settles[key]
                if route.tail == Code.OK:
                    _fill_in(waiting.pop(0), decode_header(frames[2], SettleReply))
                else:
                    for one in waiting.pop():
                        one.code = route.tail
                if not waiting:
                    del self._settles[key]
            elif route.tail == Code.OK:
                self._answered(host, self._receives[key], decode_header(frames[2], ReceiveReply))

    def _answered(
        self, host: Host, request: tuple[Receive, float, int], reply: ReceiveReply
    ) -> None:
        asked, asked_ms, asked_at = request
        now = self.world.now()
        parts = tuple(
            Handed(one.queue, one.generation, one.offset, one.offset + one.count, one.attempt)
            for one in reply.parts
        )
        self.work.events.append(
            Answer(
                host.name, asked.group_id, asked.receipt, now.mono_ms, now.wall_ms,
                reply.until_ms, parts, asked.count_max, asked_ms,
                _can_bury(host, asked.group_id, parts), asked_at,
            )
        )  # fmt: skip


def _can_bury(host: Host, group_id: int, parts: tuple[Handed, ...]) -> bool:
    actor = host.actor
    assert isinstance(actor, ShardActor)
    cursor = actor.state.cursors.get(group_id, parts[0].queue) if parts else None
    return cursor is None or actor.state.topics.named(dlq_topic(cursor.group)) is not None


def _fill_in(said: list[Said], reply: SettleReply) -> None:
    for one, result in zip(said, reply.results, strict=True):
        one.code = result.code
        one.expired = {offset for start, stop in result.expired for offset in range(start, stop)}
        one.dead = set(result.dead)
