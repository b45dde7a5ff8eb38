"""FETCH: many queues in one request, answered when one of them has something to tell.

Owns when a FETCH is answered: at once if a queue has messages or an error, else when news comes
(`polls.py`), else empty at its deadline. How an answer is built is `answers.py`'s. Only durable
messages are ever seen.

A FETCH for a group is answered at once, too, where its grant is not the one in force, also while it
is parked. News of which the group selects nothing does not end it: it waits on behind them.

Answers leave in the order in which they became due, so many bytes a turn at most: a message that
wakes thousands of polls must neither fill the memory nor keep the loop from other work. Where a
router is behind with taking them, the others wait (`outflow.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from shardmq.actors.kernel.ports import Letter, Now
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.limits import MIB, REPLY_BYTES_MAX, WAIT_MS_MAX
from shardmq.actors.protocol.messages import Fetch, FetchReply, Taken, TakenReply
from shardmq.actors.protocol.replies import bulk_bytes

from .answers import Answers, Built
from .outflow import Outflow
from .polls import GroupRead, Poll, Polls, PollState
from .requests import FATAL, Request, why_not_queues
from .serving import ServedQueue, Serving

__all__ = ["Fetching"]

_log = logging.getLogger("shardmq.shard")
TURN_BYTES_MAX = 8 * MIB
"""Payload of all answers of one turn; the answer that crosses it still leaves."""
TURN_ANSWERS_MAX = 1_024
PARKING_RETRY_MS = 1_000


class Fetching:
    """The verb FETCH."""

    def __init__(self, serving: Serving, polls: Polls, answers: Answers) -> None:
        self._served = serving.by_number
        self._polls = polls
        self._answers = answers
        self.outflow = Outflow()
        self.answered = 0
        self.bytes = 0
        self.faults = 0
        """Polls that met a bug."""

    def handle(self, request: Request, header: Fetch, now: Now, out: list[Letter]) -> None:
        """Take one FETCH: it is to be answered in this turn, or parked, or refused."""
        items = header.queues
        wanted = {item.queue: item.offset for item in items}
        fault = why_not_queues("FETCH", len(items), len(wanted))
        if fault is not None:
            out.append(request.refuse(Code.BAD_REQUEST, fault))
            return
        self._polls.replace(request)
        wait_ms = min(header.wait_ms, WAIT_MS_MAX, request.route.tail)
        bytes_max = max(1, min(header.bytes_max, REPLY_BYTES_MAX))
        group = None
        if header.group_id:
            generations = {item.queue: item.generation for item in items}
            group = GroupRead(header.group_id, generations)
        poll = Poll(request, wanted, bytes_max, now.mono_ms + wait_ms, group)
        waiting = self._waiting(poll)
        if poll.ready or wait_ms <= 0:
            self._polls.ready.append(poll)
            return
        full = self._polls.why_not(poll)
        if full is not None:
            out.append(request.refuse(Code.BUSY, full, retry_after_ms=PARKING_RETRY_MS))
            return
        self._polls.park(poll, waiting)

    def answer_ready(self, mono_ms: float, out: list[Letter]) -> None:
        """Answer polls that are due, up to the bound of a turn; the others come first next time."""
        ready, outflow = self._polls.ready, self.outflow
        bytes_left, answers_left = TURN_BYTES_MAX, TURN_ANSWERS_MAX
        while ready and bytes_left > 0 and answers_left > 0:
            poll = ready.popleft()
            if poll.state == PollState.SETTLED:
                continue
            router = poll.request.peer
            if outflow.is_full(router) and mono_ms < float("inf"):
                outflow.hold(poll, mono_ms)
                continue
            letter, payload_bytes, cost = self._built(poll)
            bytes_left -= cost
            answers_left -= 1
            if letter is None:
                letter = self._go_on(poll, mono_ms)
                if letter is None:
                    continue
            poll.settle()
            out.append(letter)
            outflow.sent(router, bulk_bytes(letter[2]))
            self.answered += 1
            self.bytes += payload_bytes

    def _built(self, poll: Poll) -> Built:
        try:
            return self._answers.build(poll)
        except FATAL:
            raise
        except Exception:
            # A poll that ended the process would come again, and end the next one, too.
            self.faults += 1
            _log.exception("a poll could not be answered")
            text = "an unexpected fault; the log has it"
            return poll.request.refuse(Code.INTERNAL, text), 0, 0

    def _go_on(self, poll: Poll, mono_ms: float) -> Letter | None:
        """Let a poll that found nothing for its group search on, or wait; its answer if it may do
        neither."""
        if poll.listed:
            served_of, wanted = self._served, poll.wanted
            woken = [served_of[queue] for queue in poll.ready]
            waiting = [one for one in woken if one.offsets.visible == wanted[one.number]]
            is_behind = len(waiting) < len(woken)
        else:
            poll.ready = []
            waiting = self._waiting(poll)
            is_behind = bool(poll.ready)
        if mono_ms < poll.deadline_ms:
            if is_behind:
                self._polls.ready.append(poll)
                return None
            if self._polls.is_replaced(poll):
                poll.settle()
                return None
            if self._polls.why_not(poll) is None:
                poll.ready = []
                self._polls.park(poll, waiting)
                return None
        return poll.request.answer(FetchReply(queues=self._answers.passed_by(poll)))

    def _waiting(self, poll: Poll) -> list[ServedQueue]:
        """Queues that `poll` has to wait for; those with something to tell become its `ready`."""
        waiting = []
        for queue, offset in poll.wanted.items():
            served = self._served.get(queue)
            if served is None or not served.readable or served.offsets.visible != offset:
                poll.ready.append(queue)
            else:
                waiting.append(served)
        if poll.group is not None:
            poll.ready += self._answers.fenced_of(poll.group, waiting)
        return waiting

    def wake(self, queues: Iterable[ServedQueue]) -> None:
        """Queues have news, or are not readable here any more."""
        self._polls.wake(queues)

    def fence(self, served: ServedQueue, group_id: int) -> None:
        """The queue is granted anew: what waits for it with an older grant is answered."""
        self._polls.fence(served, group_id)

    def taken(self, request: Request, header: Taken, now: Now, out: list[Letter]) -> None:
        """A router has taken answers: there is room for others."""
        self._polls.ready += self.outflow.taken(request.peer, header.bytes, now.mono_ms)
        out.append(request.answer(TakenReply()))

    @property
    def wake_at_ms(self) -> float | None:
        times = self._polls.wake_at_ms, self.outflow.wake_at_ms
        return min((one for one in times if one is not None), default=None)

    def expire(self, mono_ms: float, out: list[Letter]) -> None:
        """Answer what has waited to its deadline: nothing came, and that is no error."""
        self._polls.ready += self.outflow.stalled(mono_ms)
        for poll in self._polls.expired(mono_ms):
            passed = [] if poll.moved is None else self._answers.passed_by(poll)
            out.append(poll.request.answer(FetchReply(queues=passed)))
