"""Work replay: goes through what shards answered of work queues, and knows of each message what is
certain at every moment.

Owns that knowledge, and the rules that need it: twice, again, late, refused, attempts, anew, fifo.
Must not know the simulator.

What was asked and never answered may have happened or not; what a shard wrote in a turn in which it
was killed, too; a power cut may take what was not synced, handouts among it, but nothing that a
SETTLE was answered for. So a message is invisible at least until one time and at most until
another, and between the two nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.retries import retry_delay_ms

from .group_history import Group
from .history import Violation
from .work_history import Answer, Ended, Handed, Said, WorkHistory

GIVES_BACK = ("nack", "return")
Place = tuple[int, int, int]
"""(group id, queue, generation)."""


@dataclass
class Message:
    """What is known of one message of one group."""

    shard: str
    attempt: int = 0
    receipt: int = 0
    until_ms: int = 0
    """It is invisible at least until then, if nothing ends it ..."""
    until_max_ms: int = 0
    """... and at most until then."""
    handed: int = 0
    """The attempt as which it was handed out; `attempt` is one less once that was returned."""
    is_back: bool | None = False
    """Its receiver gave it back, as failed or to be returned; None: perhaps."""
    may_be_returned: bool = False
    """Perhaps the last attempt does not count."""
    there_ms: float | None = None
    """Returned then, and there for whoever asks."""
    is_done: bool = False
    may_be_done: bool = False
    is_dead: bool = False
    given_up: bool = False
    """Somebody asked for a dead letter."""
    hidden: int = 0
    """Turns since the last handout of which nobody knows what they handed out."""
    power_cuts: int = 0
    """Since then."""
    receipts: dict[int, int] = field(default_factory=dict)
    """All that ever held it -> at most until when."""
    said_ms: float = -1.0
    """When something was last said of it ..."""
    said_at: int = -1
    """... and as which event."""

    def is_taken(self, wall_ms: int) -> bool:
        """Nobody else may get it, for certain."""
        return self.until_ms > wall_ms and not self.power_cuts and not self.may_be_done

    def may_be_dead(self, max_attempts: int) -> bool:
        return self.is_dead or self.given_up or self.attempt >= max_attempts


class Replay:
    """All work groups of one run."""

    def __init__(
        self, work: WorkHistory, groups: Mapping[int, Group], earliest: Mapping[int, int]
    ) -> None:
        self._work = work
        self._groups = groups
        self._earliest = earliest
        self._places: dict[Place, dict[int, Message]] = {}
        self._by_receipt: dict[tuple[str, int, int], set[tuple[Place, int]]] = {}
        self._hidden: dict[str, int] = {}
        self._found: list[Violation] = []
        self._steady = True
        self._at = 0
        """Which event."""
        self.returned: list[tuple[Answer, Handed, float]] = []
        """What was there for anybody: who got it, and since when it was there."""

    def messages(self, group_id: int) -> Iterator[tuple[int, int, Message]]:
        """(queue, offset, what is known) of all that were handed out."""
        for (one, queue, _), messages in self._places.items():
            if one == group_id:
                yield from ((queue, offset, message) for offset, message in messages.items())

    def violations(self, *, steady: bool) -> list[Violation]:
        """Goes through everything, once. `steady`: the wall clock never stepped."""
        self._steady = steady
        for at, event in enumerate(self._work.events):
            self._at = at
            if isinstance(event, Ended):
                self._ended(event)
            elif event.group_id not in self._groups:
                continue
            elif isinstance(event, Answer):
                self._answered(event)
            elif event.code in (None, Code.OK, Code.RECEIPT_EXPIRED):
                self._said(event)
        return self._found

    def _violate(self, rule: str, place: Place, offset: int, at_ms: float, text: str) -> None:
        name = self._groups[place[0]].name
        where = f"{name} queue {place[1]} offset {offset} at {at_ms:.3f}"
        self._found.append(Violation(rule, f"{where}: {text}"))

    def _ended(self, event: Ended) -> None:
        self._hidden[event.shard] = self._hidden.get(event.shard, 0) + event.in_turn
        for messages in self._places.values():
            for one in messages.values():
                if one.shard == event.shard:
                    one.hidden += event.in_turn
                    one.power_cuts += event.is_power_cut

    def _is_gone(self, place: Place, offset: int) -> bool:
        """Retention has taken it, by the end."""
        return offset < self._earliest.get(place[1], 1 << 62)

    # --- handouts ----------------------------------------------------------------------------

    def _answered(self, answer: Answer) -> None:
        mine = self._by_receipt.setdefault((answer.shard, answer.group_id, answer.receipt), set())
        held = next((one for one in sorted(mine) if self._holds(answer, *one)), None)
        before: set[tuple[Place, int]] = set()
        for part in answer.parts:
            place = answer.group_id, part.queue, part.generation
            messages = self._places.setdefault(place, {})
            for offset in range(part.start, part.stop):
                known = messages.get(offset)
                if known is None or not _is_repeated(answer, part, known):
                    if held is not None and held not in before:
                        text = f"given to receipt {answer.receipt}, which holds {held}"
                        self._violate("anew", place, offset, answer.at_ms, text)
                    self._handed(answer, part, place, offset, before)
                elif known.may_be_returned:  # then it is a new handout, with the same attempt
                    known.until_max_ms = max(known.until_max_ms, answer.until_ms)
                    known.receipts[answer.receipt] = known.until_max_ms
                before.add((place, offset))
        mine |= before

    def _holds(self, answer: Answer, place: Place, offset: int) -> bool:
        one = self._places[place][offset]
        is_its = one.receipt == answer.receipt and one.is_back is False and not one.hidden
        return is_its and one.is_taken(answer.wall_ms) and not self._is_gone(place, offset)

    def _handed(
        self, answer: Answer, part: Handed, place: Place, offset: int,
        before: set[tuple[Place, int]],
    ) -> None:  # fmt: skip
        messages, group = self._places[place], self._groups[place[0]]
        known = messages.get(offset)

        def violate(rule: str, text: str) -> None:
            self._violate(rule, place, offset, answer.at_ms, f"{text}; {known}")

        low = high = 1
        if known is not None:
            if known.is_taken(answer.wall_ms):
                left_ms = known.until_ms - answer.wall_ms
                violate("twice", f"handed out {left_ms} ms too early, to {answer.receipt}")
            if known.is_done:
                violate("again", f"done, and handed out to {answer.receipt}")
            low = 1 if known.power_cuts else known.attempt + 1 - known.may_be_returned
            high = known.attempt + 1 + known.hidden
        else:
            high += self._hidden.get(answer.shard, 0)
        if not low <= part.attempt <= high:
            violate("attempts", f"attempt {part.attempt}, not {low} to {high}")
        if part.attempt > group.max_attempts and answer.can_bury:
            violate("attempts", f"attempt {part.attempt} of {group.max_attempts}")
        if group.is_fifo:
            for other, one in messages.items():
                if other >= offset or (place, other) in before or one.may_be_done:
                    continue
                is_past = one.until_ms <= answer.wall_ms or not self._steady
                is_over = is_past and one.may_be_dead(group.max_attempts)
                if not is_over and not self._is_gone(place, other):
                    violate("fifo", f"handed out before offset {other}: {one}")
                    break
        if known is None:
            known = messages[offset] = Message(answer.shard)
        if known.there_ms is not None and self._steady:
            self.returned.append((answer, part, known.there_ms))
        known.there_ms = None
        known.attempt = known.handed = part.attempt
        known.receipt, known.is_back, known.may_be_returned = answer.receipt, False, False
        known.until_ms = known.until_max_ms = answer.until_ms
        known.receipts[answer.receipt] = answer.until_ms
        known.hidden = known.power_cuts = 0

    # --- what is said of them ----------------------------------------------------------------

    def _said(self, said: Said) -> None:
        item = said.item
        place = said.group_id, item.queue, item.generation
        messages = self._places.setdefault(place, {})
        for offset in range(item.start, item.stop):
            known = messages.get(offset)
            if known is None:
                if said.code is not None and offset not in said.expired:
                    if not self._is_gone(place, offset):
                        self._violate("late", place, offset, said.at_ms, "handed to nobody yet")
                continue
            known.said_ms, known.said_at = said.at_ms, self._at
            if offset in said.expired:
                self._was_refused(said, place, offset, known)
            elif said.code is not None:
                self._was_taken(said, place, offset, known)
            elif self._may_hold(said, known):
                self._apply(said, offset, known)

    def _was_refused(self, said: Said, place: Place, offset: int, known: Message) -> None:
        holds = known.receipt == said.item.receipt and known.is_back is False
        in_time = holds and known.is_taken(said.wall_ms) and not (known.hidden and not self._steady)
        if known.is_done or in_time:
            text = f"{said.item.act} of {said.item.receipt} came too late, it was told; {known}"
            self._violate("refused", place, offset, said.at_ms, text)

    def _was_taken(self, said: Said, place: Place, offset: int, known: Message) -> None:
        """It was answered with OK: its receipt held the message, or that was done already."""
        if self._may_hold(said, known):
            self._apply(said, offset, known)
            return
        group = self._groups[place[0]]
        is_past = known.until_ms <= said.wall_ms or not self._steady
        is_over = is_past and known.may_be_dead(group.max_attempts)
        if known.may_be_done or is_over or self._is_gone(place, offset):
            known.may_be_done = True
            return
        text = f"{said.item.act} of {said.item.receipt} was answered with OK; {known}"
        self._violate("late", place, offset, said.at_ms, text)

    def _may_hold(self, said: Said, known: Message) -> bool:
        """The receipt may hold the message, or have held it when it was said the first time."""
        item = said.item
        if known.receipt == item.receipt:
            is_held = known.is_back is not True and known.until_max_ms > said.wall_ms
            if is_held or (item.act in GIVES_BACK and known.is_back is not False):
                return True
        if not known.power_cuts or item.receipt not in known.receipts:
            return False
        return item.act in GIVES_BACK or known.receipts[item.receipt] > said.wall_ms

    def _apply(self, said: Said, offset: int, known: Message) -> None:
        """What a SETTLE does, or may have done if nobody knows."""
        item, is_sure = said.item, said.code is not None
        if known.is_done:
            return
        if item.act == "ack":
            known.may_be_done = True
            known.is_done = is_sure
            return
        if item.act == "nack":
            known.given_up |= item.dead
            if offset in said.dead:
                known.is_dead = known.is_done = known.may_be_done = True
                return
            if item.dead or known.attempt >= self._groups[said.group_id].max_attempts:
                known.may_be_done = True  # nobody knows, or the log has lost it
        if item.act in GIVES_BACK and known.is_back is True:
            return  # said again
        if item.act == "return":
            is_its = known.receipt == item.receipt and known.is_back is False
            is_held = is_its and known.until_max_ms > said.wall_ms
            may_be_other = known.hidden or known.power_cuts or known.may_be_done
            attempts_max = self._groups[said.group_id].max_attempts
            # Its time may have been over by a clock that was put back since.
            may_be_over = not self._steady and known.may_be_dead(attempts_max)
            if is_sure and is_held and not (may_be_other or may_be_over):
                known.attempt -= 1
                known.there_ms = said.at_ms
            else:
                known.may_be_returned = True
                # One that was handed out for the last time may be a dead letter, which is done.
                is_over = known.until_ms <= said.wall_ms or known.power_cuts > 0 or may_be_over
                known.may_be_done |= is_over and known.may_be_dead(attempts_max)
        self._move(said, known, is_sure=is_sure and not known.may_be_done)

    def _move(self, said: Said, known: Message, *, is_sure: bool) -> None:
        """It is visible at another time from now on, or may be."""
        item = said.item
        delay_ms = retry_delay_ms(known.attempt) if item.delay_ms is None else item.delay_ms
        if item.act == "return":
            delay_ms = 0
        until_ms = said.wall_ms + delay_ms
        if item.act in GIVES_BACK:
            is_sure = is_sure and known.is_back is False
            known.is_back = True if is_sure or known.is_back else None
        if is_sure:
            known.until_ms = known.until_max_ms = until_ms
        else:
            known.until_ms = min(known.until_ms, until_ms)
            known.until_max_ms = max(known.until_max_ms, until_ms)
        known.receipts[item.receipt] = max(known.receipts.get(item.receipt, 0), until_ms)


def _is_repeated(answer: Answer, part: Handed, known: Message) -> bool:
    """The same handout again. It is decided as the request is taken in: what is said of the message
    behind it in the same turn comes later, though it stands in front of the answer."""
    is_same = (known.receipt, known.handed) == (answer.receipt, part.attempt)
    in_turn = known.said_ms == answer.asked_ms == answer.at_ms and known.said_at >= answer.asked_at
    return is_same and (known.until_max_ms > answer.wall_ms or in_turn)
