"""Nacker: tells the shards which messages failed. Pure.

One NACK for each shard is on its way at a time; what fails meanwhile goes with the next. A message
that failed is done for this member only when the shard has answered: then it is acked there, and
sure to come again or to lie among the dead letters, in one step.

A shard that does not like what a message says is told once more, with nothing but the message's
place: it then comes again by the table of levels.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.codec import HeaderError, decode_header, encode_header
from shardmq.actors.protocol.codes import Code, row_of
from shardmq.actors.protocol.group_messages import Nack, NackMessage, NackQueue, NackReply
from shardmq.actors.protocol.limits import NACK_DETAIL_CHARS_MAX
from shardmq.actors.protocol.verbs import Verb

from ..errors import ShardMQError, remote_error
from ..link.calls import Call, Reply
from ..link.core import ClientCore
from .outcomes import CAUSE_CHARS_MAX, DETAIL_BYTES_MAX, sendable
from .tracker import Tracker

__all__ = ["Nacker"]

_log = logging.getLogger("shardmq.client")
_MALFORMED = (Code.INVALID_ARGUMENT, Code.BAD_REQUEST, Code.TOO_LARGE)
"""Faults of single messages, not of the member."""

NACK_MS = 10_000.0
AGAIN_MS = 500.0
MESSAGES_MAX = 1_000
TEXT_BYTES_MAX = 512 * 1024
"""Of the causes and traces of one request: a header has 1 MiB at most."""


class _Waiting(NamedTuple):
    tracker: Tracker
    message: NackMessage
    then: Callable[[bool, Now], None]
    is_plain: bool = False
    """Says nothing but which message failed."""

    def plain(self) -> _Waiting:
        message = NackMessage(offset=self.message.offset, dead=self.message.dead)
        return self._replace(message=message, is_plain=True)


class Nacker:
    """The failed messages of one member."""

    def __init__(
        self,
        core: ClientCore,
        max_attempts: int,
        refused: Callable[[Tracker, ShardMQError, Now], None],
    ) -> None:
        self.group_id = 0
        self._core = core
        self._max_attempts = max_attempts
        self._refused = refused
        self._waiting: dict[int, deque[_Waiting]] = {}
        """By shard."""
        self._calls: dict[int, tuple[Call, Sequence[_Waiting]]] = {}
        self._is_closed = False

    @property
    def is_idle(self) -> bool:
        """True if every failure was told."""
        return not self._calls and not any(self._waiting.values())

    @property
    def untold(self) -> int:
        """Failures that no shard is known to have."""
        told = [told for _, told in self._calls.values()]
        return sum(map(len, (*told, *self._waiting.values())))

    def add(
        self, tracker: Tracker, message: NackMessage, then: Callable[[bool, Now], None], now: Now
    ) -> None:
        """A message failed; `then(told, now)` follows: False if it is not this member's any more,
        or if the broker cannot take it back."""
        if self._is_closed:
            then(False, now)
            return
        message.cause = sendable(message.cause, CAUSE_CHARS_MAX, DETAIL_BYTES_MAX)
        message.detail = sendable(message.detail, NACK_DETAIL_CHARS_MAX, DETAIL_BYTES_MAX)
        self._waiting.setdefault(tracker.shard, deque()).append(_Waiting(tracker, message, then))
        self._tell(tracker.shard, now)

    def close(self) -> None:
        """Forgets everything in flight; what fails from now on is told by nobody."""
        self._is_closed = True
        for call, _ in self._calls.values():
            self._core.forget(call)
        self._calls.clear()
        self._waiting.clear()

    def _tell(self, shard: int, now: Now) -> None:
        waiting = self._waiting.get(shard)
        if shard in self._calls or not waiting:
            return
        told: list[_Waiting] = []
        queues: dict[int, NackQueue] = {}
        text_bytes = 0
        while waiting and len(told) < MESSAGES_MAX and text_bytes < TEXT_BYTES_MAX:
            one = waiting[0]
            if one.tracker.is_gone:
                waiting.popleft().then(False, now)
                continue
            generation = one.tracker.generation
            queue = queues.setdefault(
                one.tracker.queue,
                NackQueue(queue=one.tracker.queue, generation=generation, messages=[]),
            )
            if queue.generation != generation:
                break  # granted anew in the meantime: another request
            queue.messages.append(one.message)
            text_bytes += _text_bytes(one.message)
            told.append(waiting.popleft())
        if not told:
            return
        header = Nack(
            group_id=self.group_id,
            max_attempts=self._max_attempts,
            queues=list(queues.values()),
        )
        call = Call(
            Verb.NACK,
            encode_header(header),
            partial(self._answered, shard, told),
            deadline_ms=now.mono_ms + NACK_MS,
            shard=shard,
        )
        self._calls[shard] = call, told
        self._core.submit(call, now)

    def _answered(self, shard: int, told: Sequence[_Waiting], reply: Reply, now: Now) -> None:
        del self._calls[shard]
        error: ShardMQError | None = None
        codes: dict[int, tuple[int, str]] = {}
        if reply.code == Code.OK:
            try:
                answer = decode_header(reply.header, NackReply)
                codes = {result.queue: (result.code, result.message) for result in answer.queues}
            except HeaderError as unreadable:
                error = remote_error(Code.INTERNAL, f"the answer cannot be read: {unreadable}")
        else:
            header = reply.error()
            error = remote_error(reply.code, header.message, header.hint)
        again: list[_Waiting] = []
        for one in told:
            code, text = codes.get(one.tracker.queue, (Code.INTERNAL, "the shard did not say"))
            fault = error if error is not None else remote_error(code, text)
            if error is None and code == Code.OK:
                one.then(True, now)
            elif row_of(fault.code).retryable:
                again.append(one)
            elif fault.code in _MALFORMED:
                again += self._malformed(one, fault, now)
            else:
                self._refused(one.tracker, fault, now)
                one.then(False, now)
        if again:
            self._waiting.setdefault(shard, deque()).extendleft(reversed(again))
            self._core.timers.at(now.mono_ms + AGAIN_MS, partial(self._tell, shard))
        else:
            self._tell(shard, now)

    def _malformed(self, one: _Waiting, fault: ShardMQError, now: Now) -> list[_Waiting]:
        """What is to be told again of a message that a shard refused."""
        where = f"{one.tracker.name or 'a queue'}, offset {one.message.offset}"
        if not one.is_plain:
            _log.error("the failure of %s was refused, and is told without more: %s", where, fault)
            return [one.plain()]
        _log.error("the failure of %s was refused: it comes again with its queue: %s", where, fault)
        one.then(False, now)
        return []


def _text_bytes(message: NackMessage) -> int:
    texts = [message.cause, message.detail, *(cause for *_, cause in message.earlier)]
    return sum(len(text.encode()) for text in texts)
