"""CURSORS: where a group is in queues, and how far behind.

Owns the verb. Anybody who may describe the group may ask; nothing is changed by it.

The lag is exact, so a first question about a long queue may take more reading than a turn of the
loop may (`lag.py`). Such a question is carried on, a bounded piece a turn, the waiting ones in
turns; what was counted stays, so one that runs out of time is answered by the next attempt. Who
only wants to know where to go on (a member that starts) asks without the lag, and waits for no
counting.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator
from typing import NamedTuple

from shardmq.actors.kernel.ports import Letter, Now, QueueLog
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import CursorResult, CursorsReply
from shardmq.actors.protocol.group_messages import Cursors as CursorsHeader
from shardmq.actors.protocol.limits import MIB, REQUEST_QUEUES_MAX

from .acks import done_now
from .cursors_log import CursorLog
from .lag import Lags
from .requests import FATAL, Request
from .retention import earliest_readable
from .serving import Serving
from .state.cursors import Cursors
from .state.ranges import pairs

__all__ = ["CursorsOf"]

_log = logging.getLogger("shardmq.shard")
TURN_COST_MAX = 2 * MIB
"""What counting may cost in one turn, in the prices of `filters.py`; some milliseconds."""
QUEUE_COST = 512
"""Of a queue without any counting."""
QUESTIONS_MAX = 256
"""Questions that are carried on at a time."""
RETRY_MS = 1_000

_Answering = Generator[int, None, CursorsReply]


class _Question(NamedTuple):
    """A request that is carried on."""

    request: Request
    answering: _Answering
    deadline_ms: float


class CursorsOf:
    """The verb CURSORS."""

    def __init__(
        self, journal: QueueLog, serving: Serving, cursors: Cursors, log: CursorLog
    ) -> None:
        self._journal = journal
        self._served = serving.by_number
        self._cursors = cursors
        self._log = log
        self._lags = Lags(journal)
        self._open: deque[_Question] = deque()
        self._cost_left = TURN_COST_MAX
        self.faults = 0

    def __len__(self) -> int:
        """Questions that are carried on."""
        return len(self._open)

    def handle(self, request: Request, header: CursorsHeader, now: Now, out: list[Letter]) -> None:
        """Answer one CURSORS: a result for each queue, in the order of the request."""
        if not header.queues:
            text = f"CURSORS names 1 to {REQUEST_QUEUES_MAX} queues"
            out.append(request.refuse(Code.BAD_REQUEST, text))
            return
        answering = self._answer(header, now)
        question = _Question(request, answering, now.mono_ms + request.route.tail)
        if self._carry_on(question, out):
            return
        if len(self._open) >= QUESTIONS_MAX:
            text = "too many questions that take long"
            out.append(request.refuse(Code.BUSY, text, retry_after_ms=RETRY_MS))
            return
        request.header = b""
        self._open.append(question)

    def turn(self, now: Now, out: list[Letter]) -> None:
        """The end of a turn: carry on what is open with what the turn has left."""
        for _ in range(len(self._open)):
            question = self._open.popleft()
            if question.deadline_ms <= now.mono_ms:
                text = "counting took longer; what was counted is kept, ask again"
                out.append(question.request.refuse(Code.TIMED_OUT, text))
            elif not self._carried_on(question, out):
                self._open.append(question)
        self._cost_left = TURN_COST_MAX

    def stop(self, out: list[Letter]) -> None:
        """Send home who still waits."""
        while self._open:
            request = self._open.popleft().request
            out.append(request.refuse(Code.SHUTTING_DOWN, "the shard is stopping"))

    def _carried_on(self, question: _Question, out: list[Letter]) -> bool:
        try:
            return self._carry_on(question, out)
        except FATAL:
            raise
        except Exception:
            self.faults += 1
            _log.exception("a question about cursors could not be answered")
            text = "an unexpected fault; the log has it"
            out.append(question.request.refuse(Code.INTERNAL, text))
            return True

    def _carry_on(self, question: _Question, out: list[Letter]) -> bool:
        """True if the question is answered."""
        while self._cost_left > 0:
            try:
                self._cost_left -= next(question.answering)
            except StopIteration as finished:
                self._log.answer(question.request, finished.value, out)
                return True
        return False

    def _answer(self, header: CursorsHeader, now: Now) -> _Answering:
        group_id, with_lag = header.group_id, header.lag
        results = []
        for queue in header.queues:
            results.append((yield from self._of(group_id, queue, now, with_lag=with_lag)))
            yield QUEUE_COST
        return CursorsReply(queues=results)

    def _of(
        self, group_id: int, queue: int, now: Now, *, with_lag: bool
    ) -> Generator[int, None, CursorResult]:
        served = self._served.get(queue)
        if served is None:
            text = f"queue {queue} is not on this shard"
            return CursorResult(queue=queue, code=Code.STALE_ROUTE, message=text)
        result = CursorResult(
            queue=queue,
            earliest=earliest_readable(self._journal, served),
            latest=served.offsets.visible,
        )
        cursor = self._cursors.get(group_id, queue)
        if cursor is None:
            result.code = Code.GROUP_NOT_FOUND
            result.message = f"the group has no cursor on queue {queue}"
            return result
        floor, acked = done_now(self._journal, served, cursor)
        result.floor, result.ranges = floor, list(pairs(acked))
        result.generation, result.member = cursor.generation, cursor.member
        if cursor.handouts is not None:
            result.in_flight = cursor.handouts.in_flight(now.wall_ms, floor)
        if with_lag:
            lag = yield from self._lags.of(served, cursor.expression, floor, acked)
            result.lag, result.oldest_at_ms = lag
        return result
