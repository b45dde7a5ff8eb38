"""RECEIVE: a member of a work group asks for messages of any queue.

Owns the verb: who is answered when, with what. Which messages these are is `handing.py`'s, which
queues are worth a look `work_groups.py`'s.

Whoever comes stands in the line of its group, and the line is served once a turn, the first ones
first, as long as queues may have something; so many bytes a turn, and what is left comes first in
the next one. Who finds nothing waits until its deadline, for news; so does who would be answered
through a router that is behind with taking answers (`outflow.py`): nothing is handed out to it.

What is handed out stands in the journal before the answer leaves, and the journal is written then,
but not synced: a shard that is killed knows it, a power cut may take it. Then the messages come
again, and the receipts of before have expired. So nothing is decided where nothing can be appended
(`durable_advanced`): there the queues only become ready.

A RECEIVE that comes again with a known receipt is given the same again, nothing new.

Who only looks (`count_max` 0) is told as soon as there is something, and comes for it. Where many
look, about as many are told as there are messages; others a moment later, if something is left, and
twice as many each time: those told may be busy, or gone.
"""

from __future__ import annotations

import logging
from collections import deque
from itertools import islice
from typing import Any, Final

from shardmq.actors.kernel.ports import Letter, Now
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_JSON
from shardmq.actors.protocol.limits import (
    INVISIBLE_MS_MAX,
    MIB,
    RECEIVE_MESSAGES_MAX,
    WAIT_MS_MAX,
)
from shardmq.actors.protocol.replies import bulk_bytes
from shardmq.actors.protocol.work_messages import Receive, ReceiveReply

from .basket import Basket
from .cursors_log import CursorLog
from .handing import LOOK_COST_MAX, RETRY_MS, Handing
from .outflow import Outflow
from .receivers import Receiver, Receivers
from .requests import FATAL, Request
from .work_groups import QUANTUM_MESSAGES, WorkGroup, WorkGroups, WorkQueue

__all__ = ["Receiving"]

_log = logging.getLogger("shardmq.shard")
TURN_BYTES_MAX: Final = 8 * MIB
"""Payload of all answers of one turn; the answer that crosses it still leaves."""
TURN_ANSWERS_MAX: Final = 1_024
PARKING_RETRY_MS: Final = 1_000
LOOK_AGAIN_MS: Final = 20
"""How soon those that look are told of what others were told of, and did not take."""
_ESTIMATED_QUEUES: Final = 16
_STALE_MAX: Final = 16


class Receiving:
    """The verb RECEIVE."""

    def __init__(
        self, groups: WorkGroups, handing: Handing, log: CursorLog, outflow: Outflow
    ) -> None:
        self._groups = groups
        self._outflow = outflow
        self._handing = handing
        self._log = log
        self._receivers = Receivers()
        self._looking: deque[WorkGroup] = deque()
        """Groups to be looked after again at their `woken_until_ms`."""
        self._held_back: dict[bytes, deque[Receiver]] = {}
        """Router -> those who wait until it has taken other answers."""
        self._bytes_left = self._answers_left = self._cost_left = 0
        self._rest_at_ms: float | None = None
        self._room_at_ms = 0.0
        """Before this, the journal takes nothing."""
        self._received = 0
        self._repeated = 0
        self.faults = 0
        """Looks that met a bug."""

    def __len__(self) -> int:
        """Receives that wait."""
        return len(self._receivers)

    def stats(self) -> dict[str, Any]:
        """Figures for the verb STATS."""
        return {
            "work_queues": len(self._groups),
            "handouts": self._handing.cursors.rows,
            "received": self._received,
            "receives_parked": len(self._receivers),
            "receives_held_back": sum(map(len, self._held_back.values())),
            "receives_repeated": self._repeated,
            "work_batches_opened": self._handing.opened.opened,
            "work_stretches_passed": self._handing.damaged,
        }

    @property
    def wake_at_ms(self) -> float | None:
        if self._groups.active:
            return self._room_at_ms  # at once, mostly
        if any(not self._outflow.is_full(router) for router in self._held_back):
            return 0.0
        looking = self._looking[0].woken_until_ms if self._looking else None
        times = (self._receivers.wake_at_ms, self._rest_at_ms, looking)
        return min((one for one in times if one is not None), default=None)

    # ------------------------------------------------------------------ one request

    def handle(self, request: Request, header: Receive, now: Now, out: list[Letter]) -> None:
        """Take one RECEIVE: it is answered by `turn`, or waits, or is refused."""
        fault = _fault_of(header)
        if fault is not None:
            out.append(request.refuse(Code.INVALID_ARGUMENT, fault))
            return
        refused = self._log.refused(request)
        if refused is not None:
            out.append(refused)
            return
        receivers = self._receivers
        receivers.replace(request)
        wait_ms = min(header.wait_ms, WAIT_MS_MAX, request.route.tail)
        full = receivers.why_not(request) if wait_ms > 0 else None
        if full is not None:
            out.append(request.refuse(Code.BUSY, full, retry_after_ms=PARKING_RETRY_MS))
            return
        group = self._groups.group(header.group_id)
        receiver = Receiver(request, header, group, now.mono_ms + wait_ms)
        receivers.park(receiver)
        again = self._repeated_for(receiver, now)
        if again is not None:  # nobody in front of it in the line has a claim on that
            self._answer(receiver, again, out)
        elif header.count_max:
            group.woken = max(0, group.woken - 1)
            group.surplus = 0
            group.waiting.append(receiver)
        else:
            group.peeking.append(receiver)
        self._groups.activate(group)

    # ------------------------------------------------------------------ a turn

    def turn(self, now: Now, out: list[Letter]) -> None:
        """Answer who can be answered, and whose time is over."""
        groups = self._groups
        groups.wake(now)
        if self._held_back:
            self._take_back()
        while self._looking and self._looking[0].woken_until_ms <= now.mono_ms:
            group = self._looking.popleft()
            group.looking = False
            is_left = group.woken and group.first_ready() is not None
            group.surplus = 2 * group.surplus + 1 if is_left else 0
            group.woken = 0
            groups.activate(group)
        if groups.active:
            self._serve(now, out)
        self._expire(now.mono_ms, out)
        in_ms = groups.wake_in_ms(now)
        self._rest_at_ms = None if in_ms is None else now.mono_ms + in_ms

    def durable_advanced(self) -> None:
        """There may be room in the journal again."""
        self._room_at_ms = 0.0

    def stop(self, out: list[Letter]) -> None:
        """Send home who waits."""
        self._groups.active.clear()
        self._expire(float("inf"), out)

    def _serve(self, now: Now, out: list[Letter]) -> None:
        no_room = self._log.no_room()
        if no_room is not None:
            self._room_at_ms = now.mono_ms + no_room.retry_after_ms
            return
        self._room_at_ms = 0.0
        self._bytes_left, self._answers_left = TURN_BYTES_MAX, TURN_ANSWERS_MAX
        self._cost_left = LOOK_COST_MAX
        active = self._groups.active
        for _ in range(len(active)):
            if self._is_spent():
                break
            group = active.popleft()
            group.active = False
            self._serve_line(group, now, out)
            if self._is_spent():
                self._groups.activate(group)
            elif group.peeking:
                self._serve_peeking(group, now, out)

    def _is_spent(self) -> bool:
        """True if this turn has done enough."""
        return self._bytes_left <= 0 or self._answers_left <= 0 or self._cost_left <= 0

    def _serve_line(self, group: WorkGroup, now: Now, out: list[Letter]) -> None:
        line = group.waiting
        while line and not self._is_spent():
            receiver = line[0]
            if receiver.settled:
                line.popleft()
                continue
            router = receiver.request.peer
            if self._outflow.is_full(router) and group.first_ready() is not None:
                line.popleft()
                self._outflow.want(router, now.mono_ms)
                self._held_back.setdefault(router, deque()).append(receiver)
                continue
            basket = self._repeated_for(receiver, now) or self._filled_for(receiver, now)
            if basket is None:
                line.popleft()
                self._settle(receiver)
                text = "an unexpected fault; the log has it"
                out.append(receiver.request.refuse(Code.INTERNAL, text))
            elif basket.has_something:
                line.popleft()
                self._answer(receiver, basket, out)
            elif group.first_ready() is None:
                return

    def _answer(self, receiver: Receiver, basket: Basket, out: list[Letter]) -> None:
        self._settle(receiver)
        letter = receiver.request.answer(basket.reply(), basket.frames)
        out.append(letter)
        self._outflow.sent(letter[1], bulk_bytes(letter[2]))
        self._answers_left -= 1
        self._bytes_left -= basket.bytes
        self._received += 0 if basket.peek else basket.count

    def _take_back(self) -> None:
        """Put those first in their lines whose router takes answers again."""
        for router in [one for one in self._held_back if not self._outflow.is_full(one)]:
            for receiver in reversed(self._held_back.pop(router)):
                if not receiver.settled:
                    # Whom nobody waited in, and without queues, may have been forgotten.
                    group = receiver.group = self._groups.group(receiver.header.group_id)
                    group.waiting.appendleft(receiver)
                    self._groups.activate(group)

    def _settle(self, receiver: Receiver) -> None:
        self._receivers.settle(receiver)
        self._groups.leave(receiver.group)

    # ------------------------------------------------------------------ filling

    def _repeated_for(self, receiver: Receiver, now: Now) -> Basket | None:
        """What the receipt holds already, if anything."""
        group, header = receiver.group, receiver.header
        numbers = group.receipts.get(header.receipt)
        if numbers is None or not header.count_max:
            return None
        basket = self._basket_for(receiver, now)
        for number in numbers:
            work = group.queues.get(number)
            if work is not None:
                self._handing.repeat(work, basket, now)
        if not basket.parts:
            return None
        self._repeated += 1
        return basket

    def _basket_for(self, receiver: Receiver, now: Now) -> Basket:
        json = receiver.request.route.flags & FLAG_JSON != 0
        return Basket(receiver.header, now.wall_ms, json=json)

    def _filled_for(self, receiver: Receiver, now: Now) -> Basket | None:
        """What the queues of the group have for a receiver; None after a fault."""
        group, groups = receiver.group, self._groups
        basket = self._basket_for(receiver, now)
        while not basket.full and self._cost_left > 0:
            work = group.first_ready()
            if work is None:
                break
            count = basket.count
            try:
                more, cost = self._handing.take(work, basket, now)
            except FATAL:
                raise
            except Exception:
                # One that ended the process would come again, and end the next one, too.
                self.faults += 1
                _log.exception("a receive could not be answered")
                groups.rest(work, now.wall_ms + RETRY_MS)
                return None
            self._cost_left -= cost
            taken = 0 if basket.peek else basket.count - count
            if taken:
                groups.remember(group, basket.receipt, work.number)
                work.given += taken
            if not more:
                groups.rest(work, work.rest_ms)
            elif work.given >= QUANTUM_MESSAGES or not basket.full:
                groups.rotate(work)
        return basket

    # ------------------------------------------------------------------ who only looks

    def _serve_peeking(self, group: WorkGroup, now: Now, out: list[Letter]) -> None:
        line = group.peeking
        while line and line[0].settled:
            line.popleft()
        if not line:
            return
        basket = self._filled_for(line[0], now)
        if basket is None or not basket.has_something:
            if self._is_spent():
                self._groups.activate(group)
            return
        if now.mono_ms >= group.woken_until_ms:
            group.woken = 0
        left = self._estimate(group, fifo=line[0].header.fifo) + group.surplus - group.woken
        while line and left > 0 and not self._is_spent():
            receiver = line.popleft()
            if not receiver.settled:
                self._answer(receiver, basket, out)
                group.woken += 1
                left -= 1
        if group.woken_until_ms <= now.mono_ms:
            group.woken_until_ms = now.mono_ms + LOOK_AGAIN_MS
        if line and not group.looking:
            group.looking = True
            self._looking.append(group)

    def _estimate(self, group: WorkGroup, *, fifo: bool) -> int:
        """About how many messages there are to be received, at least one."""
        found = 0
        for work in islice(group.ready, _ESTIMATED_QUEUES):
            found += 1 if fifo else self._left_of(work)
        return max(1, found)

    def _left_of(self, work: WorkQueue) -> int:
        return len(work.due) + self._handing.fresh_left(work)

    # ------------------------------------------------------------------ expiry

    def _expire(self, mono_ms: float, out: list[Letter]) -> None:
        """Answer who has waited to its deadline: nothing came, and that is no error."""
        not_yet = []
        for receiver in self._receivers.expired(mono_ms):
            group = receiver.group
            if group.active and not self._room_at_ms and mono_ms != float("inf"):
                not_yet.append(receiver)  # the turn had no time to look
                continue
            line = group.waiting if receiver.header.count_max else group.peeking
            self._receivers.settle(receiver)
            while line and line[0].settled:
                line.popleft()
            if len(line) > _STALE_MAX + 2 * len(self._receivers):
                kept = [one for one in line if not one.settled]
                line.clear()
                line.extend(kept)
            self._groups.leave(group)
            out.append(receiver.request.answer(ReceiveReply()))
        for receiver in not_yet:
            self._receivers.give_back(receiver)


def _fault_of(header: Receive) -> str | None:
    if not header.receipt:
        return "a receipt is a random number, not 0"
    if header.count_max > RECEIVE_MESSAGES_MAX:
        return f"a RECEIVE gets at most {RECEIVE_MESSAGES_MAX} messages, not {header.count_max}"
    if not 1 <= header.invisible_ms <= INVISIBLE_MS_MAX:
        return f"messages are invisible for 1 to {INVISIBLE_MS_MAX} ms, not {header.invisible_ms}"
    if not header.max_attempts:
        return "a message is handed out at least once"
    return None
