"""Work queues against a naive model: whatever is received, settled, and lost by crashes, each
message is with one receiver at a time, comes again when it must, and ends once."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from random import Random

import msgspec
import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.work_messages import EVERYBODY, SettleItem
from shardmq.shards import cut, receive
from shardmq.shards.shard import ShardState
from shardmq.shards.state.ranges import holds
from support.grouped import GROUP
from support.journals import records_of
from support.retrying import DEAD, QUEUE
from support.work_shard import OTHER, Got, WorkingShard

MAX_ATTEMPTS = 4
STEPS = 150


class Message(msgspec.Struct):
    """One message that the group selects, as the model knows it."""

    attempt: int = 0
    until_ms: int = 0
    receipt: int = 0
    held: bool = False
    done: bool = False


class Walk:
    """Random members of one work group, on two queues."""

    def __init__(self, seed: int, expression: str, *, fifo: bool = False) -> None:
        self.random = Random(seed)
        self.fifo = fifo
        self.expression = expression
        self.shard = shard = WorkingShard(
            segment_bytes=1 << 15, reserve_bytes=1 << 12, slice_every_ms=0, slice_buckets=16
        )
        shard.prepare()
        for queue in (QUEUE, OTHER):
            shard.grant(queue, 2, member=EVERYBODY, expression=expression)
        self.model: dict[tuple[int, int], Message] = {}
        self.synced: dict[tuple[int, int], Message] = {}
        self.dead = 0
        self.next = {QUEUE: 0, OTHER: 0}

    @property
    def wall_ms(self) -> int:
        return self.shard.clock.now().wall_ms

    def step(self) -> None:
        chance = self.random.random()
        if chance < 0.15:
            self.fill()
        elif chance < 0.5:
            self.receive(self.random.choice((1, 2, 7, 40)))
        elif chance < 0.85:
            self.settle()
        elif chance < 0.95:
            self.shard.pass_time(self.random.choice((1, 30, 400)))
            self.sync()
        else:
            self.crash(power_cut=self.random.random() < 0.5)

    def sync(self) -> None:
        self.shard.turn()
        self.shard.sync()
        self.synced = deepcopy(self.model)

    def fill(self) -> None:
        queue = self.random.choice((QUEUE, OTHER))
        count = self.random.choice((1, 3, 20))
        tags = [self.random.choice(("a", "b", None)) for _ in range(count)]
        bodies = [b"%d" % (self.next[queue] + at) for at in range(count)]
        self.shard.fill(queue, *bodies, tags=tags)
        for at, tag in enumerate(tags):
            if self.expression == "*" or tag == "a":
                self.model[queue, self.next[queue] + at] = Message()
        self.next[queue] += count
        self.sync()

    def receive(self, count: int) -> list[Got]:
        shard = self.shard
        invisible_ms = self.random.choice((50, 500))
        blocked = self.blocked()
        found = shard.receive(
            count, invisible_ms=invisible_ms, max_attempts=MAX_ATTEMPTS, fifo=self.fifo
        )
        self.bury()
        if self.fifo:
            self.check_order(found, blocked)
        for one in found:
            message = self.model[one.queue, one.offset]
            assert not message.done, one
            assert message.until_ms <= self.wall_ms, (one, message)
            assert one.attempt == message.attempt + 1 <= MAX_ATTEMPTS, (one, message)
            assert one.body == b"%d" % one.offset
            message.attempt, message.held = one.attempt, True
            message.until_ms, message.receipt = self.wall_ms + invisible_ms, shard.receipt
        assert len(found) <= count
        if len(found) < count:
            left = [key for key, one in self.model.items() if self.is_free(one)]
            left = [key for key in left if key[0] not in blocked]
            assert not left, f"{left} were to be had"
        if found and self.random.random() < 0.1:
            again = shard.receive(count, receipt=shard.receipt, invisible_ms=9)
            assert sorted(again) == sorted(found)
        return found

    def blocked(self) -> set[int]:
        """In fifo: queues of which something is in somebody's hands."""
        return {
            queue
            for (queue, _), one in self.model.items()
            if self.fifo and not one.done and one.until_ms > self.wall_ms
        }

    def check_order(self, found: list[Got], blocked: set[int]) -> None:
        """In fifo, a queue gives the first ones that are not done."""
        for queue in (QUEUE, OTHER):
            given = [one.offset for one in found if one.queue == queue]
            left = sorted(
                at for (of, at), one in self.model.items() if of == queue and not one.done
            )
            assert given == left[: len(given)]
            assert not given or queue not in blocked

    def is_free(self, message: Message) -> bool:
        return not message.done and message.until_ms <= self.wall_ms

    def bury(self) -> None:
        """Note what became a dead letter: the shard does it when it comes upon it."""
        for (queue, offset), message in self.model.items():
            cursor = self.shard.state.cursors.get(GROUP, queue)
            assert cursor is not None
            is_done = offset < cursor.floor or holds(cursor.acked, offset)
            if is_done and not message.done:
                assert message.attempt >= MAX_ATTEMPTS
                assert message.until_ms <= self.wall_ms
                message.done = True
                self.dead += 1

    def settle(self) -> None:
        if not self.model:
            return
        queue, offset = self.random.choice(list(self.model)[-40:])
        act = self.random.choice(("ack", "ack", "nack", "invisible"))
        delay_ms = self.random.choice((0, 60)) if act == "nack" else 200
        message = self.model[queue, offset]
        receipt = message.receipt if self.random.random() < 0.9 else 1
        stop = min(offset + self.random.choice((1, 1, 4)), self.next[queue])
        item = SettleItem(
            queue=queue, generation=2, receipt=max(receipt, 1), start=offset, stop=stop, act=act,
            delay_ms=delay_ms,
        )  # fmt: skip
        expired = self.expected(item)
        (result,) = self.shard.settled(item, max_attempts=MAX_ATTEMPTS)
        told = {at for start, behind in result.expired for at in range(start, behind)}
        # What the group does not select, and was not come to, is nobody's.
        told = {at for at in told if (queue, at) in self.model}
        assert told == expired, (item, result)
        assert (result.code == Code.RECEIPT_EXPIRED) == bool(result.expired)
        self.sync()

    def expected(self, item: SettleItem) -> set[int]:
        """Carry out `item` in the model; the offsets for which it comes too late."""
        expired = set()
        for at in range(item.start, item.stop):
            message = self.model.get((item.queue, at))
            if message is None or message.done:
                continue
            is_own = message.receipt == item.receipt and message.attempt > 0
            if not is_own or not message.held or message.until_ms <= self.wall_ms:
                if not (is_own and not message.held and item.act == "nack"):
                    expired.add(at)
            elif item.act == "ack":
                message.done = True
            elif item.act == "nack" and message.attempt >= MAX_ATTEMPTS:
                message.done = True
                self.dead += 1
            else:
                assert item.delay_ms is not None
                message.until_ms = self.wall_ms + item.delay_ms
                message.held = item.act != "nack"
        return expired

    def crash(self, *, power_cut: bool) -> None:
        if power_cut:
            dead_before = sum(one.done for one in self.model.values())
            self.model = deepcopy(self.synced)
            self.dead -= dead_before - sum(one.done for one in self.model.values())
        self.shard.restart(power_cut=power_cut)
        self.sync()
        digests = self.shard.digests()
        if self.random.random() < 0.3:
            self.shard.restart()
            assert self.shard.digests() == digests

    def finish(self) -> None:
        """Receive and ack all that is left."""
        shard = self.shard
        for _ in range(100):
            shard.pass_time(500)
            found = self.receive(40)
            items = [
                SettleItem(queue=one.queue, generation=2, receipt=shard.receipt,
                           start=one.offset, stop=one.offset + 1)
                for one in found
            ]  # fmt: skip
            if items:
                for item in items:
                    assert not self.expected(item)
                assert set(shard.codes(*items)) == {Code.OK}
            elif all(message.done for message in self.model.values()):
                break
        assert all(message.done for message in self.model.values())
        shard.receive(9)  # passes over what is left that nobody wants
        for queue, end in self.next.items():
            cursor = shard.cursor(queue)
            assert (cursor.floor, cursor.lag, cursor.in_flight) == (end, 0, 0)
            assert shard.rows(queue) == []
        assert shard.state.cursors.rows == 0
        shard.sync()
        shard.settle()
        dead = shard.seen(DEAD)
        assert len(dead) == self.dead
        assert set(Counter(one.message_id for one in dead).values()) <= {1}
        assert shard.core.stats()["internal_errors"] == 0


@pytest.mark.parametrize("fifo", [False, True])
@pytest.mark.parametrize("expression", ["*", "a"])
@pytest.mark.parametrize("seed", range(4))
def test_random_walks(
    seed: int, expression: str, fifo: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:
        monkeypatch.setattr(receive, "QUANTUM_MESSAGES", 3)
        monkeypatch.setattr(cut, "OPENED_BYTES_MAX", 1)
    walk = Walk(seed, expression, fifo=fifo)
    for _ in range(STEPS):
        walk.step()
    walk.finish()


def test_at_every_record_each_message_is_in_one_place() -> None:
    walk = Walk(99, "a")
    for _ in range(STEPS):
        walk.step()
    shard = walk.shard
    shard.sync()
    state = ShardState()
    seen = set()
    for record in records_of(shard.io, shard.journal):
        for projection in state.projections:
            if projection.bucket_of(record) >= 0:
                projection.apply(record)
        seen |= {check(state, queue) for queue in (QUEUE, OTHER)}
    assert len(seen) > 20  # the walk did pass through many states


def check(state: ShardState, queue: int) -> tuple[int, ...]:
    """No row holds what is done with, and below the last row nothing is nowhere."""
    cursor = state.cursors.get(GROUP, queue)
    if cursor is None:
        return ()
    behind = cursor.floor
    for row in cursor.handouts or ():
        assert row.start >= cursor.floor
        for offset in range(behind, row.start):
            assert holds(cursor.acked, offset), f"{offset} of queue {queue} is nowhere"
        for offset in range(row.start, row.stop):
            assert not holds(cursor.acked, offset)
        behind = row.stop
    return (cursor.floor, behind, *cursor.acked)
