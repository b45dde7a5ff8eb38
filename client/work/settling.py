"""Settler: tells the shards what became of messages. Pure.

One SETTLE for each shard is on its way at a time. What comes meanwhile, of however many threads,
goes with the next, and what lies side by side is told as one: a lone ack waits for nobody, and
many share a request, and the sync of the shard's journal that it takes.

A receipt of a grant that is not in force any more (the group's position was reset, the topic or the
group was deleted) has expired like one whose time is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.codec import HeaderError, decode_header, encode_header
from shardmq.actors.protocol.codes import Code, row_of
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.work_messages import Settle, SettleItem, SettleReply, SettleResult

from ..errors import ShardMQError, remote_error
from ..link.calls import Call, Reply
from ..link.core import ClientCore
from .settlement import Piece, Settlement

__all__ = ["Settler"]

ITEMS_MAX = 1_000
TEXT_CHARS_MAX = 128 * 1024
"""Of the causes and traces of one request: a header has 1 MiB at most."""
AGAIN_MS = 50.0
"""Before a shard is told again what it cannot take now."""

_EXPIRED = frozenset({Code.RECEIPT_EXPIRED, Code.FENCED, Code.STALE_ROUTE, Code.GROUP_NOT_FOUND})


class _Item:
    """Pieces that are told as one."""

    def __init__(self, piece: Piece) -> None:
        self.pieces = [piece]
        self.stop = piece.stop

    def takes(self, piece: Piece) -> bool:
        """Adds a piece that goes on where this ends."""
        first = self.pieces[0]
        one, other = first.handout, piece.handout
        if (
            piece.start != self.stop
            or one.queue != other.queue
            or one.receipt.number != other.receipt.number
            or one.generation != other.generation
            or first.settlement.act != piece.settlement.act
        ):
            return False
        self.pieces.append(piece)
        self.stop = piece.stop
        return True

    def told(self) -> SettleItem:
        first = self.pieces[0]
        handout, act = first.handout, first.settlement.act
        return SettleItem(
            queue=handout.queue, generation=handout.generation, receipt=handout.receipt.number,
            start=first.start, stop=self.stop, act=act.act, delay_ms=act.delay_ms, dead=act.dead,
            cause=act.cause, detail=act.detail,
        )  # fmt: skip


class Settler:
    """What became of the messages of one consumer."""

    def __init__(self, core: ClientCore, max_attempts: int) -> None:
        self.group_id = 0
        self._core = core
        self._max_attempts = max_attempts
        self._waiting: dict[int, deque[Piece]] = {}
        """By shard."""
        self._calls: dict[int, tuple[Call, Sequence[_Item]]] = {}
        self._later: dict[int, list[Piece]] = {}
        """What a shard cannot take now."""
        self._closed: ShardMQError | None = None

    @property
    def is_idle(self) -> bool:
        """True if nothing is on its way."""
        return not (self._calls or self._later or any(self._waiting.values()))

    @property
    def untold(self) -> int:
        """Messages of which no shard is known to have heard."""
        told = [item.pieces for _, items in self._calls.values() for item in items]
        rows = (*told, *self._waiting.values(), *self._later.values())
        return sum(piece.stop - piece.start for row in rows for piece in row)

    def add(self, settlement: Settlement, now: Now) -> None:
        """Tells what became of messages; `settlement.settled` follows."""
        shards = set()
        for piece in settlement.pieces:
            if self._closed is not None:
                settlement.failed(self._closed)
                continue
            receipt = piece.handout.receipt
            if receipt.group_id != self.group_id:
                self._too_late(piece, [(piece.start, piece.stop)], "the group is a new one", now)
                continue
            self._waiting.setdefault(receipt.shard, deque()).append(piece)
            shards.add(receipt.shard)
        for shard in shards:
            self._tell(shard, now)

    def close(self, error: ShardMQError) -> None:
        """Forgets everything in flight: whoever waits for it hears `error`."""
        self._closed = error
        left = [piece for some in (self._waiting, self._later) for row in some.values()
                for piece in row]  # fmt: skip
        for call, items in self._calls.values():
            self._core.forget(call)
            left += [piece for item in items for piece in item.pieces]
        for piece in left:
            piece.settlement.failed(error)
        for some in (self._calls, self._waiting, self._later):
            some.clear()

    # ---------------------------------------------------------------------------------- calls

    def _tell(self, shard: int, now: Now) -> None:
        if shard in self._calls or self._closed is not None:
            return
        items = self._next(self._waiting.get(shard, deque()))
        if not items:
            return
        header = Settle(
            group_id=self.group_id,
            max_attempts=self._max_attempts,
            items=[item.told() for item in items],
        )
        until_ms = max(piece.settlement.until_ms for item in items for piece in item.pieces)
        answered = partial(self._answered, shard, items)
        call = Call(Verb.SETTLE, encode_header(header), answered, deadline_ms=until_ms, shard=shard)
        self._calls[shard] = call, items
        self._core.submit(call, now)

    def _next(self, waiting: deque[Piece]) -> list[_Item]:
        taken: list[Piece] = []
        chars = 0
        while waiting and len(taken) < ITEMS_MAX and chars < TEXT_CHARS_MAX:
            piece = waiting.popleft()
            if not piece.settlement.settled:  # else its user gave up
                taken.append(piece)
                chars += len(piece.settlement.act.cause) + len(piece.settlement.act.detail)
        if len(taken) > 1:
            taken.sort(key=_order)
        items: list[_Item] = []
        for piece in taken:
            if not items or not items[-1].takes(piece):
                items.append(_Item(piece))
        return items

    def _answered(self, shard: int, items: Sequence[_Item], reply: Reply, now: Now) -> None:
        del self._calls[shard]
        results: list[SettleResult] = []
        error: ShardMQError | None = None
        if reply.code == Code.OK:
            try:
                results = decode_header(reply.header, SettleReply).results
            except HeaderError as fault:
                error = remote_error(Code.INTERNAL, f"the answer cannot be read: {fault}")
            else:
                if len(results) != len(items):
                    text = f"{len(items)} items were settled with {len(results)} answers"
                    error = remote_error(Code.INTERNAL, text)
        elif reply.code == Code.GROUP_NOT_FOUND:
            results = [SettleResult(code=reply.code, message=reply.error().message)] * len(items)
        else:
            header = reply.error()
            error = remote_error(reply.code, header.message, header.hint)
        if error is None:
            for item, result in zip(items, results, strict=True):
                self._take(shard, item, result, now)
        else:
            for item in items:
                for piece in item.pieces:
                    piece.settlement.failed(error)
        self._tell(shard, now)

    def _take(self, shard: int, item: _Item, result: SettleResult, now: Now) -> None:
        code = result.code
        if code == Code.OK:
            for piece in item.pieces:
                piece.settlement.done(piece, now.wall_ms)
        elif code in _EXPIRED:
            for piece in item.pieces:
                whole = [(piece.start, piece.stop)]
                expired = (code == Code.RECEIPT_EXPIRED and result.expired) or whole
                self._too_late(piece, expired, result.message, now)
        elif row_of(code).retryable:
            for piece in item.pieces:
                if now.mono_ms + AGAIN_MS < piece.settlement.until_ms:
                    self._keep(shard, piece, now)
                else:
                    piece.settlement.failed(remote_error(code, result.message))
        else:
            for piece in item.pieces:
                piece.settlement.failed(remote_error(code, result.message))

    def _keep(self, shard: int, piece: Piece, now: Now) -> None:
        if shard not in self._later:
            self._later[shard] = []
            self._core.timers.at(now.mono_ms + AGAIN_MS, partial(self._tell_again, shard))
        self._later[shard].append(piece)

    def _tell_again(self, shard: int, now: Now) -> None:
        self._waiting.setdefault(shard, deque()).extend(self._later.pop(shard, ()))
        self._tell(shard, now)

    @staticmethod
    def _too_late(piece: Piece, expired: Iterable[tuple[int, int]], reason: str, now: Now) -> None:
        for start, stop in expired:
            first, end = max(start, piece.start), min(stop, piece.stop)
            if first < end:
                piece.settlement.late(piece.handout, first, end, reason)
        piece.settlement.done(piece, now.wall_ms)


def _order(piece: Piece) -> tuple[int, int, int]:
    return piece.order
