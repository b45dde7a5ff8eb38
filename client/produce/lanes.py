"""Lanes: one for each queue, with at most one batch in flight. Pure.

Owns the order in which batches leave, retries of a batch by itself, and what an answer means for
it. Must not know messages or routes: a batch that is refused because its queue moved is handed to
`refused`, one whose fate is known to `settled`.

What a lane sends again is the same bytes to the same queue, so the broker stores it once. A batch
fails for certain only if no attempt of it went unanswered; else its fate is unknown, the lane goes
on with higher sequences, and the broker refuses the older batch should it still turn up.

Lanes of one shard that are ready travel in one PRODUCE request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.codec import HeaderError, decode_header, encode_header
from shardmq.actors.protocol.codes import Code, row_of
from shardmq.actors.protocol.limits import REQUEST_QUEUES_MAX
from shardmq.actors.protocol.messages import (
    AckMode,
    Produce,
    ProduceQueue,
    ProduceReply,
    ProduceResult,
)
from shardmq.actors.protocol.verbs import Verb

from ..link.calls import Call, Reply, back_off_ms
from ..link.core import ClientCore
from .receipts import Part, SendFault

__all__ = ["Lanes"]

REQUEST_BYTES = 2 * 1024 * 1024
"""Of one PRODUCE: enough to amortise it, small enough that shards work while we encode."""
NO_CREDIT_MS = 5.0
SWEEP_MS = 250.0
"""How late a waiting batch may learn that its deadline passed."""
_OK = int(Code.OK)
_PRODUCE = int(Verb.PRODUCE)
_ROUTE_IS_OLD = (Code.STALE_ROUTE, Code.MOVED)


class _Lane:
    __slots__ = ("header", "held", "in_flight", "number", "shard", "topic", "waiting")

    def __init__(self, part: Part) -> None:
        self.number: int = part.queue.number
        self.shard: int = part.queue.shard
        self.topic = part.parcel.topic
        self.waiting: deque[Part] = deque()
        self.in_flight: Part | None = None
        self.held = False
        """Waits before its next attempt."""
        self.header = b""
        """Of a PRODUCE that has one batch for this queue, chosen without a key."""


class Lanes:
    """The lanes of one producer."""

    def __init__(
        self,
        core: ClientCore,
        ack: AckMode,
        refused: Callable[[Part, Now], None],
        settled: Callable[[Part, Now], None],
    ) -> None:
        self.frozen: set[str] = set()
        """Topics whose lanes stand still until their new route is there."""
        self._core = core
        self._ack = ack
        self._refused = refused
        self._settled = settled
        self._lanes: dict[int, _Lane] = {}
        self._ready: dict[int, dict[int, _Lane]] = {}
        self._waiting: dict[str, int] = {}
        self._in_flight: dict[str, int] = {}
        self._sweeping = False
        self._hungry = False

    def put(self, part: Part) -> None:
        """Queues a part; `pump` sends it."""
        number = part.queue.number
        lane = self._lanes.get(number)
        if lane is None:
            lane = self._lanes[number] = _Lane(part)
        lane.waiting.append(part)
        self._count_waiting(lane, 1)
        self._mark(lane)

    def send_alone(self, part: Part, now: Now) -> bool:
        """Sends a part at once, by itself, if nothing else of its queue waits or is in flight.

        The short cut of a lone message: what `put` and `pump` would do, without looking at all
        the other lanes.
        """
        number, topic = part.queue.number, part.parcel.topic
        lane = self._lanes.get(number)
        if lane is None:
            lane = self._lanes[number] = _Lane(part)
        elif lane.in_flight is not None or lane.waiting or lane.held:
            return False
        if topic in self.frozen or len(part.batch) > self._core.credit_bytes:
            return False
        header = lane.header
        if not header or part.version:
            header = self._header([part])
            if not part.version:
                lane.header = header
        lane.in_flight = part
        self._in_flight[topic] = self._in_flight.get(topic, 0) + 1
        call = Call(
            _PRODUCE,
            header,
            partial(self._answered_alone, lane, part),
            deadline_ms=part.deadline_ms,
            shard=lane.shard,
            payload=[part.batch],
        )
        self._core.submit(call, now)
        return True

    def waiting(self, topic: str) -> int:
        """Parts of a topic that have not left yet."""
        return self._waiting.get(topic, 0)

    def in_flight(self, topic: str) -> int:
        """Parts of a topic that left and are not answered yet."""
        return self._in_flight.get(topic, 0)

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._in_flight

    def take_waiting(self, topic: str) -> list[Part]:
        """Empties a topic's lanes: its waiting parts, lane by lane, each in order."""
        taken: list[Part] = []
        for lane in [lane for lane in self._lanes.values() if lane.topic == topic]:
            taken += lane.waiting
            self._count_waiting(lane, -len(lane.waiting))
            lane.waiting.clear()
            if lane.in_flight is None:
                self._drop(lane)
        return taken

    def pump(self, now: Now) -> None:
        """Sends everything that may leave."""
        for shard in list(self._ready):
            while parts := self._load(shard):
                self._send(shard, parts, now)
        if self._waiting and not self._sweeping:
            self._sweep_later(now)

    def fail(self, part: Part, fault: SendFault, now: Now) -> None:
        """Gives a part up."""
        part.fault = fault._replace(unknown=fault.unknown or part.unknown)
        self._settle(part, now)

    # ------------------------------------------------------------------------------- leaving

    def _load(self, shard: int) -> list[Part]:
        """The parts of the next request to a shard; none if nothing may leave."""
        ready = self._ready.get(shard)
        parts: list[Part] = []
        if not ready:
            return parts
        room = min(REQUEST_BYTES, self._core.credit_bytes)
        for number in list(ready):
            lane = ready[number]
            if lane.topic in self.frozen:
                continue
            size = len(lane.waiting[0].batch)
            if (parts and size > room) or size > self._core.credit_bytes:
                break
            if len(parts) == REQUEST_QUEUES_MAX:
                break
            del ready[number]
            lane.in_flight = part = lane.waiting.popleft()
            self._count_waiting(lane, -1)
            self._in_flight[lane.topic] = self._in_flight.get(lane.topic, 0) + 1
            room -= size
            parts.append(part)
        if ready and not parts:
            self._ask_for_credit(ready)
        return parts

    def _ask_for_credit(self, ready: dict[int, _Lane]) -> None:
        """Others of this connection use the session's credit up: look again soon."""
        self._hungry = any(lane.topic not in self.frozen for lane in ready.values())

    def _send(self, shard: int, parts: list[Part], now: Now) -> None:
        call = Call(
            _PRODUCE,
            self._header(parts),
            partial(self._answered, parts),
            deadline_ms=min(part.deadline_ms for part in parts),
            shard=shard,
            payload=[part.batch for part in parts],
        )
        self._core.submit(call, now)

    def _header(self, parts: list[Part]) -> bytes:
        queues = [ProduceQueue(queue=part.queue.number, version=part.version) for part in parts]
        return encode_header(Produce(ack=self._ack, queues=queues))

    # ------------------------------------------------------------------------------- answers

    def _answered_alone(self, lane: _Lane, part: Part, reply: Reply, now: Now) -> None:
        """The answer to `send_alone`: here if it is a receipt, else as any other."""
        if reply.code != _OK:
            self._answered([part], reply, now)
            return
        (result,) = _results([part], reply)
        if result.code != _OK:
            self._answered([part], reply, now)
            return
        lane.in_flight = None
        self._count_answered(lane.topic)
        part.base_offset = result.base_offset
        part.stored_at_ms = result.stored_at_ms
        part.duplicate = result.duplicate
        self._settle(part, now)
        if lane.waiting:
            self._mark(lane)
        if self._waiting:
            self.pump(now)

    def _count_answered(self, topic: str) -> None:
        left = self._in_flight[topic] - 1
        if left:
            self._in_flight[topic] = left
        else:
            del self._in_flight[topic]

    def _answered(self, parts: list[Part], reply: Reply, now: Now) -> None:
        for part, result in zip(parts, _results(parts, reply), strict=True):
            lane = self._lanes[part.queue.number]
            lane.in_flight = None
            self._count_answered(lane.topic)
            if result.code == _OK:
                part.base_offset = result.base_offset
                part.stored_at_ms = result.stored_at_ms
                part.duplicate = result.duplicate
                self._settle(part, now)
            else:
                self._not_stored(lane, part, result, reply, now)
            self._mark(lane)
        self.pump(now)

    def _not_stored(
        self, lane: _Lane, part: Part, result: ProduceResult, reply: Reply, now: Now
    ) -> None:
        row = row_of(result.code)
        # What ran out of time before it ever left is certain: there was no attempt.
        doubtful = reply.sent and row.stored == "unknown"
        part.unknown = part.unknown or reply.unknown or doubtful
        part.attempts += 1
        fault = SendFault(result.code, result.message or row.hint, unknown=part.unknown)
        if row.code in _ROUTE_IS_OLD and not part.unknown:
            self._put_back(lane, part)
            self._refused(part, now)
        elif row.retryable and row.code not in _ROUTE_IS_OLD:
            jitter = self._core.randomness.uniform(0.5, 1.5)
            wait_ms = back_off_ms(part.attempts, result.retry_after_ms, jitter)
            if now.mono_ms + wait_ms >= part.deadline_ms:
                self.fail(part, fault, now)
            else:
                self._put_back(lane, part)
                self._hold(lane, now.mono_ms + wait_ms)
                if lane.topic in self.frozen:
                    self._refused(part, now)  # perhaps the last one that the topic waited for
        else:
            self.fail(part, fault, now)

    def _put_back(self, lane: _Lane, part: Part) -> None:
        lane.waiting.appendleft(part)
        self._count_waiting(lane, 1)

    def _hold(self, lane: _Lane, until_ms: float) -> None:
        lane.held = True

        def resume(now: Now) -> None:
            lane.held = False
            self._mark(lane)
            self.pump(now)

        self._core.timers.at(until_ms, resume)

    def _settle(self, part: Part, now: Now) -> None:
        part.settled = True
        part.batch = b""
        self._settled(part, now)

    # ---------------------------------------------------------------------------------- sweep

    def _sweep_later(self, now: Now) -> None:
        heads = [lane.waiting[0].deadline_ms for lane in self._lanes.values() if lane.waiting]
        due_ms = min(max(min(heads), now.mono_ms + 1.0), now.mono_ms + SWEEP_MS)
        if self._hungry:
            due_ms = min(due_ms, now.mono_ms + NO_CREDIT_MS)
            self._hungry = False
        self._sweeping = True
        self._core.timers.at(due_ms, self._sweep)

    def _sweep(self, now: Now) -> None:
        """Fails what waited past its deadline."""
        self._sweeping = False
        for lane in list(self._lanes.values()):
            while lane.waiting and lane.waiting[0].deadline_ms <= now.mono_ms:
                part = lane.waiting.popleft()
                self._count_waiting(lane, -1)
                text = "the message waited in the producer until its timeout"
                self.fail(part, SendFault(Code.TIMED_OUT, text), now)
            self._mark(lane)
        self.pump(now)

    # ---------------------------------------------------------------------------- book-keeping

    def _mark(self, lane: _Lane) -> None:
        if self._lanes.get(lane.number) is not lane:
            return  # dropped meanwhile; another may have its number
        ready = self._ready.setdefault(lane.shard, {})
        if lane.waiting and lane.in_flight is None and not lane.held:
            ready[lane.number] = lane
        else:
            ready.pop(lane.number, None)

    def _drop(self, lane: _Lane) -> None:
        self._ready.get(lane.shard, {}).pop(lane.number, None)
        del self._lanes[lane.number]

    def _count_waiting(self, lane: _Lane, change: int) -> None:
        count = self._waiting.get(lane.topic, 0) + change
        if count:
            self._waiting[lane.topic] = count
        else:
            self._waiting.pop(lane.topic, None)


def _results(parts: list[Part], reply: Reply) -> list[ProduceResult]:
    """One result for each part, whatever came."""
    if reply.code == _OK:
        try:
            results = decode_header(reply.header, ProduceReply).queues
        except HeaderError as fault:
            text = f"the broker's answer cannot be read: {fault}"
            return [_all(part, Code.INTERNAL, text, 0) for part in parts]
        if [result.queue for result in results] == [part.queue.number for part in parts]:
            return results
        text = "the broker's answer does not name the queues that were sent"
        return [_all(part, Code.INTERNAL, text, 0) for part in parts]
    error = reply.error()
    return [_all(part, reply.code, error.message, error.retry_after_ms) for part in parts]


def _all(part: Part, code: int, message: str, retry_after_ms: int) -> ProduceResult:
    queue = part.queue.number
    return ProduceResult(queue=queue, code=code, message=message, retry_after_ms=retry_after_ms)
