"""Committer: tells the shards what is done. Pure.

One ACK for each shard is on its way at a time and names all queues with news, as far as there is
room for their ranges; the rest, and what comes meanwhile, goes with the next. An answer means that
it is durable. An ACK that fails leaves its queues dirty, and the next commit tells all of it again:
acks only ever add.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.codec import HeaderError, decode_header, encode_header
from shardmq.actors.protocol.codes import Code, row_of
from shardmq.actors.protocol.group_messages import Ack, AckReply, AckResult
from shardmq.actors.protocol.limits import ACK_RANGES_MAX, REQUEST_QUEUES_MAX
from shardmq.actors.protocol.verbs import Verb

from ..errors import ShardMQError, TimedOut, remote_error
from ..link.calls import Call, Reply
from ..link.core import ClientCore
from .tracker import Piece, Tracker

__all__ = ["Commit", "Committer"]

ACK_MS = 10_000.0
"""How long one ACK is sent again before its queues wait for the next commit."""

_log = logging.getLogger("shardmq.client")
_Told = Sequence[tuple[Tracker, Piece]]


class Commit:
    """One wish that all done so far be durable; `settled` when it is, or cannot be."""

    def __init__(self, wanted: Iterable[Tracker]) -> None:
        self._wanted = {tracker: tracker.version for tracker in wanted if tracker.is_dirty}
        self.error: ShardMQError | None = None

    @property
    def settled(self) -> bool:
        return self.error is not None or not self._wanted

    @property
    def untold(self) -> str:
        """The queues that are not durable, for people."""
        return ", ".join(sorted(tracker.name for tracker in self._wanted))

    def fault_of(self, in_time: bool) -> ShardMQError | None:
        """Why it is not all durable, of a commit that was settled, or was not `in_time`."""
        if self.error is None and not in_time:
            return TimedOut("the broker did not answer a commit in time")
        return self.error

    def warn(self) -> None:
        """Logs what of the last commit of a member is not durable."""
        fault = self.fault_of(self.settled)
        if fault is not None:
            _log.warning(
                "the last commit failed, some messages of %s come again: %s", self.untold, fault
            )

    def waits_for(self, tracker: Tracker) -> bool:
        return self.error is None and tracker in self._wanted

    def told(self, tracker: Tracker) -> None:
        """A queue's news are durable, up to its `durable_version`."""
        if self._wanted.get(tracker, tracker.durable_version + 1) <= tracker.durable_version:
            del self._wanted[tracker]

    def failed(self, tracker: Tracker, error: ShardMQError) -> None:
        if tracker in self._wanted:
            self.error = error


class Committer:
    """The acks of one member."""

    def __init__(
        self, core: ClientCore, refused: Callable[[Tracker, ShardMQError, Now], None]
    ) -> None:
        self.group_id = 0
        self._core = core
        self._refused = refused
        self._trackers: set[Tracker] = set()
        self._calls: dict[int, Call] = {}
        """By shard."""
        self._again: set[int] = set()
        """Shards whose next ACK leaves as soon as the one on its way is answered."""
        self._count = 0
        """Of ACKs."""
        self._commits: list[Commit] = []
        self._durable: dict[Tracker, Callable[[Now], None]] = {}

    def add(self, tracker: Tracker) -> None:
        self._trackers.add(tracker)

    def forget(self, tracker: Tracker, error: ShardMQError | None = None) -> None:
        """The queue is not this member's any more; with an error commits that wait for it fail."""
        self._trackers.discard(tracker)
        self._durable.pop(tracker, None)
        for commit in self._commits:
            if error is not None:
                commit.failed(tracker, error)
        self._settle()

    def commit(self, now: Now, wanted: Iterable[Tracker] | None = None) -> Commit:
        """Tells what is done and not told yet, of all queues or some of them."""
        trackers = self._trackers if wanted is None else self._trackers.intersection(wanted)
        commit = Commit(trackers)
        if not commit.settled:
            self._commits.append(commit)
            for shard in {tracker.shard for tracker in trackers if tracker.is_dirty}:
                self._tell(shard, now)
        return commit

    def when_durable(self, tracker: Tracker, then: Callable[[Now], None], now: Now) -> None:
        """Calls `then(now)` once nothing of the queue is left to tell; not if it is forgotten."""
        if not tracker.is_dirty:
            then(now)
            return
        self._durable[tracker] = then
        self._tell(tracker.shard, now)

    def again(self, now: Now) -> None:
        """Tells once more what somebody waits for and what could not be told before."""
        for shard in {tracker.shard for tracker in self._durable}:
            self._tell(shard, now)

    def close(self) -> None:
        """Forgets everything in flight."""
        for call in self._calls.values():
            self._core.forget(call)
        self._calls.clear()
        self._durable.clear()
        self._trackers.clear()

    # ---------------------------------------------------------------------------------- calls

    def _tell(self, shard: int, now: Now) -> None:
        if shard in self._calls:
            self._again.add(shard)
            return
        news = [one for one in self._trackers if one.shard == shard and one.is_dirty]
        if not news:
            return
        news.sort(key=_named_at)
        self._count += 1
        pieces: list[tuple[Tracker, Piece]] = []
        room = ACK_RANGES_MAX
        for tracker in news[:REQUEST_QUEUES_MAX]:
            if not room:
                break
            piece = tracker.piece(room)
            tracker.named_at = self._count
            room -= len(piece.message.ranges)
            pieces.append((tracker, piece))
        header = Ack(group_id=self.group_id, queues=[piece.message for _, piece in pieces])
        call = Call(
            Verb.ACK,
            encode_header(header),
            partial(self._answered, shard, pieces, len(pieces) < len(news)),
            deadline_ms=now.mono_ms + ACK_MS,
            shard=shard,
        )
        self._calls[shard] = call
        self._core.submit(call, now)

    def _answered(self, shard: int, pieces: _Told, others: bool, reply: Reply, now: Now) -> None:
        """`others`: there was no room for some queues with news."""
        del self._calls[shard]
        results: dict[int, AckResult] | None = None
        error: ShardMQError | None = None
        if reply.code == Code.OK:
            try:
                answer = decode_header(reply.header, AckReply)
                results = {result.queue: result for result in answer.queues}
            except HeaderError as fault:
                error = remote_error(Code.INTERNAL, f"the answer cannot be read: {fault}")
        else:
            header = reply.error()
            error = remote_error(reply.code, header.message, header.hint)
        more = False
        for tracker, piece in pieces:
            if tracker not in self._trackers:
                continue
            if results is None:
                assert error is not None, "an answer without results is an error"
                self._not_told(tracker, error, now)
            elif self._take(tracker, piece, results.get(tracker.queue), now):
                # Only after a success: what a shard does not take now waits for the next commit.
                more = more or others or not piece.is_last or self._is_awaited(tracker)
        self._settle()
        if more or shard in self._again:
            self._again.discard(shard)
            self._tell(shard, now)

    def _is_awaited(self, tracker: Tracker) -> bool:
        """True if somebody waits for news of a queue that were not told yet."""
        waits = tracker in self._durable or any(one.waits_for(tracker) for one in self._commits)
        return waits and tracker.is_dirty

    def _take(self, tracker: Tracker, piece: Piece, result: AckResult | None, now: Now) -> bool:
        """True if the shard has the piece."""
        code = Code.INTERNAL if result is None else result.code
        if code == Code.OK:
            tracker.told(piece)
            for commit in self._commits:
                commit.told(tracker)
            if not tracker.is_dirty:
                then = self._durable.pop(tracker, None)
                if then is not None:
                    then(now)
            return True
        text = result.message if result is not None else ""
        if code == Code.FENCED:
            text = text or f"{tracker.name} was given to another member"
        error = remote_error(code, text or f"the shard did not take the acks of {tracker.name}")
        self._not_told(tracker, error, now)
        then = self._durable.pop(tracker, None) if code == Code.BUSY else None
        if then is not None:
            # More ranges than a cursor has: a queue that is given back gets no floor that moves.
            _log.warning("some messages of %s come again: %s", tracker.name, error)
            then(now)
        return False

    def _not_told(self, tracker: Tracker, error: ShardMQError, now: Now) -> None:
        for commit in self._commits:
            commit.failed(tracker, error)
        if not row_of(error.code).retryable:
            self._refused(tracker, error, now)

    def _settle(self) -> None:
        self._commits = [commit for commit in self._commits if not commit.settled]


def _named_at(tracker: Tracker) -> int:
    return tracker.named_at
