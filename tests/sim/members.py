"""Group members: small consumers that speak the wire messages of groups, and nothing else.

Owns one member's conduct, written against the protocol alone: it shares no line with the client's
own group code, so that a fault there is not in the judge as well. Must not know the broker.

A member joins and keeps an EVENTS request parked. For each queue that it is shown it asks for the
cursor (CURSORS), fetches from there with the grant's generation, hands messages out, works on each
for a while, and acks what is done as a floor and ranges. It never looks at the clock to see whether
its lease ran out: a member that was stopped goes on as if nothing had happened, and it is the
shard's part to refuse it.

    fresh -> asking (CURSORS is out) -> reading -> released, dropped, or fenced
"""

from __future__ import annotations

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.messages import Fetch, FetchQueue, FetchReply, FetchResult
from shardmq.actors.protocol.verbs import Verb
from shardmq.client.link.calls import Reply
from shardmq.client.records import FetchedRecord, split_records

from .clients import Client
from .failing import Failing
from .group_history import (
    Delivery,
    Fetched,
    Group,
    GroupHistory,
    Promise,
    Seen,
    below,
    floor_of,
    ranges_of,
    set_of,
)
from .history import Stored
from .membership import AGAIN_MS, DRAIN_MS, RELEASE_MS, Holding, Membership
from .records import attempt_of, messages_of

WINDOW = 30
"""Messages of a queue that are being worked on, before it is fetched no further."""


class Member(Membership):
    """A member that consumes."""

    def __init__(
        self, client: Client, group: Group, name: str, groups: GroupHistory, slow: float
    ) -> None:
        super().__init__(client, group, name, groups)
        self._slow = slow
        self._failing = Failing(self)
        self._busy: set[tuple[int, int]] = set()
        """(verb, shard) of what is out; one of a kind at a time."""
        self._ack_due_ms: dict[int, float] = {}
        client.after_turn.append(self._pump)

    # --- at the end of each turn -------------------------------------------------------------

    def _pump(self) -> None:
        if not self.joined or self.leaving:
            return
        now_ms = self.world.mono_ms
        by_shard: dict[int, list[Holding]] = {}
        for held in list(self.holdings.values()):
            if held.revoked_ms is not None and self._released_now(held, now_ms):
                continue
            by_shard.setdefault(held.shard, []).append(held)
        for shard, holdings in by_shard.items():
            self._look(shard, [one for one in holdings if one.state == "fresh"])
            reading = [one for one in holdings if one.state == "reading"]
            self._fetch(shard, [one for one in reading if self._wants(one, now_ms)])
            unsaid = [one for one in reading if one.acked != one.done]
            if unsaid and now_ms >= self._ack_due_ms.get(shard, 0.0):
                self._ack(shard, unsaid)
            self._failing.say(shard, reading)

    def _wants(self, held: Holding, now_ms: float) -> bool:
        is_free = held.revoked_ms is None and len(held.open) < WINDOW
        return is_free and held.again_ms <= now_ms

    def _released_now(self, held: Holding, now_ms: float) -> bool:
        """True once a revoked queue is given back."""
        assert held.revoked_ms is not None
        waited_ms = now_ms - held.revoked_ms
        if held.state == "reading":
            if waited_ms >= DRAIN_MS:
                held.open.clear()
            if not held.is_settled and waited_ms < RELEASE_MS:
                return False
        self.give_back(held)
        return True

    def _take(self, verb: int, shard: int) -> bool:
        """True if nothing of that kind is out; then something is."""
        if (verb, shard) in self._busy:
            return False
        self._busy.add((verb, shard))
        return True

    # --- cursors -----------------------------------------------------------------------------

    def _look(self, shard: int, fresh: list[Holding]) -> None:
        if not fresh or not self._take(Verb.CURSORS, shard):
            return
        for held in fresh:
            held.state = "asking"

        def told(header: g.CursorsReply | None, reply: Reply, asked_ms: float) -> None:
            self._busy.discard((Verb.CURSORS, shard))
            results = {one.queue: one for one in header.queues} if header is not None else {}
            for held in fresh:
                result = results.get(held.queue)
                if not self.is_held(held):
                    continue
                if result is None or result.code != Code.OK or result.generation < held.generation:
                    self._look_again(held)
                elif result.generation > held.generation:
                    self.fence(held)
                else:
                    self._start(held, result)
            seen_at(self.groups, self.group.name, header, asked_ms, self.world.mono_ms)

        header = g.Cursors(group_id=self.group.group_id, queues=[one.queue for one in fresh])
        self.ask(Verb.CURSORS, header, shard, told)

    def _look_again(self, held: Holding) -> None:
        def again() -> None:
            held.state = "fresh"

        self.later(AGAIN_MS, again)

    def _start(self, held: Holding, at: g.CursorResult) -> None:
        held.state = "reading"
        held.done = held.acked = set_of(at.floor, at.ranges)
        held.position = at.floor

    # --- fetching ----------------------------------------------------------------------------

    def _fetch(self, shard: int, wanted: list[Holding]) -> None:
        if not wanted or not self._take(Verb.FETCH, shard):
            return
        asked = {one.queue: (one, one.position) for one in wanted}

        def told(header: FetchReply | None, reply: Reply, asked_ms: float) -> None:
            self._busy.discard((Verb.FETCH, shard))
            if header is None:
                for held in wanted:
                    held.again_ms = self.world.mono_ms + AGAIN_MS
                self.later(AGAIN_MS, self.client.turn_soon)
                return
            frames = iter(reply.payload)
            for result in header.queues:
                data = b"".join(next(frames) for _ in range(result.frames))
                held, position = asked[result.queue]
                if result.code == Code.OK:
                    self.accept(held, asked_ms)
                if self.is_held(held) and held.position == position:
                    self._took(held, result, data)

        chance = self.world.chance
        header = Fetch(
            queues=[
                FetchQueue(queue=one.queue, offset=one.position, generation=one.generation)
                for one in wanted
            ],
            group_id=self.group.group_id,
            bytes_max=chance.choice((400, 3_000, 100_000)),
            wait_ms=chance.choice((0, 60, 200, 400)),
        )
        self.ask(Verb.FETCH, header, shard, told)

    def _took(self, held: Holding, result: FetchResult, data: bytes) -> None:
        if result.code == Code.OK:
            found = [
                message
                for record in split_records(data)
                if isinstance(record, FetchedRecord)
                for message in messages_of(record)
                if held.position <= message.offset < result.next_offset
            ]
            bits = sum(1 << message.offset for message in found)
            stop = result.next_offset
            self.groups.fetched.append(
                Fetched(self.group.name, held.queue, held.position, stop, bits)
            )
            if stop > held.position:
                held.done |= below(stop) & ~below(held.position) & ~bits
                held.position = stop
            for message in found:
                self._hand(held, message)
            self._ack_soon(held.shard)
        elif result.code == Code.FENCED:
            self.fence(held)
        elif result.code == Code.OFFSET_OUT_OF_RANGE and result.earliest > held.position:
            held.position = result.earliest
            held.done |= below(result.earliest)
            held.open = {one for one in held.open if one >= result.earliest}
            held.failed = {at: one for at, one in held.failed.items() if at >= result.earliest}
        elif result.code == Code.DAMAGED:
            held.position = max(held.position, result.next_offset)
        else:
            self.world.note(self.process, "not fetched", (held.queue, int(result.code)))
            held.again_ms = self.world.mono_ms + AGAIN_MS
            self.later(AGAIN_MS, self.client.turn_soon)

    def _hand(self, held: Holding, message: Stored) -> None:
        bit = 1 << message.offset
        if held.done & bit:
            return
        if not self.group.selects(held.topic, message.tag):
            held.done |= bit
            return
        world, chance = self.world, self.world.chance
        self.groups.deliveries.append(
            Delivery(
                self.group.name, held.queue, held.generation, self.process, message.offset,
                message.body, message.message_id, message.tag, held.since_ms, world.mono_ms,
                attempt_of(message),
            )
        )  # fmt: skip
        held.open.add(message.offset)
        work_ms = chance.choice((0.0, 0.0, 1.0, 20.0))
        if chance.random() < self._slow:
            work_ms = chance.uniform(300.0, 1_500.0)
        if work_ms:
            self.later(work_ms, lambda: self._finish(held, message))
        else:
            self._finish(held, message)

    def _finish(self, held: Holding, message: Stored) -> None:
        if message.offset in held.open and self.is_held(held):
            held.open.discard(message.offset)
            if self._failing.on(held, message):
                self.client.turn_soon()
                return
            held.done |= 1 << message.offset
            self._ack_soon(held.shard)

    # --- acks --------------------------------------------------------------------------------

    def _ack_soon(self, shard: int) -> None:
        now_ms = self.world.mono_ms
        if self._ack_due_ms.get(shard, 0.0) <= now_ms:
            wait_ms = self.world.chance.uniform(0.0, 80.0)
            self._ack_due_ms[shard] = now_ms + wait_ms
            self.later(wait_ms, self.client.turn_soon)

    def _ack(self, shard: int, unsaid: list[Holding]) -> None:
        if not self._take(Verb.ACK, shard):
            return
        said = {one.queue: (one, one.done) for one in unsaid}

        def told(header: g.AckReply | None, reply: Reply, asked_ms: float) -> None:
            self._busy.discard((Verb.ACK, shard))
            for result in header.queues if header is not None else ():
                held, done = said[result.queue]
                if result.code == Code.OK:
                    self.accept(held, asked_ms)
                    held.acked |= done
                    self.groups.promises.append(
                        Promise(
                            self.group.name, held.queue, asked_ms, self.world.mono_ms,
                            done | below(result.floor), held.generation,
                        )
                    )  # fmt: skip
                elif result.code == Code.FENCED and self.is_held(held):
                    self.fence(held)
                else:
                    self.world.note(self.process, "not acked", (held.queue, int(result.code)))
            self._ack_due_ms[shard] = self.world.mono_ms
            self._ack_soon(shard)

        header = g.Ack(
            group_id=self.group.group_id,
            queues=[
                g.AckQueue(
                    queue=one.queue,
                    generation=one.generation,
                    floor=floor_of(one.done),
                    ranges=ranges_of(one.done),
                )
                for one in unsaid
            ],
        )
        self.ask(Verb.ACK, header, shard, told)


def seen_at(
    groups: GroupHistory,
    group: str,
    header: g.CursorsReply | None,
    asked_ms: float,
    answered_ms: float,
) -> None:
    """Writes down what CURSORS said."""
    for one in header.queues if header is not None else ():
        if one.code == Code.OK:
            groups.seen.append(
                Seen(
                    group, one.queue, one.generation, asked_ms, answered_ms,
                    set_of(one.floor, one.ranges), one.earliest, one.latest, one.lag,
                    one.oldest_at_ms, one.in_flight,
                )
            )  # fmt: skip
