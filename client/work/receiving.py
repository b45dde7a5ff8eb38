"""Receiver: finds messages for those who call `receive`. Pure.

Nobody is waited for by the shards: a RECEIVE takes what is there. A shard that had nothing gets
one more request, the watch, which it answers, empty, as soon as there is something; so messages
are handed out only to somebody who is there to take them, never to a consumer that was killed
while it waited.

    a shard is    it is asked                          until
    ready         in turn, by all who want something   it has nothing
    empty         once by each who comes               its watch is answered, or a little while
    away          not at all                           it answers, or a little while

One RECEIVE for each shard is on its way at a time: those who come meanwhile share the next. Of a
FIFO group each is for one caller alone, or two threads would work on one queue. A shard that does
not answer soon is away: whoever waited for it looks elsewhere, and gets its answer if it comes in
time. What comes too late, or after the end, is given back, and so is what nobody came to take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.codec import HeaderError, decode_header, encode_header
from shardmq.actors.protocol.codes import Code, row_of
from shardmq.actors.protocol.group_messages import AssignedQueue
from shardmq.actors.protocol.limits import MIB
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.work_messages import Receive, ReceiveReply

from ..errors import ShardMQError, TimedOut, remote_error
from ..link.calls import Call, Reply
from ..link.core import ClientCore
from ..received import ReceivedMessage
from .handout import Receipt
from .opening import Opener
from .sources import Arrived, Request, Source, Sources, Wish, sharing

__all__ = ["Receiver"]

REQUEST_MS = 10_000.0
LATE_MS = 500.0
"""After which a shard that has not answered is away."""
EMPTY_MS = 20.0
"""After which an empty shard is asked again while others have something."""
AGAIN_MS = 200.0
"""Before a shard is asked again that has failed."""
WATCH_MS = 10_000.0
ANSWER_MS = 2_000.0
BYTES_MAX = 4 * MIB
"""Of one answer; 1 MiB for each who shares it."""

_GiveBack = Callable[[Sequence[ReceivedMessage], Now], None]


class Receiver:
    """The calls of `receive` of one consumer.

    Args:
        owner: the consumer's core, as its receipts name it.
        give_back: makes messages visible again that nobody here wants.
    """

    def __init__(
        self,
        core: ClientCore,
        owner: object,
        give_back: _GiveBack,
        *,
        max_attempts: int,
        is_fifo: bool,
    ) -> None:
        self.error: ShardMQError | None = None
        """Why nothing can be received any more."""
        self._core = core
        self._owner = owner
        self._give_back = give_back
        self._max_attempts = max_attempts
        self._is_fifo = is_fifo
        self._group_id = 0
        self._opener = Opener()
        self._arrived = Arrived()
        self._sources = Sources()
        self._requests: set[Request] = set()
        self._late: set[Request] = set()
        """Those whose shards are away."""
        self._fresh: dict[Wish, None] = {}
        """Wishes for which a shard is left to be asked, in order."""
        self._idle: dict[Wish, None] = {}
        """Wishes that wait for a shard to have something, in order."""
        self.take = self._arrived.take
        """What a settled wish has got; may be called without the lock."""

    @property
    def is_idle(self) -> bool:
        """True if no shard can still hand out anything to this consumer."""
        return not self._requests

    # --------------------------------------------------------------------------- what users do

    def receive(self, wish: Wish, now: Now) -> None:
        """Wants messages: `wish.settled` follows. Whoever waits calls `late` at `wish.until_ms`."""
        if self.error is not None:
            wish.settle(self.error)
            return
        for source in self._sources.values():
            if now.mono_ms - source.empty_ms >= EMPTY_MS:
                source.is_ready = True
        self._back(wish, now)
        self._pump(now)

    def late(self, wish: Wish, now: Now) -> None:
        """The time of a wish has come: it is settled, or `until_ms` is put off for a little."""
        if wish.request is not None:
            wish.until_ms = max(wish.request.late_ms, now.mono_ms + 1)
        elif now.mono_ms < wish.patient_ms and (wish in self._fresh or not wish.heard):
            wish.until_ms = wish.patient_ms
        elif not wish.settled:
            self._leave(wish)
            wish.settle(None if wish.heard else self._silence())
            self._abandon(now)

    def give_up(self, wish: Wish, now: Now) -> None:
        """Nobody waits any more, or takes what came."""
        self._leave(wish)
        wish.settle(wish.error)
        self._return(self._arrived.recall(wish), now)
        self._abandon(now)

    # ---------------------------------------------------------------------- what the core does

    def joined(self, group_id: int) -> None:
        """The group's id: what was known of another one is void."""
        self._forget()
        self._opener.forget()
        self._sources.clear()
        self._group_id = group_id

    def changed(self, held: Iterable[AssignedQueue], now: Now) -> None:
        """Where the group's queues are."""
        queues = list(held)
        self._forget_watches(self._sources.change({queue.shard for queue in queues}))
        for messages in self._opener.learn(queues):
            self._deal(messages, list(chain(self._idle, self._fresh)), now)
        self._sort(now)
        self._pump(now)

    def fail(self, error: ShardMQError, now: Now) -> None:
        """Nothing can be received from now on: all who wait hear why. What shards may hand out
        already is waited for, and given back: see `is_idle`."""
        self._end(error)
        for request in list(self._requests):
            if request.is_unheard:
                self._drop(request)
        self._return(self._opener.close(), now)

    def stop(self, error: ShardMQError, now: Now) -> None:
        """As `fail`; what came and was not taken yet is given back, too."""
        self.fail(error, now)
        self._return(self._arrived.recall_all(error), now)

    def close(self, error: ShardMQError) -> None:
        """As `fail`, but whatever is on its way is forgotten."""
        self._end(error)
        self._forget()

    # ------------------------------------------------------------------------------- deciding

    def _pump(self, now: Now) -> None:
        """Asks whoever should be asked now."""
        at_hand = self._sources.in_turn()
        free = [one for one in at_hand if one.is_ready and one.request is None]
        while free and (self._idle or self._fresh):
            waiting = len(self._idle) + len(self._fresh)
            share = -(-waiting // len(free))
            self._ask(free.pop(0), list(chain(self._idle, self._fresh)), share, now)
        if self._fresh and not any(one.is_ready for one in at_hand):
            for source in at_hand:
                wishes = [wish for wish in self._fresh if source.number not in wish.asked]
                if wishes and source.request is None:
                    self._ask(source, wishes, len(wishes), now)
        if self._idle:
            for source in at_hand:
                if not source.is_ready and source.request is None and source.watch is None:
                    self._watch(source, now)
        if self._late:
            self._abandon(now)

    def _abandon(self, now: Now) -> None:
        """What nobody waits for and no shard can have heard of is asked for no more. The others
        go on: what was handed out with an answer that was lost comes, and is given back."""
        for request in self._late:
            if request.call is not None and request.is_unheard:
                if all(wish.settled for wish in request.wishes):
                    self._core.send_no_more(request.call, now)

    def _back(self, wish: Wish, now: Now) -> None:
        """A wish that no request is on its way for: it waits, or is over."""
        self._leave(wish)
        wish.request = None
        if any(
            not source.is_away and source.number not in wish.asked
            for source in self._sources.values()
        ):
            self._fresh[wish] = None
        elif wish.heard and now.mono_ms >= wish.end_ms:
            wish.settle()
        else:
            self._idle[wish] = None

    def _sort(self, now: Now) -> None:
        for wish in (*self._idle, *self._fresh):
            self._back(wish, now)

    def _leave(self, wish: Wish) -> None:
        self._idle.pop(wish, None)
        self._fresh.pop(wish, None)

    def _silence(self) -> ShardMQError:
        if not self._sources:
            return TimedOut("no shard has a queue of the group's topics yet, or none is known")
        return TimedOut("no shard of the broker answered in time")

    # --------------------------------------------------------------------------------- asking

    def _ask(self, source: Source, wishes: Sequence[Wish], count_max: int, now: Now) -> None:
        """Asks a shard for the first of some wishes, as many as one request may be for."""
        taken = sharing(wishes, 1 if self._is_fifo else count_max)
        request = Request(source, taken, self._new_receipt(), now.mono_ms + LATE_MS)
        for wish in taken:
            self._leave(wish)
            wish.request = request
        header = Receive(
            group_id=self._group_id, receipt=request.receipt, count_max=request.count,
            bytes_max=min(len(taken) * MIB, BYTES_MAX), invisible_ms=request.invisible_ms,
            max_attempts=self._max_attempts, fifo=self._is_fifo,
        )  # fmt: skip
        request.call = Call(
            Verb.RECEIVE, encode_header(header), partial(self._answered, request),
            deadline_ms=now.mono_ms + REQUEST_MS, shard=source.number,
        )  # fmt: skip
        request.timer = self._core.timers.at(request.late_ms, partial(self._miss, request))
        source.request = request
        self._sources.last = source.number
        self._requests.add(request)
        self._core.submit(request.call, now)

    def _new_receipt(self) -> int:
        return (self._core.randomness.u64() >> 1) or 1

    def _miss(self, request: Request, now: Now) -> None:
        """A shard has not answered yet: its wishes look elsewhere meanwhile."""
        source = request.source
        source.request = None
        source.is_away = True
        self._late.add(request)
        for wish in request.wishes:
            if wish.request is request:
                self._back(wish, now)
        self._sort(now)
        self._pump(now)

    def _answered(self, request: Request, reply: Reply, now: Now) -> None:
        source = request.source
        self._requests.discard(request)
        self._late.discard(request)
        if request.timer is not None:
            request.timer.cancel()
        if source.request is request:
            source.request = None
        waiting = request.waiting
        answer = self._read(source, reply, waiting, now)
        if answer is not None:
            source.is_away = False
            source.is_ready = bool(answer.parts or answer.faults)
            if not source.is_ready:
                source.empty_ms = now.mono_ms
            for wish in waiting:
                wish.heard = True
                wish.asked.add(source.number)
            ahead_ms = answer.until_ms - request.invisible_ms - now.wall_ms
            receipt = Receipt(
                self._owner, self._group_id, source.number, request.receipt, answer.until_ms,
                ahead_ms,
            )  # fmt: skip
            self._deal(self._opener.open(answer, reply.payload, receipt), waiting, now)
        self._pump(now)

    def _deal(self, messages: list[ReceivedMessage], wishes: Sequence[Wish], now: Now) -> None:
        """Gives messages to those who wait for them, and back what is left."""
        at = 0
        for wish in wishes:
            if at < len(messages) and not (at and self._is_fifo):
                self._leave(wish)
                self._arrived.settle(wish, messages[at : at + wish.count])
                at += len(wish.messages)
            else:
                self._back(wish, now)
        self._return(messages[at:], now)

    def _return(self, messages: Sequence[ReceivedMessage], now: Now) -> None:
        if messages:
            self._give_back(messages, now)

    # -------------------------------------------------------------------------------- watches

    def _watch(self, source: Source, now: Now) -> None:
        """Has a shard say when it has something."""
        longest_ms = max(wish.end_ms for wish in self._idle) - now.mono_ms
        wait_ms = min(longest_ms, WATCH_MS)
        if wait_ms < 1:
            return
        header = Receive(
            group_id=self._group_id, receipt=self._new_receipt(), count_max=0,
            wait_ms=int(wait_ms), max_attempts=self._max_attempts, fifo=self._is_fifo,
        )  # fmt: skip
        source.watch = Call(
            Verb.RECEIVE, encode_header(header), partial(self._seen, source),
            deadline_ms=now.mono_ms + wait_ms + REQUEST_MS, shard=source.number,
            attempt_ms=wait_ms + ANSWER_MS,
        )  # fmt: skip
        self._core.submit(source.watch, now)

    def _seen(self, source: Source, reply: Reply, now: Now) -> None:
        source.watch = None
        if self._read(source, reply, list(self._idle), now) is not None:
            source.is_ready = True
            for wish in self._idle:
                wish.heard = True
        self._pump(now)

    # --------------------------------------------------------------------------------- faults

    def _read(
        self, source: Source, reply: Reply, waiting: Sequence[Wish], now: Now
    ) -> ReceiveReply | None:
        """The answer, or None: then what follows from that is done already."""
        if reply.code == Code.OK:
            try:
                return decode_header(reply.header, ReceiveReply)
            except HeaderError as fault:
                error = remote_error(Code.INTERNAL, f"the answer cannot be read: {fault}")
        elif row_of(reply.code).retryable:
            source.is_away = True
            self._core.timers.at(now.mono_ms + AGAIN_MS, partial(self._come_back, source))
            for wish in waiting:
                self._back(wish, now)
            return None
        else:
            header = reply.error()
            error = remote_error(reply.code, header.message, header.hint)
        for wish in waiting:
            self._leave(wish)
            wish.settle(error)
        return None

    def _come_back(self, source: Source, now: Now) -> None:
        source.is_away = False
        source.is_ready = True
        self._sort(now)
        self._pump(now)

    def _end(self, error: ShardMQError) -> None:
        self.error = error
        asked = [wish for request in self._requests for wish in request.wishes]
        for wish in (*self._idle, *self._fresh, *asked):
            if not wish.settled:
                wish.settle(error)
        self._idle.clear()
        self._fresh.clear()
        self._forget_watches(self._sources.values())

    def _forget(self) -> None:
        """Drops what is on its way; its wishes wait as if they had just come."""
        for request in list(self._requests):
            self._drop(request)
            for wish in request.wishes:
                if wish.request is request:
                    wish.request = None
                    self._fresh[wish] = None
        self._forget_watches(self._sources.values())
        for wish in self._fresh:
            wish.asked.clear()

    def _drop(self, request: Request) -> None:
        assert request.call is not None, "a request that is known was sent"
        self._core.forget(request.call)
        if request.timer is not None:
            request.timer.cancel()
        self._requests.discard(request)
        self._late.discard(request)

    def _forget_watches(self, sources: Iterable[Source]) -> None:
        for source in sources:
            if source.watch is not None:
                self._core.forget(source.watch)
                source.watch = None
