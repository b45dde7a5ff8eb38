"""Lag: exact whatever was stored, acked, dropped or lost, and bounded work for each piece."""

from __future__ import annotations

import random
from array import array
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from shardmq.shards import lag as module
from shardmq.shards.filters import BATCH_COST
from shardmq.shards.lag import Lag, Lags
from shardmq.shards.state.ranges import Bounds, add, holds
from support.shards import ShardUnderTest, batch, topic

TAGS = ("paid", "open", None, "late")


class Queue:
    """A queue under test that knows what it should answer."""

    def __init__(self) -> None:
        self.shard = ShardUnderTest()
        self.shard.define(topic(numbers=(1,)))
        self.tags: dict[int, str | None] = {}
        self.stored_at_ms: dict[int, int] = {}
        self.lags = Lags(self.shard.journal)

    def fill(self, *tags: str | None) -> None:
        self.shard.clock.advance(10)
        bodies = [b"x"] * len(tags)
        done = self.shard.fill(1, *bodies, tags=tags if any(tags) else None)
        for row, tag in enumerate(tags):
            self.tags[done.base_offset + row] = tag
            self.stored_at_ms[done.base_offset + row] = done.stored_at_ms

    def begin(self, expression: str, floor: int, acked: Bounds) -> Generator[int, None, Lag]:
        served = self.shard.core._serving.by_number[1]
        return self.lags.of(served, expression, floor, acked)

    def wanted(self, expression: str, floor: int, acked: Bounds) -> Lag:
        tags = set(expression.split(" || "))
        open_ = [
            offset
            for offset, tag in sorted(self.tags.items())
            if offset >= floor and not holds(acked, offset) and (expression == "*" or tag in tags)
        ]
        return Lag(len(open_), self.stored_at_ms[open_[0]] if open_ else 0)


def drive(counting: Generator[int, None, Lag]) -> tuple[Lag, list[int]]:
    costs = []
    while True:
        try:
            costs.append(next(counting))
        except StopIteration as finished:
            return finished.value, costs


def bounds(*ranges: tuple[int, int]) -> array[int]:
    found = array("Q")
    for start, stop in ranges:
        add(found, start, stop)
    return found


@pytest.fixture
def queue() -> Queue:
    return Queue()


def test_an_empty_queue_has_no_lag(queue: Queue) -> None:
    assert drive(queue.begin("*", 0, ()))[0] == (0, 0)
    assert drive(queue.begin("paid", 0, ()))[0] == (0, 0)


def test_all_messages_are_counted_without_reading(queue: Queue) -> None:
    queue.fill("paid", "open")
    queue.fill(None)
    lag, costs = drive(queue.begin("*", 1, bounds((2, 3))))
    assert (lag, costs) == (queue.wanted("*", 1, bounds((2, 3))), [])
    assert lag.messages == 1


def test_only_selected_messages_count(queue: Queue) -> None:
    queue.fill("open", "paid", None)
    queue.fill(None, None)
    queue.fill("paid", "late")
    for expression in ("paid", "late || paid", "nobody"):
        lag, _ = drive(queue.begin(expression, 0, ()))
        assert lag == queue.wanted(expression, 0, ()), expression


def test_what_was_counted_is_not_read_again(queue: Queue) -> None:
    for _ in range(10):
        queue.fill("paid", "open")
    _, costs = drive(queue.begin("paid", 0, ()))
    assert sum(costs) > 10 * BATCH_COST
    queue.fill("paid")
    queue.shard.journal.write()
    _, costs = drive(queue.begin("open", 0, ()))
    _, costs = drive(queue.begin("paid", 20, ()))
    assert sum(costs) < 13 * BATCH_COST  # one piece counted, one block looked into


def test_work_comes_in_bounded_pieces(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", 500)
    for _ in range(40):
        queue.fill("paid", "open")
    lag, costs = drive(queue.begin("paid", 0, ()))
    assert lag.messages == 40
    assert len(costs) >= 10
    assert max(costs) < 45 * (BATCH_COST + 200)


@pytest.mark.parametrize("seed", range(25))
def test_every_count_is_exact(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(module, "BLOCK_COST", chance.choice([1, 3 * BATCH_COST, 1 << 20]))
    monkeypatch.setattr(module, "PIECE_BYTES", chance.choice([1, 600, 1 << 17]))
    queue = Queue()
    for _ in range(chance.randrange(1, 4)):
        for _ in range(chance.randrange(12)):
            kinds = chance.sample(TAGS, chance.randrange(1, 4))
            queue.fill(*chance.choices(kinds, k=chance.randrange(1, 6)))
        end = len(queue.tags)
        floors = [chance.randint(0, end) for _ in range(3)]
        running = []
        for floor in floors:
            acked = bounds(
                *[(start, start + chance.randrange(4)) for start in range(floor + 1, end - 3, 5)]
            )
            expression = chance.choice(["*", "paid", "late || open"])
            wanted = queue.wanted(expression, floor, acked)
            running.append((queue.begin(expression, floor, acked), wanted))
        # Several questions about one queue take turns.
        answers: list[Any] = [None] * len(running)
        while None in answers:
            one = chance.choice([at for at, answer in enumerate(answers) if answer is None])
            try:
                next(running[one][0])
            except StopIteration as finished:
                answers[one] = finished.value
        assert answers == [wanted for _, wanted in running]


def test_gaps_are_no_messages() -> None:
    queue = Queue()
    shard = queue.shard
    queue.fill("paid")
    shard.turn([shard.produce_letter((1, batch(sequence=0)), ack="written")])
    lost = set(shard.disk.unsynced())
    shard.turn([shard.produce_letter((1, batch(sequence=1)), ack="written")])
    shard.disk = shard.disk.power_cut(keep=set(shard.disk.unsynced()) - lost)
    shard.open()
    queue.lags = Lags(shard.journal)
    served = shard.core._serving.by_number[1]
    assert served.offsets.gaps
    for expression in ("*", "paid"):
        assert drive(queue.begin(expression, 0, ()))[0].messages == 1
        assert drive(queue.begin(expression, 1, ()))[0] == (0, 0)
    queue.fill("paid", "open")
    behind = served.offsets.gaps[-1][1]
    for expression, messages in (("*", 3), ("paid", 2)):
        assert drive(queue.begin(expression, 0, ()))[0].messages == messages
        lag, _ = drive(queue.begin(expression, 1, bounds((behind, behind + 1))))
        assert lag == queue.wanted(expression, 1, bounds((behind, behind + 1)))


def test_what_retention_took_does_not_count(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_COST", 2 * BATCH_COST)
    for _ in range(10):
        queue.fill("paid", "open", "paid")
    drive(queue.begin("paid", 0, ()))
    spans = queue.shard.journal.spans

    def kept(number: int, offset: int, *rest: int) -> Sequence[Any]:
        return spans(number, max(offset, 21), *rest)

    monkeypatch.setattr(queue.shard.journal, "spans", kept)
    queue.shard.core._serving.by_number[1].offsets.earliest = 21
    for floor in (21, 22, 23):
        assert drive(queue.begin("paid", floor, ()))[0] == queue.wanted("paid", floor, ())
    (counts,) = queue.lags._counts.values()
    assert counts.starts[0] > 0


def test_a_damaged_batch_has_no_selected_message(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.fill("paid")
    queue.fill("paid")
    read = module.read_sound

    def damaged(journal: Any, spans: Any) -> dict[int, bytes]:
        return read(journal, [span for span in spans if span.base_offset])

    monkeypatch.setattr(module, "read_sound", damaged)
    assert drive(queue.begin("paid", 0, ()))[0].messages == 1


def test_a_batch_of_many_tags_is_counted_like_any_other(queue: Queue) -> None:
    names = [f"tag-{row}" for row in range(300)]
    queue.fill(*names)
    for wanted in (3, 100):
        expression = " || ".join(names[:wanted])
        lag, _ = drive(queue.begin(expression, 1, ()))
        assert lag == queue.wanted(expression, 1, ())


def test_what_is_remembered_is_bounded(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNTS_MAX", 2)
    queue.fill("paid")
    for expression in ("a", "b", "c"):
        drive(queue.begin(expression, 0, ()))
    assert len(queue.lags) == 2
