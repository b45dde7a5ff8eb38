"""The checkers of work queues: each sees a history that breaks its promise, and none that does
not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shardmq.actors.protocol.tags import TagFilter
from shardmq.actors.protocol.work_messages import SettleItem
from sim.group_history import Delivery, Group, GroupHistory, Seen, Shown, below
from sim.history import Fate, History, QueueLog, Send, Stored
from sim.work_checkers import check_work
from sim.work_history import Answer, Ended, Handed, Said, WorkHistory

GROUP_ID = 7
QUEUE, LETTERS = 1, 2
TOPICS = {QUEUE: "t", LETTERS: "%DLQ%workers"}
OFFSETS = 3
MAX_ATTEMPTS = 3
OK, EXPIRED = 200, 417


class Story:
    """A work history, event by event; a millisecond of both clocks between two. All messages are
    stored before it begins, and acked at its end."""

    def __init__(self, model: str = "work") -> None:
        self.work = WorkHistory()
        self.groups = GroupHistory()
        self.group = Group("workers", {"t": "*"}, model=model, group_id=GROUP_ID)
        self.groups.groups["workers"] = self.group
        self.groups.shown.append(Shown("workers", QUEUE, 1, "*", 0.0, 0.0))
        self.history = History()
        self.letters: list[Stored] = []
        self.left = {*range(OFFSETS)}
        self.now_ms = 0
        self.steady = True
        for offset in range(OFFSETS):
            send = Send(offset, "p", "t", _body(offset), None, None, "synced", 0.0, tag="a")
            self.history.give(send)
            self.history.acknowledged(send, QUEUE, offset, f"id-{offset}", 0.0)
            assert send.fate is Fate.OK

    def at(self, ms: int) -> Story:
        self.now_ms = ms
        return self

    def given(
        self, receipt: int, start: int = 0, stop: int = 1, attempt: int = 1, for_ms: int = 100
    ) -> Story:
        """A RECEIVE is answered."""
        self.now_ms += 1
        parts = (Handed(QUEUE, 1, start, stop, attempt),) if stop > start else ()
        self._answer(receipt, parts, self.now_ms + for_ms, self.now_ms)
        return self

    def waited(self, wait_ms: int) -> Story:
        """One that waited is answered, with nothing."""
        self.now_ms += wait_ms
        self._answer(99, (), 0, self.now_ms - wait_ms)
        return self

    def _answer(
        self, receipt: int, parts: tuple[Handed, ...], until_ms: int, asked_ms: int
    ) -> None:
        now_ms = self.now_ms
        self.work.events.append(
            Answer(
                "shard-0", GROUP_ID, receipt, now_ms, now_ms, until_ms, parts, 32, asked_ms
            )
        )  # fmt: skip

    def said(
        self, receipt: int, start: int = 0, stop: int = 1, act: str = "ack",
        code: int | None = OK, delay_ms: int | None = None, dead: tuple[int, ...] = (),
    ) -> Story:  # fmt: skip
        """A SETTLE is taken in, and answered in a moment."""
        self.now_ms += 1
        item = SettleItem(
            queue=QUEUE, generation=1, receipt=receipt, start=start, stop=stop,
            act=act, delay_ms=delay_ms, dead=bool(dead),  # type: ignore[arg-type]
        )  # fmt: skip
        expired = {*range(start, stop)} if code == EXPIRED else set()
        self.work.events.append(
            Said("shard-0", GROUP_ID, item, self.now_ms, self.now_ms, code, expired, {*dead})
        )
        if (act == "ack" and code == OK) or dead:
            self.left -= {*range(start, stop)}
        return self

    def buried(self, offset: int, attempt: int) -> Story:
        """A dead letter is there."""
        self.letters.append(_stored(len(self.letters), offset, attempt))
        self.left.discard(offset)
        return self

    def killed(self, *, power_cut: bool = False, in_turn: bool = False) -> Story:
        self.work.events.append(Ended("shard-0", power_cut, in_turn))
        return self

    def rules(self, *, settled: bool = True) -> list[str]:
        """What is broken; with `settled` what is left was handed out and acked long after."""
        if settled:
            for offset in sorted(self.left):
                self._end(offset)
            self.groups.seen.append(
                Seen("workers", QUEUE, 1, 1e6, 1e6, below(OFFSETS), 0, OFFSETS, 0, 0)
            )
        logs = {
            QUEUE: QueueLog(0, OFFSETS, [_stored(one, one, 1) for one in range(OFFSETS)]),
            LETTERS: QueueLog(0, len(self.letters), self.letters),
        }
        steady = self.steady
        found = check_work(self.work, self.groups, self.history, logs, TOPICS, steady=steady)
        return sorted({one.rule for one in found})

    def _end(self, offset: int) -> None:
        seen = [
            part.attempt
            for one in self.work.events
            if isinstance(one, Answer)
            for part in one.parts
            if part.start <= offset < part.stop
        ]
        self.at(self.now_ms + 10_000)
        self.given(1_000 + offset, offset, offset + 1, attempt=max(seen, default=0) + 1)
        self.said(1_000 + offset, offset, offset + 1)


def _body(offset: int) -> bytes:
    return f"body {offset}".encode()


def _stored(at: int, offset: int, attempt: int) -> Stored:
    properties = {"%ATTEMPT": str(attempt)} if attempt > 1 else None
    return Stored(at, _body(offset), f"id-{offset}", 9, offset, None, "a", 1, properties)


HONEST: dict[str, Callable[[], Story]] = {
    "nothing happens": Story,
    "acked in time": lambda: Story().given(1, 0, 3).said(1, 0, 3),
    "said twice": lambda: Story().given(1).said(1).said(1),
    "expired, and given to another": lambda: Story().given(1).at(101).given(2, attempt=2),
    "told that it is too late": lambda: Story().given(1).at(200).said(1, code=EXPIRED),
    "failed, and given again after the delay": lambda: (
        Story().given(1).said(1, act="nack", delay_ms=5).at(8).given(2, attempt=2)
    ),
    "returned when a power cut may have hidden that it had become a dead letter": lambda: (
        Story("work_fifo").given(1).at(200).given(2, attempt=2).at(400).given(3, attempt=3)
        .killed(power_cut=True).at(600).said(3, act="return").buried(0, 3).given(4, 1, 2)
    ),
    "failed twice with one receipt": lambda: (
        Story().given(1).said(1, act="nack", delay_ms=5).at(300).said(1, act="nack", delay_ms=5)
    ),
    "asked again, and failed in the same turn": lambda: (
        Story().given(1).said(1, act="nack", delay_ms=0).at(1).given(1, for_ms=99)
        .at(2).given(2, attempt=2)
    ),
    "returned, and given to another at once, as the same attempt": lambda: (
        Story().given(1).said(1, act="return").given(2)
    ),
    "returned twice, and told that it is too late for more": lambda: (
        Story().given(1).said(1, act="return").said(1, act="return").said(1, code=EXPIRED)
        .given(2).said(2)
    ),
    "returned, and given to the same receipt again": lambda: (
        Story().given(1).said(1, act="return").given(1).said(1)
    ),
    "returned though it had failed, which changes nothing": lambda: (
        Story().given(1).said(1, act="nack", delay_ms=5).said(1, act="return")
        .at(20).given(2, attempt=2)
    ),
    "asked again, and returned in the same turn": lambda: (
        Story().given(1).said(1, act="return").at(1).given(1, for_ms=99).at(2).given(2)
    ),
    "a return that nobody answered, and did happen": lambda: (
        Story().given(1).said(1, act="return", code=None).killed().given(2)
    ),
    "a return that nobody answered, and did not happen": lambda: (
        Story().given(1).said(1, act="return", code=None).killed().at(200).given(2, attempt=2)
    ),
    "kept for longer": lambda: (
        Story().given(1).said(1, act="invisible", delay_ms=500).at(300).said(1)
    ),
    "asked again with the same receipt": lambda: Story().given(1, 0, 2).given(1, 0, 2, for_ms=99),
    "lost with the power, and given again": lambda: (
        Story().given(1).killed(power_cut=True).given(2).said(1, code=EXPIRED)
    ),
    "written in the turn in which it was killed": lambda: (
        Story().given(1).at(200).killed(in_turn=True).at(400).given(2, attempt=3).said(2)
    ),
    "an ack that nobody answered, and the message comes again": lambda: (
        Story().given(1).said(1, code=None).killed().at(200).given(2, attempt=2)
    ),
    "given up": lambda: (
        Story().given(1).at(200).given(2, attempt=2).at(400).given(3, attempt=3)
        .at(600).buried(0, 3).said(3)
    ),
    "a dead letter by wish": lambda: (
        Story().given(1).said(1, act="nack", dead=(0,)).buried(0, 1)
    ),
    "in order": lambda: (
        Story("work_fifo").given(1, 0, 2).said(1, 0, 2).given(2, 2, 3).said(2, 2, 3)
    ),
    "all of what failed again, in order": lambda: (
        Story("work_fifo").given(1, 0, 2).at(200).given(2, 0, 2, attempt=2)
    ),
}  # fmt: skip
BROKEN: dict[str, tuple[str, Callable[[], Story]]] = {
    "held by two": ("twice", lambda: Story().given(1).given(2, attempt=2)),
    "held by two, behind a kill": (
        "twice", lambda: Story().given(1).killed().given(2, attempt=2),
    ),
    "given again before the delay of its failure": (
        "twice",
        lambda: Story().given(1).said(1, act="nack", delay_ms=50).given(2, attempt=2),
    ),
    "given to another though it was kept": (
        "twice",
        lambda: (
            Story().given(1).said(1, act="invisible", delay_ms=500).at(300).given(2, attempt=2)
        ),
    ),
    "acked and given again": (
        "again", lambda: Story().given(1).said(1).at(200).given(2, attempt=2),
    ),
    "acked and given again, behind a power cut": (
        "again",
        lambda: Story().given(1).said(1).killed(power_cut=True).at(200).given(2, attempt=2),
    ),
    "acked too late": ("late", lambda: Story().given(1).at(200).said(1)),
    "acked with another's receipt": (
        "late", lambda: Story().given(1).at(101).given(2, attempt=2).said(1),
    ),
    "acked, and never given": ("late", lambda: Story().said(1)),
    "refused in time": ("refused", lambda: Story().given(1).said(1, code=EXPIRED)),
    "refused in time, behind a kill": (
        "refused", lambda: Story().given(1).killed(in_turn=True).said(1, code=EXPIRED),
    ),
    "refused, though it was done": (
        "refused", lambda: Story().given(1).said(1).said(1, code=EXPIRED),
    ),
    "an attempt that was not counted": ("attempts", lambda: Story().given(1).at(200).given(2)),
    "an attempt that was counted though it was returned": (
        "attempts", lambda: Story().given(1).said(1, act="return").given(2, attempt=2),
    ),
    "returned once, and two attempts that were not counted": (
        "attempts",
        lambda: (
            Story().given(1).at(200).given(2, attempt=2).said(2, act="return").given(3)
        ),
    ),
    "returned by one who did not hold it": (
        "late", lambda: Story().given(1).at(101).given(2, attempt=2).said(1, act="return"),
    ),
    "returned, and acked with the same receipt": (
        "late", lambda: Story().given(1).said(1, act="return").said(1),
    ),
    "returned, and kept for longer all the same": (
        "late",
        lambda: Story().given(1).said(1, act="return").said(1, act="invisible", delay_ms=50),
    ),
    "returned, and a return in time refused": (
        "refused", lambda: Story().given(1).said(1, act="return", code=EXPIRED),
    ),
    "an attempt that was counted twice": (
        "attempts", lambda: Story().given(1).at(200).given(2, attempt=3),
    ),
    "a first attempt that is none": ("attempts", lambda: Story().given(1, attempt=2)),
    "more attempts than there are": (
        "attempts",
        lambda: (
            Story().given(1).at(200).given(2, attempt=2).at(400).given(3, attempt=3)
            .at(600).given(4, attempt=4).said(4)
        ),
    ),
    "more to a receipt that comes again": ("anew", lambda: Story().given(1).given(1, 1, 2)),
    "behind one that is held": ("fifo", lambda: Story("work_fifo").given(1).given(2, 1, 2)),
    "behind one that failed": (
        "fifo",
        lambda: Story("work_fifo").given(1).said(1, act="nack", delay_ms=0).given(2, 1, 2),
    ),
    "a letter twice": (
        "buried",
        lambda: Story().given(1).said(1, act="nack", dead=(0,)).buried(0, 1).buried(0, 1),
    ),
    "a letter too early": ("buried", lambda: Story().given(1).at(200).buried(0, 1)),
    "no letter": ("buried", lambda: Story().given(1).said(1, act="nack", dead=(0,))),
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_history_breaks_nothing(name: str) -> None:
    assert HONEST[name]().rules() == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_seen(name: str) -> None:
    rule, story = BROKEN[name]
    assert rule in story().rules()


def test_who_waits_beside_a_message_in_calm_weather_is_seen() -> None:
    story = Story()
    story.work.calm_ms = 5.0
    assert story.at(10).waited(100).rules() == ["slept"]


def test_who_waits_beside_a_returned_message_is_seen() -> None:
    story = Story().given(1, 0, 3).said(1, 1, 3).said(1, act="return")
    story.work.calm_ms = 1.0
    assert story.waited(50).given(2).said(2).rules() == ["slept"]


def test_nobody_waits_in_vain_who_waited_before_it_was_returned() -> None:
    story = Story().given(1, 0, 3).said(1, 1, 3).waited(50).said(1, act="return")
    story.work.calm_ms = 1.0
    assert story.given(2).said(2).rules() == []


def test_who_waits_in_a_storm_may_wait_in_vain() -> None:
    assert Story().at(10).waited(100).rules() == []


def test_a_message_that_nobody_was_given_is_seen() -> None:
    story = Story().given(1, 0, 2).said(1, 0, 2)
    assert story.rules(settled=False) == ["unsettled"]


@pytest.mark.parametrize(("tag", "rules"), [("a", []), ("b", ["unwanted"]), (None, ["unwanted"])])
def test_who_gets_what_the_group_does_not_select_is_seen(tag: str | None, rules: list[str]) -> None:
    story = Story()
    story.group.filters["t"] = TagFilter("a")
    story.work.deliveries.append(
        Delivery("workers", QUEUE, 1, "worker-1", 0, _body(0), "id-0", tag, 1.0, 1.0)
    )
    assert story.rules() == rules


def test_what_is_in_flight_at_the_end_is_seen() -> None:
    story = Story().given(1, 0, 3).said(1, 0, 3)
    story.groups.seen.append(
        Seen("workers", QUEUE, 1, 1e6, 1e6, below(OFFSETS), 0, OFFSETS, 0, 0, in_flight=1)
    )
    assert story.rules(settled=False) == ["unsettled"]


def test_a_clock_that_stepped_excuses_what_only_it_can_explain() -> None:
    """In the meantime it was visible, and somebody of whom nobody knows had it."""
    story = Story().given(1).killed(in_turn=True).said(1, code=EXPIRED)
    story.steady = False
    assert story.rules() == []


@pytest.mark.parametrize(("steady", "rules"), [(False, []), (True, ["late"])])
def test_what_became_a_dead_letter_before_the_clock_was_put_back_is_done(
    steady: bool, rules: list[str]
) -> None:
    story = Story().given(1).at(200).given(2, attempt=2).at(400).given(3, attempt=3).buried(0, 3)
    story.said(3, act="return").said(3)
    story.steady = steady
    assert story.rules() == rules
