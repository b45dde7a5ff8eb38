"""Workers: small consumers of work queues that speak the wire messages, and nothing else.

Owns one worker's conduct, written against the protocol alone, as `members.py` is for groups that
share out queues. Must not know the broker.

A worker asks shards for messages, works on them for a while, and says what became of them: done,
failed, or that it needs longer; or it returns them, as if nobody had worked on them. Some it
forgets, some it says too late or though it has returned them, some requests it says once more
though they were answered. It never looks at the clock: a worker that was stopped goes on as if
nothing had happened. A RECEIVE whose answer was lost comes again with its receipt, mostly.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from shardmq.actors.protocol.batch import check_batch
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.work_messages import Receive as ReceiveHeader
from shardmq.actors.protocol.work_messages import (
    ReceivedPart,
    ReceiveReply,
    SettleItem,
    SettleReply,
)
from shardmq.actors.protocol.work_messages import Settle as SettleHeader
from shardmq.client.link.calls import Reply
from shardmq.client.records import FetchedRecord

from .clients import Client
from .failing import failures_of
from .group_history import Delivery, Group, GroupHistory, Promise, below
from .history import Stored
from .membership import AGAIN_MS, Membership
from .records import messages_of
from .work_history import WorkHistory

RECEIVES_MAX = 2
"""At one shard at a time; in calm weather one."""
IDLE_MS = 40.0
CALM_IDLE_MS = 200.0
SETTLE_ITEMS_MAX = 12
FORGOTTEN, TOO_LATE, LONGER = 0.03, 0.06, 0.12
"""Fates of a stretch of messages: below these, of 1."""
CHANGED_MIND, RETURNED = 0.13, 0.17
"""Returned, and up to the first of these settled all the same afterwards."""


class Worker(Membership):
    """A member of a work group."""

    def __init__(
        self,
        client: Client,
        group: Group,
        name: str,
        groups: GroupHistory,
        work: WorkHistory,
        slow: float,
    ) -> None:
        super().__init__(client, group, name, groups)
        self.is_calm = False
        """It forgets nothing any more."""
        self._work = work
        self._slow = slow
        self._out: dict[int, int] = {}
        """Shard -> RECEIVEs that are on their way."""
        self._idle_until_ms: dict[int, float] = {}
        self._unsaid: dict[int, list[SettleItem]] = {}
        self._settling: set[int] = set()
        client.after_turn.append(self._pump)

    def _pump(self) -> None:
        if not self.joined or self.leaving:
            return
        now_ms = self.world.mono_ms
        for shard in sorted({held.shard for held in self.holdings.values()}):
            is_idle = self._idle_until_ms.get(shard, 0.0) > now_ms
            if not is_idle and self._out.get(shard, 0) < (1 if self.is_calm else RECEIVES_MAX):
                self._receive(shard, self._wish())
        for shard in sorted(self._unsaid):
            if self._unsaid[shard] and shard not in self._settling:
                items = self._unsaid[shard][:SETTLE_ITEMS_MAX]
                del self._unsaid[shard][:SETTLE_ITEMS_MAX]
                self._settle(shard, items)

    # --- messages ----------------------------------------------------------------------------

    def _wish(self) -> ReceiveHeader:
        chance = self.world.chance
        return ReceiveHeader(
            group_id=self.group.group_id,
            receipt=chance.getrandbits(63) or 1,
            count_max=chance.choice((0, 1, 3, 3, 32)),
            bytes_max=chance.choice((400, 3_000, 100_000)),
            invisible_ms=chance.choice((80, 300, 300, 1_500)),
            wait_ms=chance.choice((0, 60, 400, 400)),
            max_attempts=self.group.max_attempts,
            fifo=self.group.is_fifo,
        )

    def _receive(self, shard: int, header: ReceiveHeader) -> None:
        if self.leaving:
            return
        self._out[shard] = self._out.get(shard, 0) + 1

        def told(reply_header: ReceiveReply | None, reply: Reply, asked_ms: float) -> None:
            self._out[shard] -= 1
            if reply_header is None:
                self._idle(shard, AGAIN_MS)
                if self.world.chance.random() < 0.7:
                    self.later(AGAIN_MS, lambda: self._receive(shard, header))
                return
            is_news = not header.count_max and self.world.mono_ms < asked_ms + header.wait_ms
            if not reply_header.parts and not is_news:
                self._idle(shard, CALM_IDLE_MS if self.is_calm else IDLE_MS)
            for part, frame in zip(reply_header.parts, reply.payload, strict=True):
                self._took(shard, part, bytes(frame), header.receipt)
            if self.world.chance.random() < 0.05:
                # As if the answer had been lost.
                self.later(self.world.chance.uniform(0.0, 400.0),
                           lambda: self._receive(shard, header))  # fmt: skip

        self.ask(Verb.RECEIVE, header, shard, told)

    def _idle(self, shard: int, wait_ms: float) -> None:
        self._idle_until_ms[shard] = self.world.mono_ms + wait_ms
        self.later(wait_ms, self.client.turn_soon)

    def _took(self, shard: int, part: ReceivedPart, frame: bytes, receipt: int) -> None:
        head = check_batch(frame)
        assert head.count == part.count, "a payload frame holds the messages of its part"
        record = FetchedRecord(
            part.queue, part.offset, part.stored_at_ms, part.offset + part.count, head, frame
        )
        messages = messages_of(record)
        now_ms = self.world.mono_ms
        for message in messages:
            self._work.deliveries.append(
                Delivery(
                    self.group.name, part.queue, part.generation, self.process, message.offset,
                    message.body, message.message_id, message.tag, now_ms, now_ms, part.attempt,
                )
            )  # fmt: skip
        for stretch in self._stretches(messages, part.attempt):
            item = SettleItem(
                queue=part.queue, generation=part.generation, receipt=receipt,
                start=stretch[0].offset, stop=stretch[-1].offset + 1,
            )  # fmt: skip
            self._plan(shard, item, fails=part.attempt <= failures_of(stretch[0].message_id))

    def _stretches(self, messages: list[Stored], attempt: int) -> list[list[Stored]]:
        """Messages that one program settles alike: cut where one fails, and here and there."""
        found: list[list[Stored]] = []
        is_alone = True
        for message in messages:
            fails = attempt <= failures_of(message.message_id)
            if is_alone or fails or self.world.chance.random() < 0.3:
                found.append([message])
            else:
                found[-1].append(message)
            is_alone = fails
        return found

    # --- what becomes of them ----------------------------------------------------------------

    def _plan(self, shard: int, item: SettleItem, *, fails: bool) -> None:
        chance = self.world.chance
        work_ms = chance.choice((0.0, 0.0, 1.0, 20.0))
        if chance.random() < self._slow:
            work_ms = chance.uniform(60.0, 1_500.0)
        fate = chance.uniform(LONGER, 1.0) if self.is_calm else chance.random()
        if fate < FORGOTTEN:
            return
        if fate < TOO_LATE:
            work_ms = chance.uniform(300.0, 3_000.0)  # mostly
        if fate < LONGER:
            longer = _acting(item, "invisible", chance.choice((50, 400, 1_000)))
            self.later(work_ms / 2, lambda: self._say(shard, longer))
        elif fate < RETURNED:
            self.later(work_ms / 2, lambda: self._say(shard, _acting(item, "return", None)))
            if fate >= CHANGED_MIND:
                return
        said = self._failed(item) if fails else item
        self.later(work_ms, lambda: self._say(shard, said))

    def _failed(self, item: SettleItem) -> SettleItem:
        chance = self.world.chance
        delay_ms = chance.choice((0, 20, 300, 1_500)) if chance.random() >= 0.005 else None
        return _acting(item, "nack", delay_ms, dead=chance.random() < 0.05)

    def _say(self, shard: int, item: SettleItem) -> None:
        self._unsaid.setdefault(shard, []).append(item)
        self.client.turn_soon()

    def _settle(self, shard: int, items: list[SettleItem]) -> None:
        self._settling.add(shard)
        header = SettleHeader(
            group_id=self.group.group_id, max_attempts=self.group.max_attempts, items=items
        )

        def told(reply_header: SettleReply | None, reply: Reply, asked_ms: float) -> None:
            self._settling.discard(shard)
            self.client.turn_soon()
            chance = self.world.chance
            if reply_header is None:
                if chance.random() < 0.7:
                    self.later(AGAIN_MS, partial(self._say_all, shard, items))
                return
            if chance.random() < 0.1:
                self.later(chance.uniform(0.0, 500.0), partial(self._say_all, shard, items))
            for item, result in zip(items, reply_header.results, strict=True):
                if result.code == Code.OK and item.act == "ack":
                    self._promised(item, asked_ms)
                elif result.code == Code.BUSY:
                    self.later(AGAIN_MS, partial(self._say, shard, item))
                elif result.code != Code.OK:
                    detail = item.queue, item.start, int(result.code)
                    self.world.note(self.process, "not settled", detail)

        self.ask(Verb.SETTLE, header, shard, told)

    def _say_all(self, shard: int, items: list[SettleItem]) -> None:
        for item in items:
            self._say(shard, item)

    def _promised(self, item: SettleItem, asked_ms: float) -> None:
        done = below(item.stop) & ~below(item.start)
        self.groups.promises.append(
            Promise(
                self.group.name, item.queue, asked_ms, self.world.mono_ms, done, item.generation
            )
        )

    def kill(self) -> None:
        self._unsaid.clear()
        super().kill()


def _acting(item: SettleItem, act: Any, delay_ms: int | None, *, dead: bool = False) -> SettleItem:
    return SettleItem(
        queue=item.queue, generation=item.generation, receipt=item.receipt, start=item.start,
        stop=item.stop, act=act, delay_ms=delay_ms, dead=dead, cause="fails",
    )  # fmt: skip
